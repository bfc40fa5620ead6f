"""Where labels of sets are worth most, and what they bring: to items' mean F1, or to whole sets, as the gate reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from label_sets_case import labels_of, project
from passmuster.cli.label_plan import check_line, plan_lines
from passmuster.core.clock import now
from passmuster.core.records import GateResult, Metric, Report, Verdict
from passmuster.flows.label_checks import check_forecast
from passmuster.flows.label_plan import ITEM_F1, WHOLE, measure_of, plan_labels
from passmuster.flows.labelling import suggest
from passmuster.stages.evaluate import evaluate
from passmuster.stages.govern import add_labels
from passmuster.stages.govern.label_table import LabelRow
from passmuster.stages.train import train
from passmuster.store import ledger
from passmuster.store.releases import add_report, add_verdict, read_bundle
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store
from train_case import TOPICS

F1_GATE = {"item_f1.v1": {"min": 0.8}}


@pytest.fixture
def store(new_store, tmp_path: Path) -> Store:
    return gated(project(new_store, tmp_path), F1_GATE)


def gated(store: Store, gates: dict[str, dict[str, float]]) -> Store:
    """The same project under other gates."""
    store.config = replace(store.config, policy=replace(store.config.policy, gates=gates))
    return store


def test_the_gain_is_in_the_mean_f1_of_items(store: Store) -> None:
    plan = plan_labels(store, 24)
    assert plan.measure == ITEM_F1
    assert plan.forecast is not None
    assert plan.forecast_dozen is not None
    assert 0 < plan.forecast_dozen.gain < plan.forecast.gain
    lines = plan_lines(plan)
    assert any(line.startswith("24 more labels to learn from: mean F1 of items from about ") for line in lines)
    with store.read() as db:
        (event,) = ledger.read(db, kind="label.forecast")
    assert event.payload["measure"] == "item_f1"
    told = event.payload["item_f1"]
    assert (told["gain"], told["noise"], told["luck"]) == (plan.forecast.gain, 0.01, 0.04)


def test_where_the_gate_reads_whole_sets_those_are_foretold(store: Store) -> None:
    f1 = plan_labels(store, 24).forecast
    whole = plan_labels(gated(store, {"accuracy.v1": {"min": 0.5}}), 25)
    assert whole.measure == WHOLE
    assert whole.forecast is not None
    assert f1 is not None
    assert whole.forecast.error > f1.error, "fewer sets are wholly right than half right"
    assert any("whole sets right from about" in line for line in plan_lines(whole))


@pytest.mark.parametrize(
    ("gates", "measure"),
    [
        ({}, ITEM_F1),
        (F1_GATE, ITEM_F1),
        ({**F1_GATE, "accuracy.v1": {"min": 0.5}}, ITEM_F1),
        ({"accuracy.v1": {"min": 0.5}}, WHOLE),
    ],
)
def test_the_measure_is_the_gates(store: Store, gates: dict[str, dict[str, float]], measure: object) -> None:
    with store.read() as db:
        snapshot = read_snapshot(db)
    assert measure_of(gated(store, gates), snapshot) == measure


def test_a_mean_f1_below_its_bound_sends_labels_to_learning(store: Store) -> None:
    train(store, budget_s=60)
    with store.act("test.judged") as act:
        bundle, snapshot = read_bundle(act.db), read_snapshot(act.db)
        seen = Metric("item_f1", 0.7, 0.5, 0.85, n=40, method="wilson")
        report = Report(bundle.digest, snapshot.digest, now(), "text", tuple(TOPICS), 40, 1, (seen,), {}, {})
        digest = add_report(act.db, report)
        gate = GateResult("item_f1.v1", "insufficient", "", 0.7, 0.8, 15)
        add_verdict(act.db, Verdict(bundle.digest, digest, "p", "INSUFFICIENT", (gate,), now(), 1, 15), "{}")
    plan = plan_labels(store, 20)
    assert "item_f1.v1 saw 0.700, below its 0.8: learning comes first" in plan.why[0]
    assert plan.verdict is not None
    assert plan.verdict.chance is not None
    assert 0 < plan.verdict.chance < 1


def test_a_forecast_of_sets_is_held_against_what_came(store: Store) -> None:
    first = train(store, budget_s=60)
    plan_labels(store, 12)
    rows = [LabelRow(s.id, "tea", "test.csv") for s in suggest(store, n=12, role="train")]
    add_labels(store, rows, role="train")
    assert len(labels_of(store)) > 12
    second = train(store, budget_s=60)
    (check,) = check_forecast(store)
    assert (check.n_added, check.by) == (12, "cross-validated F1 of items")
    for result in (first, second):
        evaluate(store, result.bundle)
    (check,) = check_forecast(store)
    assert check.by == "test F1 of items"
    assert "by test F1 of items" in check_line(check)
