"""Where labels are worth most, what they are likely to bring, and whether it came so; on a real project."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from passmuster.cli.label_plan import check_line, plan_lines
from passmuster.core.clock import now
from passmuster.core.records import GateResult, Label, Metric, Report, Verdict
from passmuster.flows.label_checks import check_forecast
from passmuster.flows.label_plan import plan_labels
from passmuster.flows.labelling import suggest
from passmuster.stages.evaluate import evaluate
from passmuster.stages.govern import add_labels
from passmuster.stages.govern.label_table import LabelRow
from passmuster.stages.train import train
from passmuster.store import ledger
from passmuster.store.items import add_labels as write_labels
from passmuster.store.releases import add_report, add_verdict, read_bundle
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store
from train_case import TOPICS, new_project, write_texts


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "data.csv", n_labels=4))


@pytest.fixture
def half_tested(tmp_path: Path) -> Store:
    """The test holds 30 items without a label beside ten with one; a model is there."""
    path = write_texts(tmp_path / "data.csv", n_labels=4)
    lines = path.read_text().splitlines()
    for i in range(len(lines) - 30, len(lines)):
        id, text, _, split = lines[i].split(",")
        lines[i] = f"{id},{text},,{split}"
    path.write_text("\n".join(lines) + "\n")
    made = new_project(tmp_path / "p", path)
    train(made, budget_s=60)
    return made


def label_next(store: Store, n: int) -> None:
    """A person who labels what is suggested, rightly."""
    rows = [LabelRow(s.id, list(TOPICS)[int(s.id[1:]) % 3], "test.csv") for s in suggest(store, n=n, role="train")]
    add_labels(store, rows, role="train")


def judged(store: Store, outcome: str, *gates: GateResult, n_more: int | None = None, right: float = 0.9) -> None:
    """A report and a verdict in the catalog, as evaluate and release leave them."""
    with store.act("test.judged") as act:
        bundle, snapshot = read_bundle(act.db), read_snapshot(act.db)
        accuracy = Metric("accuracy", right, right - 0.1, right + 0.07, n=40, method="wilson")
        report = Report(bundle.digest, snapshot.digest, now(), "text", tuple(TOPICS), 40, 1, (accuracy,), {}, {})
        digest = add_report(act.db, report)
        verdict = Verdict(bundle.digest, digest, "p", outcome, gates, now(), 1, n_more)  # type: ignore[arg-type]
        add_verdict(act.db, verdict, "{}")


def accuracy_gate(state: str, value: float, n_more: int | None) -> GateResult:
    return GateResult("accuracy.v1", state, "", value, 0.8, n_more)  # type: ignore[arg-type]


def test_without_a_model_every_label_is_to_learn_from_and_the_forecast_stands(store: Store) -> None:
    plan = plan_labels(store, 24)
    assert (plan.n_train, plan.n_test) == (24, 0)
    assert plan.why == ("there is no model yet, so there is nothing to prove",)
    assert plan.forecast is not None
    assert plan.forecast_dozen is not None
    assert plan.forecast.low < plan.forecast.gain < plan.forecast.high
    assert 0 < plan.forecast_dozen.gain < plan.forecast.gain, "twelve bring less than twenty-four"
    assert plan.verdict is None


def test_labels_count_before_a_version_pins_them(store: Store) -> None:
    chosen = suggest(store, n=3, role="train")
    with store.act("label.answer") as act:
        write_labels(act.db, [Label(s.key, "tea", "me", now(), "train") for s in chosen])
    assert plan_labels(store).n_labels == 12 + 3
    assert not {s.key for s in chosen} & {s.key for s in suggest(store, n=200, role="train")}


def test_with_one_class_nothing_is_foretold_and_that_is_said(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "data.csv", classes=1))
    plan = plan_labels(store, 12)
    assert plan.forecast is None
    assert "too few labels" in plan.why[-1]
    assert plan_lines(plan)[0] == "of 12 labels: 12 to learn from, 0 as evidence"


@pytest.mark.parametrize(
    ("outcome", "gates", "n_more", "n_test", "why"),
    [
        ("SHIP", (accuracy_gate("passed", 0.9, None),), None, 0, "SHIP"),
        ("HOLD", (accuracy_gate("failed", 0.6, None),), None, 0, "accuracy.v1 holds the model"),
        ("INSUFFICIENT", (accuracy_gate("insufficient", 0.9, 15),), 15, 15, "about 15 more test labels"),
        ("INSUFFICIENT", (accuracy_gate("insufficient", 0.9, 900),), 900, 20, "about 900 more test labels"),
        ("INSUFFICIENT", (accuracy_gate("insufficient", 0.7, 15),), 15, 5, "below its 0.8: learning comes first"),
        ("INSUFFICIENT", (accuracy_gate("insufficient", 0.8, None),), None, 5, "must become better"),
    ],
)
def test_the_verdict_says_where_labels_are_worth_most(
    half_tested: Store, outcome: str, gates: tuple[GateResult, ...], n_more: int | None, n_test: int, why: str
) -> None:
    judged(half_tested, outcome, *gates, n_more=n_more)
    plan = plan_labels(half_tested, 20)
    assert (plan.n_test, plan.n_train) == (n_test, 20 - n_test)
    assert why in plan.why[0]


def held_by(*gates: str) -> tuple[GateResult, ...]:
    return tuple(replace(accuracy_gate("failed", 0.6, None), gate=gate) for gate in gates)


@pytest.mark.parametrize("gates", [("leakage.v1",), ("parity.v1", "guard_parity.v1"), ("trigger.v1", "test_labels.v1")])
def test_where_no_label_changes_the_verdict_none_is_advised(half_tested: Store, gates: tuple[str, ...]) -> None:
    judged(half_tested, "HOLD", *held_by(*gates), n_more=None)
    told = plan_lines(plan_labels(half_tested, 20))
    assert told[0].startswith("none of 20 labels would change the verdict")
    assert all(gate in told[0] for gate in gates)
    assert not any("to learn from" in line for line in told)
    judged(half_tested, "HOLD", *held_by(*gates, "accuracy.v1"), n_more=None)  # a better model would change that one
    assert "20 to learn from" in plan_lines(plan_labels(half_tested, 20))[0]


def test_no_more_evidence_than_there_are_items(half_tested: Store) -> None:
    judged(half_tested, "INSUFFICIENT", accuracy_gate("insufficient", 0.9, 900), n_more=900)
    plan = plan_labels(half_tested, 50)
    assert (plan.n_test, plan.n_train) == (30, 20)
    assert "only 30 test items are left" in plan.why[0]


def test_more_evidence_is_likelier_to_decide(half_tested: Store) -> None:
    judged(half_tested, "INSUFFICIENT", accuracy_gate("insufficient", 0.9, 66), n_more=66)
    few, many = plan_labels(half_tested, 5).verdict, plan_labels(half_tested, 30).verdict
    assert few is not None
    assert many is not None
    assert few.chance is not None
    assert many.chance is not None
    assert 0 <= few.chance < many.chance < 1


def test_a_gate_that_no_exact_test_settles_gives_no_chance(half_tested: Store) -> None:
    judged(half_tested, "INSUFFICIENT", GateResult("calibration.v1", "insufficient", "", 0.1, 0.1, 40), n_more=40)
    outlook = plan_labels(half_tested, 12).verdict
    assert outlook is not None
    assert outlook.chance is None
    assert outlook.n_more_labels == 40


def test_a_plan_is_one_event_however_often_it_is_asked_for(store: Store) -> None:
    for n in (12, 12, 24):
        plan_labels(store, n)
    with store.read() as db:
        events = list(ledger.read(db, kind="label.forecast"))
    assert [event.payload["n"] for event in events] == [12, 24]
    assert events[0].payload["accuracy"]["gain"] > 0


def test_suggesting_writes_no_forecast(store: Store) -> None:
    suggest(store, n=3)
    with store.read() as db:
        assert not list(ledger.read(db, kind="label.forecast"))


def test_a_forecast_is_held_against_what_came(store: Store) -> None:
    assert check_forecast(store) == []
    first = train(store, budget_s=60)
    plan_labels(store, 12)
    assert check_forecast(store) == [], "nothing came after it yet"
    label_next(store, 12)
    second = train(store, budget_s=60)
    (check,) = check_forecast(store)
    assert (check.n_labels, check.n_added, check.by) == (12, 12, "cross-validated accuracy")
    for result in (first, second):
        evaluate(store, result.bundle)
    (check,) = check_forecast(store)
    assert check.by == "test accuracy"
    assert abs(check.seen) <= 1
    assert check.inside == (
        abs(check.seen - check.gain) <= ((check.high - check.gain) ** 2 + check.seen_half**2) ** 0.5
    )
    assert "12 + 12 labels: foretold" in check_line(check)
    assert "OUTSIDE" in check_line(replace(check, inside=False))
