"""The stage, told once: open bundle and test, ask, measure, compare, say it in words, keep it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.config import EvaluateConfig
from passmuster.core.cost import Cost, cost_of
from passmuster.core.disk import took_no_more, write_whole
from passmuster.core.errors import NetworkError, ResourceError
from passmuster.core.label_sets import MULTI, SINGLE
from passmuster.core.meter import Meter
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Report
from passmuster.core.settings import settings_of
from passmuster.core.threads import one_thread
from passmuster.modality.decoded import remembering
from passmuster.modality.find import modalities
from passmuster.runtime.answers import task_of
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.release import open_checked
from passmuster.stages.evaluate.aa_noise import measure_aa_noise
from passmuster.stages.evaluate.answers_table import answers_csv
from passmuster.stages.evaluate.attack_plan import plan_attacks
from passmuster.stages.evaluate.attacked import measure_attacks
from passmuster.stages.evaluate.behaviour import measure_behaviour
from passmuster.stages.evaluate.behaviour_file import Behaviour, read_behaviour
from passmuster.stages.evaluate.choose_faults import choose_faults
from passmuster.stages.evaluate.closely import measure_closely
from passmuster.stages.evaluate.comparisons import (
    describe_training,
    measure_data,
    measure_versions,
)
from passmuster.stages.evaluate.costs import measure_costs, refuse_strange_costs
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Looks, Scope
from passmuster.stages.evaluate.endpoint import endpoint_in_words, measure_endpoint, spare
from passmuster.stages.evaluate.estimated import begin_bank, measure_estimated
from passmuster.stages.evaluate.faults import Incumbent, measure_faults
from passmuster.stages.evaluate.gather import ask, count_evidence, gather_evidence, learned_from
from passmuster.stages.evaluate.groups import measure_groups
from passmuster.stages.evaluate.headline import measure_certainty, measure_classes, measure_headline
from passmuster.stages.evaluate.live import Live, find_live
from passmuster.stages.evaluate.marks import measure_marks
from passmuster.stages.evaluate.memory import measure_memory
from passmuster.stages.evaluate.named_items import read_named
from passmuster.stages.evaluate.novel_items import Named, read_novel_sets
from passmuster.stages.evaluate.novelty import measure_novelty
from passmuster.stages.evaluate.page.render import Extras, render_page
from passmuster.stages.evaluate.parity import measure_parity
from passmuster.stages.evaluate.powered import read_with_rest
from passmuster.stages.evaluate.promised_risk import measure_promised_risk
from passmuster.stages.evaluate.retrains import measure_retrain
from passmuster.stages.evaluate.serving import measure_serving
from passmuster.stages.evaluate.sets import measure_prediction_sets
from passmuster.stages.evaluate.slices import measure_slices
from passmuster.stages.evaluate.summary import write_summary
from passmuster.stages.evaluate.test_labels import measure_test_labels
from passmuster.stages.evaluate.words import to_finite
from passmuster.store.releases import add_report, read_bundle, report_bytes
from passmuster.store.seal import take_back
from passmuster.store.store import Store

MAX_DECODED_BYTES = 2**26  # of items that are not decoded a second time
LEAST_ACCURACY = 0.5  # below which a report praises no accuracy, where the policy names no bound


@dataclass(frozen=True)
class EvaluateResult:
    """The report, its digest, and the page (``report.json`` lies beside it)."""

    report: Report
    digest: str
    path: Path


@one_thread()  # thousands of small products: threads that wait for them keep a core from the bundle
def evaluate(
    store: Store,
    bundle: str = "",
    *,
    novel: Named | None = None,
    unlabelled: Path | None = None,
    corruptions: Sequence[str] | None = None,
    n_attacked: int | None = None,
    attacked_before: Report | None = None,
    progress: Progress | None = None,
    scope: Scope | None = None,
) -> EvaluateResult:
    """Measure the bundle whose digest starts with `bundle` (the latest when empty) on the sealed test.

    The bundle itself answers, preprocessing and guard included. `novel` names items that are strange to the model, one
    set or several (``{"near": path, "far": path}``), `unlabelled` items on which its accuracy is estimated.
    `corruptions` stands for ``[evaluate] corruptions`` and `n_attacked` for ``[evaluate] n_attacked``; the attacks of
    the report `attacked_before` are made once more, on the same items with the same seed.
    Leaves a `Report` in the catalog and a folder ``.muster/reports/<digest>`` with ``report.json``, ``report.html``
    and ``answers.csv``.

    Raises
    ------
    NotFoundError
        ``bundle.none``, ``snapshot.none``, ``novel.none``, ``behaviour.none``.
    DataError
        ``evaluate.no_test_labels`` and those of `read_novel`, `read_named` and `read_behaviour`.
    UsageError
        Those of `choose_faults` and `plan_attacks`, before the test is opened.
    NetworkError
        ``endpoint.*``, when an endpoint gives no answer; the look does not count.
    IntegrityError
        When this bundle or a file of the run is not what it should be. A live release that does not open is no error:
        the report says so, nothing is compared, and gates that compare cannot tell.
    """
    progress, scope = progress or Silent(), scope or scope_of(store.config.evaluate, n_attacked, attacked_before)
    meter = Meter()
    with store.read() as db:
        chosen = read_bundle(db, bundle)
    predictor = scope.open(open_checked(store, chosen))
    predictor.modality = remembering(predictor.modality, MAX_DECODED_BYTES)
    scope = spare(scope, predictor, progress)
    plan = plan_attacks(predictor.modality, store.config.evaluate, store.folder, store.config.policy)
    asked = store.config.evaluate.corruptions if corruptions is None else corruptions
    faults = choose_faults(predictor.modality, asked, store.folder, plan.words)
    behaviour = own_tests(store, predictor)
    live = find_live(store, chosen, scope.open)
    incumbent = live.asked if live is not None else None
    if live is not None and live.unopened:
        progress.say(f"the live release does not open ({live.unopened}): nothing is compared with it")
    named = read_novel_sets(novel, predictor.modality, store.config.data, progress)
    apart = None
    if unlabelled is not None:
        apart = read_named(unlabelled, predictor.modality, store.config.data, task=predictor.task)
    refuse_strange_costs(store, predictor.classes, predictor.task)
    evidence = gather_evidence(store, chosen, predictor.classes, predictor.task)
    progress.say(f"test opened for evaluation, look {evidence.look}: {len(evidence.items):,} labelled items")
    with given_back_unseen(store, evidence):
        rng = np.random.default_rng(store.config.train.seed)
        looks = Looks()
        answers = ask(
            store, predictor, evidence.items, evidence.classes, progress=progress, what="asking the bundle", looks=looks
        )
        if answers.said is not None or predictor.prices is not None:  # what is said is not the likeliest class alone
            answers = replace(answers, numbers=evidence.number(p.label for p in answers.predictions))

        draft = Draft()
        reading = read_with_rest(store, draft, chosen, predictor, evidence, progress=progress)
        evidence = replace(evidence, weights=reading.weights)
        measure_headline(draft, evidence, answers, scope, rng, read=reading.rates)
        measure_classes(draft, evidence, answers)
        measure_costs(draft, store.config.policy.costs, evidence, answers, scope, rng)
        measure_certainty(draft, evidence, answers)
        measure_groups(store.config, draft, evidence, answers)
        look_for_slices(store, draft, predictor, evidence, answers, looks)
        measure_promised_risk(draft, predictor, evidence, answers)
        measure_prediction_sets(draft, predictor, evidence, answers, scope, rng)
        beside = as_asked(store, live, evidence)
        bank = begin_bank(predictor, evidence, answers)
        spoilt = measure_faults(
            store, draft, predictor, evidence, answers, faults, scope, rng,
            incumbent=beside, bank=bank, progress=progress,
        )  # fmt: skip
        measure_estimated(store, draft, chosen, predictor, evidence, answers, bank, apart, progress=progress)
        fallen = measure_attacks(
            store, draft, predictor, evidence, answers, beside, scope, rng, plan=plan, progress=progress
        )
        strange = measure_novelty(store, draft, predictor, evidence, answers, named, scope, rng, progress=progress)
        broken = measure_behaviour(draft, predictor, behaviour, progress=progress) if behaviour else []
        known = measure_memory(store, draft, chosen, incumbent, predictor, evidence, progress=progress)
        compared = None
        if live is not None and live.predictor is not None:
            compared = measure_versions(
                store, draft, (chosen, predictor), (live.bundle, live.predictor), evidence, answers, reading,
                known=known, progress=progress,
            )  # fmt: skip
            if compared is not None:
                measure_retrain(store, draft, chosen, live.bundle, evidence, answers)
                measure_closely(store, draft, predictor, evidence, answers, compared, rng)
        elif live is not None:
            draft.sections["versions"] = live.section()
        measure_test_labels(store, draft, chosen, predictor, evidence, answers, rng, progress=progress)
        measure_parity(store, draft, chosen, predictor)
        both = (incumbent, compared) if incumbent is not None and compared is not None else None
        measure_aa_noise(
            store, draft, (chosen, predictor), both, evidence, answers, scope, progress=progress
        )  # fmt: skip
        measure_marks(store, draft, chosen, predictor, evidence, progress=progress)
        measure_data(store, draft, evidence, answers)
        describe_training(store, draft, chosen, predictor)
        measure_endpoint(draft, evidence, answers, predictor, store.config.cost)
        measure_serving(store, draft, (chosen, predictor), both, evidence, answers, scope)
        least = float(store.config.policy.gates.get("accuracy.v1", {}).get("min", LEAST_ACCURACY))
        write_summary(draft, evidence, answers, live.bundle.digest if live is not None else "", least)
        endpoint_in_words(draft)

        draft.sections["settings"] = settings_of(store.config)
        report = as_report(draft, chosen, evidence, live.bundle if live is not None else None)
        progress.say("writing the report")
        extras = Extras(tuple(spoilt), tuple(strange), tuple(broken), tuple(fallen))
        page = render_page(store, predictor.modality, report, answers, extras, scope) if scope.page else ""
        table = answers_csv(report, evidence, answers)
        return keep(store, report, page, table, cost_of(meter.usage(), store.config.cost))


@contextlib.contextmanager
def given_back_unseen(store: Store, evidence: Evidence) -> Iterator[None]:
    """A look that ended because an endpoint gave no answer is not counted: nobody has seen a number of it."""
    try:
        yield
    except NetworkError as error:
        take_back(store, evidence.opening, error.code)
        raise


def own_tests(store: Store, predictor: Predictor) -> Behaviour | None:
    """The team's behaviour tests, if ``[evaluate] behaviour`` names any."""
    name = store.config.evaluate.behaviour
    if not name:
        return None
    return read_behaviour(store.folder / name, predictor.modality, store.config.data, predictor.classes, predictor.task)


def as_asked(store: Store, live: Live | None, evidence: Evidence) -> Incumbent | None:
    """The live release as it answers, and which test items are new to it; None where it cannot be asked."""
    if live is None or live.predictor is None:
        return None
    seen = learned_from(store, live.bundle)
    fresh = np.array([key not in seen for key in evidence.keys], dtype=bool)
    return Incumbent(live.predictor, fresh)


def scope_of(config: EvaluateConfig, n_attacked: int | None, attacked_before: Report | None = None) -> Scope:
    """How much is computed, as the configuration says; `n_attacked` where it was said otherwise."""
    n = config.n_attacked if n_attacked is None else n_attacked
    return Scope(n_corrupted=config.n_corrupted, n_attacked=n, attacked_before=attacked_before)


def look_for_slices(
    store: Store, draft: Draft, predictor: Predictor, evidence: Evidence, answers: Answers, looks: Looks
) -> None:
    """Weak spots, on halves drawn by a generator of their own, so that no other figure moves."""
    rng = np.random.default_rng([store.config.train.seed, 7])
    has_embedding = "embedding" not in (predictor.bundle.head.get("lacks") or ())
    measure_slices(store.config, draft, evidence, answers, looks, rng, has_embedding=has_embedding)


def foresee(store: Store, bundle: str = "") -> list[str]:
    """What `evaluate` would do, without opening the test; the errors are the same."""
    with store.read() as db:
        chosen = read_bundle(db, bundle)
    loaded = open_checked(store, chosen)
    refuse_strange_costs(store, loaded.manifest.classes, task_of(loaded.head))
    plan_attacks(modalities[loaded.manifest.modality], store.config.evaluate, store.folder, store.config.policy)
    n = count_evidence(store, chosen)
    live = find_live(store, chosen)
    against = ""
    if live is not None and live.unopened:
        against = f"; nothing would be compared with the live release, which does not open ({live.unopened})"
    elif live is not None:
        against = f" and compare with the live bundle {live.bundle.digest[:16]}"
    return [f"would open the test, which counts, ask bundle {chosen.digest[:16]} about {n:,} labelled items{against}"]


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


def keep(store: Store, report: Report, page: str, table: str, cost: Cost) -> EvaluateResult:
    """Files first, then the act: a report in the catalog has its page."""
    folder = store.root / "reports" / report.bundle[:16]
    record = report_bytes(report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "report.json", record)
        write_whole(folder / "report.html", page.encode())
        write_whole(folder / "answers.csv", table.encode())
    except OSError as error:
        raise ResourceError(
            "disk.full" if took_no_more(error) else "report.write",
            f"the report could not be written: {error.strerror}",
            where=folder,
            next="free some disk and repeat the command",
        ) from error
    headline = report.metric("accuracy")
    with store.act("evaluate.done") as act:
        digest = add_report(act.db, report, record)
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
