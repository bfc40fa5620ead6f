"""Before the test is opened: what each gate can tell with the labels there are, and how many labels would decide."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.clock import now
from passmuster.core.config import CostsPolicy
from passmuster.core.errors import DataError
from passmuster.core.label_sets import classes_in
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Item, Report
from passmuster.core.statistics import kish_size, rate_size
from passmuster.flows.release import why_evaluate
from passmuster.metrics.aa_noise import bound_words
from passmuster.metrics.costs import cost_matrix
from passmuster.metrics.gates.base import POWERED, effective_n
from passmuster.metrics.gates.decide import labels_for_a_look
from passmuster.metrics.gates.plan import Plan, plan
from passmuster.metrics.gates.prospect import Price, Promise, Prospect
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.risk import risk_of
from passmuster.stages.evaluate.census import rest_is_asked
from passmuster.stages.evaluate.costs import refuse_strange_costs
from passmuster.stages.evaluate.foretell import answered
from passmuster.stages.evaluate.gather import cluster_names, count_evidence, learned_from
from passmuster.stages.evaluate.groups import group_names
from passmuster.stages.evaluate.live import find_live
from passmuster.stages.evaluate.promised_risk import NO_PROMISE
from passmuster.store.items import read_items, read_labels
from passmuster.store.releases import read_bundle, read_report, read_verdict
from passmuster.store.seal import count_looks, open_test
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store

CORRELATION = 0.5  # assumed between items of one person or template, before anything is known of it


@dataclass(frozen=True)
class ReleasePlan:
    """A plan with what it rests on: labels, people or templates among them, looks so far, and guesses.

    `assumed_as` says where the assumed accuracy comes from; `n_for_a_look` fresh test labels are needed before a
    release may look again, where it has to and the looks are spent; `n_unlabelled` test items wait for a label.
    `failed` are the gates for which the last verdict was HOLD; `unopened` is what is wrong with a live release that
    does not open, so that gates that compare are no part of the plan. `noise` is what the last report says of the A/A
    noise bound, in words.
    """

    bundle: str
    incumbent: str
    prospect: Prospect
    n_clusters: int
    n_looks: float
    max_looks: int
    plan: Plan
    read_before: tuple[int, float] | None = None  # labels of the last report, and what they were worth for accuracy
    assumed_as: str = ""
    n_for_a_look: int = 0
    n_unlabelled: int = 0
    failed: tuple[str, ...] = ()
    unopened: str = ""
    noise: str = ""


def plan_release(store: Store, bundle: str = "", *, progress: Progress | None = None) -> ReleasePlan:
    """What `release` could find out about a bundle; reads no test label and counts as no look.

    The share on which candidate and live release answer differently is measured on the test's items alone
    ("compare-answers"); accuracy is what the last report measured, or else what training saw in cross-validation.

    Raises
    ------
    NotFoundError
        ``bundle.none``, ``snapshot.none``.
    UsageError
        ``gate.unknown``, ``policy.parameter``, ``costs.class``.
    """
    progress = progress or Silent()
    with store.read() as db:
        chosen = read_bundle(db, bundle)
        snapshot = read_snapshot(db)
        placed = read_placement(db, snapshot)
        labelled = [k for k in read_labels(db, role="test") if k in placed and placed[k][0] == "test"]
        seen = learned_from(store, chosen)
        test = read_items(db, keys=[key for key, (split, _) in placed.items() if split == "test" and key not in seen])
        told = set(labelled)
        items = [item for item in test if item.key in told]
        n_looks = count_looks(db, snapshot.digest, now()) if items else 0.0
        taught = read_labels(db, role="train")
        last, verdict = read_report(db, chosen.digest), read_verdict(db, chosen.digest)
        looks_again = last is None or bool(why_evaluate(db, chosen, store.config))
    try:
        n = count_evidence(store, chosen)
    except DataError:
        n = 0  # a plan without a label is a plan all the same
    predictor = Predictor(open_bundle(store.bundle_folder(chosen.path)))
    refuse_strange_costs(store, predictor.classes, predictor.task)
    live = find_live(store, chosen)
    incumbent = live.asked if live is not None else None
    numbers = np.unique(cluster_names(items, placed), return_inverse=True)[1] if items else np.zeros(0, np.int64)
    apart = kish_size(np.ones(len(items)), numbers) if items else 1.0
    guard = predictor.bundle.guard
    shares = group_shares(test, store.config.data.group_columns)
    differ, n_compared = (
        (None, 0) if incumbent is None else share_that_differs(store, chosen, incumbent, predictor, progress)
    )
    accuracy, assumed_as = guessed_accuracy(store, chosen, predictor, last[1] if last else None)
    prospect = Prospect(
        n=n,
        accuracy=accuracy,
        differ=differ,
        n_compared=n_compared,
        smallest_class=smallest_share([fact.label for fact in taught.values()], predictor),
        n_classes=len(predictor.classes),
        design_effect=1 + (max(1.0, n / apart) - 1) * CORRELATION if n else 1.0,
        n_corrupted=store.config.evaluate.n_corrupted,
        n_attacked=store.config.evaluate.n_attacked,
        smallest_group=min(shares, default=1.0),
        n_groups=len(shares),
        set_coverage=predictor.bundle.policy.guard.set_coverage if "n_oof" in guard else None,
        promise=promise_of(guard),
        price=price_of(store.config.policy.costs, predictor.classes),
    )
    task, against = predictor.task, incumbent.digest if incumbent else ""
    bare = Report(
        chosen.digest,
        snapshot.digest,
        "",
        snapshot.modality,
        predictor.classes,
        n,
        0,
        (),
        {},
        fitted(guard),
        against,
        task=task,
    )
    found = plan(bare, store.config.policy, prospect)
    n_clusters = len(np.unique(numbers))
    max_looks, worth = store.config.policy.max_looks, worth_before(last[1]) if last else None
    n_for_a_look = labels_for_a_look(n, n_looks, max_looks) if looks_again else 0
    return ReleasePlan(
        chosen.digest, against, prospect, n_clusters, n_looks, max_looks, found, worth, assumed_as, n_for_a_look,
        n_unlabelled=sum(split == "test" for split, _ in placed.values()) - len(labelled),
        failed=() if verdict is None else tuple(gate.gate for gate in verdict[0].gates if gate.state == "failed"),
        unopened=live.unopened if live is not None else "",
        noise=bound_words(last[1].sections.get("noise")) if last else "",
    )  # fmt: skip


def worth_before(report: Report) -> tuple[int, float] | None:
    """Labels of a report, and how many drawn at random would say as much of accuracy; None where each counted as one.

    Labels that were read together with the items that have none may be worth more than they are.
    """
    accuracy = report.metric("accuracy")
    if accuracy is None or not accuracy.method.startswith(POWERED):
        return None
    return accuracy.n, effective_n(accuracy)


def fitted(guard: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What a report will say of the guard whatever the answers: by it, some gates know that they do not apply."""
    found: dict[str, Any] = {"prediction_sets": {"n_calibration": int(guard["n_oof"]) if "n_oof" in guard else 0}}
    return found if risk_of(guard) else {**found, "promised_risk": NO_PROMISE}


def promise_of(guard: Mapping[str, np.ndarray]) -> Promise | None:
    """What the guard promises, with the risk and the share of answers that training's held-out labels showed."""
    found = risk_of(guard)
    if found is None:
        return None
    share = found.n / max(1, found.n_labels) if found.reached else 0.0
    return Promise(found.max_risk, (found.n_wrong + 1) / (found.n + 2), share)


def price_of(costs: CostsPolicy, classes: Sequence[str]) -> Price | None:
    """What answers cost, None where the policy does not say."""
    if not costs.declared:
        return None
    matrix = cost_matrix(classes, costs.when, costs.wrong)
    apart = matrix[~np.eye(len(matrix), dtype=bool)]
    alike = len(apart) > 0 and float(np.ptp(apart)) == 0.0
    return Price(float(max(matrix.max(), costs.abstain)), float(apart[0]) if alike else None)


def group_shares(items: Sequence[Item], columns: Iterable[str]) -> list[float]:
    """The share of every declared group among the items."""
    counts = [Counter(group_names([item.groups.get(column, "") for item in items]).tolist()) for column in columns]
    return [n / len(items) for counted in counts for name, n in counted.items() if name]


def guessed_accuracy(
    store: Store, bundle: Bundle, predictor: Predictor, report: Report | None
) -> tuple[float | None, str]:
    """What the last report measured, else what cross-validation said of the rung that won, and which of them it is;
    None for a bundle that was made elsewhere and not judged yet."""
    measured = report.metric("accuracy") if report is not None else None
    if measured is not None and measured.n:
        return measured.value, f"as measured on {measured.n:,} labels in the last report"
    path = store.runs_folder / bundle.run / "rungs.json"
    if not bundle.run or not path.is_file():
        return None, ""
    rungs: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    manifest = predictor.bundle.manifest
    won = next((rung for rung in rungs if rung.get("rung") == manifest.rung and "accuracy" in rung), None)
    if won is None or won["accuracy"] is None:
        return None, ""
    return float(won["accuracy"]), "as cross-validated in training"


def share_that_differs(
    store: Store, candidate: Bundle, incumbent: Bundle, predictor: Predictor, progress: Progress
) -> tuple[float | None, int]:  # fmt: skip
    """On what share of the test items the two answer differently, None when there is no item for both, and how many
    independent items that was seen on; 0 where an evaluation will not look at the rest of the test."""
    with store.read() as db:
        snapshot = read_snapshot(db)
        placed = read_placement(db, snapshot)
    view = open_test(store, snapshot, "compare-answers")
    seen = learned_from(store, candidate) | learned_from(store, incumbent)
    items = [item for item in view.items if item.key not in seen]
    if not items:
        return None, 0
    other = Predictor(open_bundle(store.bundle_folder(incumbent.path)))
    said = [
        model.labels(answered(store, bundle, model, items, progress=progress)[1])
        for bundle, model in ((candidate, predictor), (incumbent, other))
    ]
    differs = np.array([a != b for a, b in zip(*said, strict=True)], dtype=np.float64)
    n = math.floor(rate_size(differs, clusters=cluster_names(items, placed)))
    return float(differs.mean()), n if rest_is_asked(len(items), predictor, other) else 0


def smallest_share(labels: list[str], predictor: Predictor) -> float:
    """The share of the rarest class among training labels; the test is assumed to have no less."""
    counts = Counter(name for label in labels for name in classes_in(label, predictor.task))
    present = [counts[name] for name in predictor.classes if counts[name]]
    return min(present) / max(1, len(labels)) if present else 1 / max(1, len(predictor.classes))
