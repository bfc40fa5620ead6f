"""What a stated number of labels should be spent on, learning or evidence, and what they are likely to bring.

A label for learning raises accuracy; a label for evidence narrows what is known of it. Which is worth more depends on
what stands between the model and a decision:

- no model yet, or one that surely fails a gate: labels to learn from;
- a model that was never tested: both;
- a verdict that only evidence keeps open: evidence, as much as the verdict asks for;
- a verdict kept open by a model that lies below its bound, or too near: mostly labels to learn from.

Every plan is written into the ledger with its forecast, so that it can be held against what came
(`flows/label_checks.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from passmuster.core.errors import NotFoundError, UsageError
from passmuster.core.label_sets import MULTI
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, GateResult, Report, Snapshot, Verdict
from passmuster.flows.next_steps import mended_by
from passmuster.flows.pool_embeddings import Pool, look_at_pool
from passmuster.learn.choose_sets import expected_item_f1, probability_of_whole
from passmuster.learn.forecast import (
    PRIOR,
    PRIOR_OF_ITEM_F1,
    PRIOR_OF_WHOLE_SETS,
    CurvePrior,
    Forecast,
    expected_error,
    forecast_gain,
)
from passmuster.learn.quick_head import quick_probabilities, quick_set_probabilities
from passmuster.store import ledger
from passmuster.store.items import read_labels
from passmuster.store.releases import read_bundle, read_report, read_verdict
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store

DOZEN = 12
UNTESTED_SHARE = 0.5  # to evidence, of a model without a test label
OPEN_SHARE = 0.25  # to evidence, where the model is below its bound or too near for labels to tell
# Gates whose value is a rate that an exact test settles, and the report's metric that they read.
RATES = {"accuracy.v1": "accuracy", "item_f1.v1": "item_f1"}


@dataclass(frozen=True)
class Measure:
    """What is foretold: a metric of the report, and how it is said."""

    name: str
    words: str


ACCURACY = Measure("accuracy", "accuracy")
WHOLE = Measure("accuracy", "whole sets right")
ITEM_F1 = Measure("item_f1", "mean F1 of items")


@dataclass(frozen=True)
class VerdictOutlook:
    """What the last verdict waits for. `chance` is that the next `n_more` test labels decide; None: cannot be told."""

    outcome: str
    n_more_labels: int | None
    n_more: int
    chance: float | None
    why: str


@dataclass(frozen=True)
class LabelPlan:
    """How to spend `n` labels, why, and what they are likely to bring.

    `forecast` is of `measure` by the labels for learning (`forecast_dozen`: by the next twelve), None while there are
    too few labels to judge by. `verdict` is None before there is one. `mend` says what to do instead of labelling
    where the model is held for what no label changes, "" elsewhere.
    """

    n: int
    n_train: int
    n_test: int
    why: tuple[str, ...]
    n_labels: int
    forecast: Forecast | None
    forecast_dozen: Forecast | None
    verdict: VerdictOutlook | None
    measure: Measure = ACCURACY
    mend: str = ""


@dataclass(frozen=True)
class _Standing:
    """Where the project stands: its latest model, report and verdict, and the labels in hand."""

    bundle: str
    n_learnt: int  # labels the latest model learnt from
    report: Report | None
    verdict: Verdict | None
    n_test_labels: int
    n_test_waiting: int


def plan_labels(store: Store, n: int = DOZEN, *, progress: Progress | None = None) -> LabelPlan:
    """Plan for `n` labels, written into the ledger as ``label.forecast`` unless the last entry says the same.

    Raises
    ------
    UsageError
        ``label.n`` when `n` is below 1.
    NotFoundError
        ``snapshot.none`` when nothing was added yet, ``label.none_left`` when every item has its label.
    """
    if n < 1:
        raise UsageError("label.n", "not a number of labels", value=n, limit="1 or more")
    pool = look_at_pool(store, progress or Silent())
    if len(pool.labelled) == len(pool.items):
        with store.read() as db:
            if not _stand(db).n_test_waiting:
                raise NotFoundError(
                    "label.none_left", "there is nothing to plan: every item has its label",
                    next="muster add PATH brings more; or muster train with those that are there",
                )  # fmt: skip
    plan = plan_for(store, pool, n)
    _record(store, plan, pool.snapshot)
    return plan


def plan_for(store: Store, pool: Pool, n: int) -> LabelPlan:
    """The plan for a pool that was looked at already; writes nothing."""
    with store.read() as db:
        standing = _stand(db)
    n_test, why = _split(standing, len(pool.items) - len(pool.labelled), n)
    forecast = dozen = None
    measure = measure_of(store, pool.snapshot)
    expected = _expected(pool, measure, store.config.train.decide_at)
    if expected is None:
        why = (*why, "too few labels to foretell what more would bring")
    else:
        n_labels, tested = len(pool.labelled), _tested(standing, measure, len(pool.labelled))
        forecast, dozen = (
            forecast_gain(n_labels, more, expected.error, n_classes=expected.n_classes, tested=tested,
                          prior=expected.prior)
            for more in (n - n_test, DOZEN)
        )  # fmt: skip
    verdict = _outlook(store, standing, n_test or DOZEN)
    return LabelPlan(
        n, n - n_test, n_test, why, len(pool.labelled), forecast, dozen, verdict, measure, mended_by(standing.verdict)
    )


def measure_of(store: Store, snapshot: Snapshot) -> Measure:
    """What the policy's gate reads: of sets the mean F1 of items, or where only `accuracy.v1` stands, whole sets."""
    if snapshot.task != MULTI:
        return ACCURACY
    gates = store.config.policy.gates
    return WHOLE if "accuracy.v1" in gates and "item_f1.v1" not in gates else ITEM_F1


def _stand(db: Connection) -> _Standing:
    placed = read_placement(db, read_snapshot(db))
    in_test = {key for key, (split, _) in placed.items() if split == "test"}
    n_test_labels = len(in_test & set(read_labels(db, role="test")))
    n_waiting = len(in_test) - n_test_labels
    try:
        bundle = read_bundle(db)
    except NotFoundError:  # nothing trained yet
        return _Standing("", 0, None, None, n_test_labels, n_waiting)
    found, judged = read_report(db, bundle.digest), read_verdict(db, bundle.digest)
    return _Standing(
        bundle.digest,
        n_learnt(db, bundle),
        found[1] if found else None,
        judged[0] if judged else None,
        n_test_labels,
        n_waiting,
    )


def n_learnt(db: Connection, bundle: Bundle) -> int:
    """How many labels a bundle learnt from; 0 for an imported one, or one whose data-set version is not here."""
    if bundle.origin == "imported" or not bundle.snapshot:
        return 0
    try:
        return int(read_snapshot(db, bundle.snapshot).n_labels.get("train", 0))
    except NotFoundError:
        return 0


def _split(standing: _Standing, n_pool_waiting: int, n: int) -> tuple[int, tuple[str, ...]]:
    """How many of `n` are for evidence, and why; never more than there are items waiting on that side."""
    wanted, why = _wanted(standing, n)
    n_test = min(wanted, standing.n_test_waiting)
    if n - n_test > n_pool_waiting:  # the pool is nearly all labelled
        n_test = min(n - n_pool_waiting, standing.n_test_waiting)
        why = f"only {n_pool_waiting:,} items are left to learn from"
    elif n_test < wanted:
        why = f"{why}; only {n_test:,} test items are left without a label"
    return max(0, n_test), (why,)


def _wanted(standing: _Standing, n: int) -> tuple[int, str]:
    verdict = standing.verdict
    if not standing.bundle:
        return 0, "there is no model yet, so there is nothing to prove"
    if not standing.n_test_labels:
        return round(n * UNTESTED_SHARE), "no test item has a label, so nothing is known of the model yet"
    if verdict is None:
        return round(n * OPEN_SHARE), "the model was not judged yet: muster release says what it waits for"
    if verdict.outcome == "HOLD":
        failed = ", ".join(gate.gate for gate in verdict.gates if gate.state == "failed")
        what = "no label changes" if mended_by(verdict) else "more evidence would not change"
        return 0, f"{failed or 'the policy'} holds the model, and {what} that"
    if verdict.outcome == "SHIP":
        return 0, "the last verdict is SHIP: more evidence is not needed, a better model may be"
    if verdict.n_more_labels is None:
        return round(n * OPEN_SHARE), "the model lies too near its bound for evidence to decide: it must become better"
    below = [gate for gate in verdict.gates if _is_below(gate)]
    if below:
        gate = below[0]
        return round(
            n * OPEN_SHARE
        ), f"{gate.gate} saw {gate.value:.3f}, below its {gate.bound:g}: learning comes first"
    wanted = min(n, verdict.n_more_labels)
    return wanted, f"about {verdict.n_more_labels:,} more test labels would probably decide"


def _is_below(gate: GateResult) -> bool:
    """Whether a rate that should lie above its bound was seen below it."""
    if gate.state != "insufficient" or gate.gate not in RATES or gate.value is None or gate.bound is None:
        return False
    return gate.value < gate.bound


def _tested(standing: _Standing, measure: Measure, n_labels: int) -> tuple[float, int] | None:
    """Error and number of test labels of the latest model, if it learnt from the labels of today."""
    metric = standing.report.metric(measure.name) if standing.report else None
    if metric is None or not metric.n or standing.n_learnt != n_labels:
        return None
    return 1.0 - metric.value, metric.n


@dataclass(frozen=True)
class _Expected:
    """The error that a head on today's labels expects over the pool, and what its curve is likely to look like."""

    error: float
    n_classes: int
    prior: CurvePrior


def _expected(pool: Pool, measure: Measure, decide_at: float) -> _Expected | None:
    """What a head on today's labels expects of itself; None while it could not tell anything apart."""
    if not pool.by or len(pool.classes) < 2:
        return None
    waiting = np.setdiff1d(np.arange(len(pool.items)), pool.labelled)
    if not len(waiting):
        return None
    rng = np.random.default_rng(len(pool.labelled))
    if pool.snapshot.task != MULTI:
        told = quick_probabilities(pool.matrix, pool.labelled, pool.labels, len(pool.classes), rng)
        return _Expected(expected_error(told[waiting]), len(pool.classes), PRIOR)
    names, targets = pool.targets
    told = quick_set_probabilities(pool.matrix, pool.labelled, targets, decide_at, rng)
    if measure == ITEM_F1:
        right, prior = expected_item_f1(told[waiting], decide_at), PRIOR_OF_ITEM_F1
    else:
        right, prior = probability_of_whole(told[waiting], decide_at), PRIOR_OF_WHOLE_SETS
    return _Expected(float(1.0 - right.mean()), len(names), prior)


def _outlook(store: Store, standing: _Standing, n_more: int) -> VerdictOutlook | None:
    verdict = standing.verdict
    if verdict is None:
        return None
    if verdict.outcome != "INSUFFICIENT":
        return VerdictOutlook(verdict.outcome, None, n_more, None, "the last verdict is decided")
    policy = store.config.policy
    waiting = [gate for gate in verdict.gates if gate.state == "insufficient"]
    alpha = policy.alpha / policy.max_looks / max(1, len(waiting))
    chances = [_chance(gate, standing.report, alpha, n_more) for gate in waiting]
    known = [chance for chance in chances if chance is not None]
    chance = min(known) if len(known) == len(waiting) and known else None
    names = ", ".join(gate.gate for gate in waiting)
    return VerdictOutlook(verdict.outcome, verdict.n_more_labels, n_more, chance, f"{names} waits for evidence")


def _chance(gate: GateResult, report: Report | None, alpha: float, n_more: int) -> float | None:
    """The chance that `n_more` labels settle one gate; None where no exact test tells."""
    from passmuster.metrics.gates.chance import chance_to_settle

    metric = report.metric(RATES[gate.gate]) if report and gate.gate in RATES else None
    if metric is None or gate.bound is None or gate.n_more is None:
        return None
    return chance_to_settle(metric, gate.bound, alpha, n_more)


def _record(store: Store, plan: LabelPlan, snapshot: Snapshot) -> None:
    """One event for each plan of a state; asking again changes nothing."""
    found = plan.forecast
    with store.read() as db:
        events = list(ledger.read(db, kind="label.forecast"))
        try:
            bundle = read_bundle(db).digest
        except NotFoundError:
            bundle = ""
    payload = {
        "snapshot": snapshot.digest, "bundle": bundle, "n": plan.n, "n_train": plan.n_train, "n_test": plan.n_test,
        "n_labels": plan.n_labels, "why": list(plan.why), "measure": plan.measure.name,
        plan.measure.name: None if found is None else {
            "error": found.error, "error_spread": found.error_spread, "slope": found.slope,
            "slope_spread": found.slope_spread, "gain": found.gain, "low": found.low, "high": found.high,
            "level": found.level, "luck": found.luck, "noise": found.noise,
        },
        "verdict": None if plan.verdict is None else {
            "outcome": plan.verdict.outcome, "n_more_labels": plan.verdict.n_more_labels,
            "n_more": plan.verdict.n_more, "chance": plan.verdict.chance,
        },
    }  # fmt: skip
    same = ("snapshot", "bundle", "n", "n_train", "n_test")
    if events and all(events[-1].payload[key] == payload[key] for key in same):
        return
    with store.act("label.forecast") as act:
        act.payload.update(payload)
