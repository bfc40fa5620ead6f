"""The stage, told once: open bundle and test, ask, measure, compare, say it in words, keep it."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.cost import Cost, cost_of
from passmuster.core.digests import canonical_json
from passmuster.core.errors import IntegrityError, ResourceError
from passmuster.core.label_sets import MULTI, SINGLE
from passmuster.core.meter import Meter
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Report
from passmuster.runtime.bundle import LoadedBundle, open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.comparisons import (
    describe_training,
    find_incumbent,
    measure_data,
    measure_parity,
    measure_versions,
)
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope
from passmuster.stages.evaluate.faults import measure_faults
from passmuster.stages.evaluate.gather import ask, count_evidence, gather_evidence, read_payloads
from passmuster.stages.evaluate.groups import measure_groups
from passmuster.stages.evaluate.headline import measure_certainty, measure_classes, measure_headline
from passmuster.stages.evaluate.novel_items import read_novel
from passmuster.stages.evaluate.novelty import measure_novelty
from passmuster.stages.evaluate.page.render import Extras, render_page
from passmuster.stages.evaluate.powered import read_with_rest
from passmuster.stages.evaluate.slices import measure_slices
from passmuster.stages.evaluate.words import to_finite, write_summary
from passmuster.store.releases import add_report, read_bundle
from passmuster.store.store import Store

LEAST_ACCURACY = 0.5  # below which a report praises no accuracy, where the policy names no bound


@dataclass(frozen=True)
class EvaluateResult:
    """The report, its digest, and the page (``report.json`` lies beside it)."""

    report: Report
    digest: str
    path: Path


def evaluate(
    store: Store,
    bundle: str = "",
    *,
    novel: Path | None = None,
    progress: Progress | None = None,
    scope: Scope = Scope(),
) -> EvaluateResult:
    """Measure the bundle whose digest starts with `bundle` (the latest when empty) on the sealed test.

    The bundle itself answers, preprocessing and guard included. `novel` names items that are strange to the model.
    Leaves a `Report` in the catalog and a folder ``.muster/reports/<digest>`` with ``report.json`` and ``report.html``.

    Raises
    ------
    NotFoundError
        ``bundle.none``, ``snapshot.none``, ``novel.none``.
    DataError
        ``evaluate.no_test_labels`` and those of `read_novel`.
    IntegrityError
        When this bundle, the live one or a file of the run is not what it should be.
    """
    progress = progress or Silent()
    meter = Meter()
    with store.read() as db:
        chosen = read_bundle(db, bundle)
    predictor = Predictor(open_checked(store, chosen))
    incumbent = find_incumbent(store, chosen)
    named = read_novel(novel, predictor.modality, store.config.data) if novel is not None else None
    if named is not None:
        progress.say(f"{len(named.payloads):,} strange items read, {len(named.problems):,} could not be")
    evidence = gather_evidence(store, chosen, predictor.classes, predictor.task)
    progress.say(f"test opened for evaluation, look {evidence.look}: {len(evidence.items):,} labelled items")
    rng = np.random.default_rng(store.config.train.seed)
    answers = ask(store, predictor, evidence.items, evidence.classes, progress=progress, what="asking the bundle")
    if answers.said is not None:
        answers = replace(answers, numbers=evidence.number(p.label for p in answers.predictions))

    draft = Draft()
    reading = read_with_rest(store, draft, chosen, predictor, evidence, progress=progress)
    evidence = replace(evidence, weights=reading.weights)
    measure_headline(draft, evidence, answers, scope, rng, accuracy_read=reading.accuracy)
    measure_classes(draft, evidence, answers)
    measure_certainty(draft, evidence, answers)
    measure_groups(store.config, draft, evidence, answers)
    look_for_slices(store, draft, predictor, evidence, answers)
    spoilt = measure_faults(store, draft, predictor, evidence, answers, scope, rng, progress=progress)
    strange = measure_novelty(store, draft, predictor, evidence, answers, named, scope, rng, progress=progress)
    if incumbent is not None:
        measure_versions(store, draft, incumbent, evidence, answers, reading, rng, progress=progress)
    measure_parity(store, draft, chosen, predictor)
    measure_data(store, draft, evidence, answers)
    describe_training(store, draft, chosen, predictor)
    least = float(store.config.policy.gates.get("accuracy.v1", {}).get("min", LEAST_ACCURACY))
    write_summary(draft, evidence, answers, incumbent.digest if incumbent else "", least)

    report = as_report(draft, chosen, evidence, incumbent)
    progress.say("writing the report")
    page = render_page(store, predictor.modality, report, answers, Extras(tuple(spoilt), tuple(strange)), scope)
    return keep(store, report, page, cost_of(meter.usage(), store.config.cost))


def look_for_slices(store: Store, draft: Draft, predictor: Predictor, evidence: Evidence, answers: Answers) -> None:
    """Weak spots, on halves drawn by a generator of their own, so that no other figure moves."""
    payloads = list(read_payloads(store, predictor, evidence.items))
    rng = np.random.default_rng([store.config.train.seed, 7])
    has_embedding = "embedding" not in (predictor.bundle.head.get("lacks") or ())
    measure_slices(store.config, draft, evidence, answers, payloads, rng, has_embedding=has_embedding)


def foresee(store: Store, bundle: str = "") -> list[str]:
    """What `evaluate` would do, without opening the test; the errors are the same."""
    with store.read() as db:
        chosen = read_bundle(db, bundle)
    open_checked(store, chosen)
    n = count_evidence(store, chosen)
    incumbent = find_incumbent(store, chosen)
    against = f" and compare with the live bundle {incumbent.digest[:16]}" if incumbent else ""
    return [f"would open the test, which counts, ask bundle {chosen.digest[:16]} about {n:,} labelled items{against}"]


def open_checked(store: Store, bundle: Bundle) -> LoadedBundle:
    """The bundle, if it is the one that the catalog means."""
    loaded = open_bundle(store.bundle_folder(bundle.path))
    if loaded.digest != bundle.digest:
        raise IntegrityError(
            "bundle.changed", "the folder holds another bundle than the catalog says", value=loaded.digest[:16],
            limit=bundle.digest[:16], where=loaded.path, next="muster verify",
        )  # fmt: skip
    return loaded


def as_report(draft: Draft, bundle: Bundle, evidence: Evidence, incumbent: Bundle | None) -> Report:
    """What was gathered, as a record that JSON can hold."""
    return Report(
        bundle=bundle.digest,
        snapshot=evidence.snapshot.digest,
        created=evidence.created,
        modality=evidence.snapshot.modality,
        classes=evidence.classes,
        n_test=len(evidence.items),
        look=evidence.look,
        metrics=tuple(draft.metrics),
        item_sets=draft.item_sets,
        sections=to_finite(to_plain(draft.sections)),
        incumbent=incumbent.digest if incumbent else "",
        task=SINGLE if evidence.targets is None else MULTI,
    )


def keep(store: Store, report: Report, page: str, cost: Cost) -> EvaluateResult:
    """Files first, then the act: a report in the catalog has its page."""
    folder = store.root / "reports" / report.bundle[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "report.json", canonical_json(to_plain(report)))
        write_whole(folder / "report.html", page.encode())
    except OSError as error:
        raise ResourceError(
            "disk.full" if error.errno == 28 else "report.write",
            f"the report could not be written: {error.strerror}",
            where=folder,
            next="free some disk and repeat the command",
        ) from error
    headline = report.metric("accuracy")
    with store.act("evaluate.done") as act:
        digest = add_report(act.db, report)
        act.payload.update(
            bundle=report.bundle,
            report=digest,
            snapshot=report.snapshot,
            incumbent=report.incumbent,
            look=report.look,
            n_test=report.n_test,
            accuracy=headline.value if headline else None,
            cost=to_plain(cost),
        )
    return EvaluateResult(report, digest, folder / "report.html")


def write_whole(path: Path, data: bytes) -> None:
    """All of it or nothing."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
