"""From what runs left behind to candidates, totals and advice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from passmuster.core.config import CostConfig
from passmuster.core.errors import NotFoundError
from passmuster.flows import cost as flow
from passmuster.flows.project import Project
from passmuster.store.releases import end_run, start_run
from passmuster.store.store import Store


def engine(precision: str, per_s: float, *, taken: bool = False, reason: str = "") -> dict:
    return {
        "engine": "onnxruntime", "precision": precision, "items_per_s": per_s, "single_items_per_s": per_s / 2,
        "taken": taken, "reason": reason, "prepare": {"items_per_s": 1000.0, "single_items_per_s": 500.0},
    }  # fmt: skip


def row(rung: str, seconds: float, accuracy: float, engines: list[dict], **more: object) -> dict:
    return {
        "rung": rung, "seconds": seconds, "accuracy": accuracy, "engines": engines, "chosen": False,
        "decide": {"items_per_s": 2000.0, "single_items_per_s": 1000.0},
        "accuracy_behind": {"than": "b.v1", "difference": 0.0, "se": 0.0}, **more,
    }  # fmt: skip


ROWS = [
    row("a.v1", 10.0, 0.7, [engine("float32", 2000.0, taken=True), {**engine("int8", 1.0), "items_per_s": None,
        "single_items_per_s": None, "reason": "no operation of this graph has an int8 form"}],
        accuracy_behind={"than": "b.v1", "difference": 0.1, "se": 0.01}),
    row("b.v1", 30.0, 0.8, [engine("float32", 100.0, reason="slower than int8"), engine("int8", 200.0, taken=True)],
        chosen=True),
    {"rung": "c.v1", "left_out": "time: needs more"},
]  # fmt: skip
PRICES = CostConfig(per_machine_hour=3600.0, per_gpu_hour=0.0)  # a second costs 1


def leave(store: Store, run: str, seconds: float, *, currency: str = "EUR", rows: list | None = None) -> None:
    """A training as it lies in the store."""
    with store.act("test.run") as act:
        start_run(act.db, run, "train", "", {})
        end_run(act.db, run, "done", {})
    folder = store.runs_folder / run
    folder.mkdir(parents=True)
    money = {"currency": currency, "money": seconds, "seconds": seconds, "energy_kwh": 0.5}
    (folder / "cost.json").write_text(json.dumps({"usage": {"seconds": seconds}, "cost": money}))
    if rows is not None:
        (folder / "rungs.json").write_text(json.dumps(rows))


def test_a_prediction_is_read_answered_and_judged_one_after_the_other() -> None:
    a, slow, fast = flow.candidates_of(ROWS, {"usage": {"seconds": 50.0}}, PRICES)
    assert [c.name for c in (a, slow, fast)] == ["a.v1 float32", "b.v1 float32", "b.v1 int8"]
    assert a.items_per_s == pytest.approx(1 / (1 / 2000 + 1 / 1000 + 1 / 2000))
    assert a.single_items_per_s == pytest.approx(1 / (1 / 1000 + 1 / 500 + 1 / 1000))
    assert a.per_million == pytest.approx(1e6 / a.items_per_s)
    assert a.training == pytest.approx(10 + 10)  # ten seconds belong to neither rung
    assert fast.training == pytest.approx(10 + 30)
    assert (slow.accuracy, slow.refused, fast.accuracy, fast.taken) == (None, "", 0.8, True)


def test_a_student_costs_its_teacher_as_well() -> None:
    usage, student = {"usage": {"seconds": 50.0}}, {**ROWS[0], "learnt_from": ROWS[1]["rung"]}
    alone, taught = (flow.candidates_of(rows, usage, PRICES) for rows in (ROWS, [student, *ROWS[1:]]))
    assert taught[0].training == pytest.approx(alone[0].training + 30)  # the seconds of the other rung
    assert taught[1].training == alone[1].training


def test_an_older_run_without_the_measurements_has_no_candidates() -> None:
    old = [{k: v for k, v in ROWS[0].items() if k != "accuracy_behind"}]
    assert flow.candidates_of(old, {}, PRICES) == []


def test_advice_for_a_volume(new_store) -> None:
    store = new_store()
    store.config = replace(store.config, cost=PRICES)
    leave(store, "train-1", 50.0, rows=ROWS)
    life = flow.lifetime(store, volume="100/day", months=2)
    assert life.n == pytest.approx(100 * 30.4 * 2)
    assert life.advice is not None
    assert life.advice.name == "b.v1 int8"
    assert life.advice.dominated == {"b.v1 float32": "b.v1 int8"}
    assert life.machine_per_month == pytest.approx(3600 * 24 * 30.4)


def test_the_same_from_python(new_store) -> None:
    store = new_store()
    leave(store, "train-1", 50.0, rows=ROWS)
    project = Project(store)
    assert project.cost() == flow.run_cost(store)
    assert project.lifetime(volume="100/day", months=2) == flow.lifetime(store, volume="100/day", months=2)


def test_a_run_is_found_by_id_by_folder_and_latest_first(new_store) -> None:
    store = new_store()
    leave(store, "train-1", 1.0)
    leave(store, "train-2", 2.0)
    assert flow.run_cost(store).run == "train-2"
    assert flow.run_cost(store, "train-1").account["cost"]["money"] == 1.0
    assert flow.run_cost(store, str(store.runs_folder / "train-1")).run == "train-1"
    with pytest.raises(NotFoundError) as caught:
        flow.run_cost(store, "train-3")
    assert caught.value.code == "cost.none"


def test_totals_keep_currencies_apart(new_store) -> None:
    store = new_store()
    leave(store, "train-1", 1.0)
    leave(store, "train-2", 2.0, currency="CHF")
    leave(store, "train-3", 4.0)
    training, evaluating, labels = flow.totals(store)
    assert (training.n, training.money, training.energy_kwh) == (3, {"EUR": 5.0, "CHF": 2.0}, 1.5)
    assert (evaluating.n, labels.n) == (0, 0)


def test_the_folder_is_gone_but_the_others_are_still_counted(new_store) -> None:
    store = new_store()
    leave(store, "train-1", 1.0)
    leave(store, "train-2", 2.0)
    (Path(store.runs_folder) / "train-1" / "cost.json").unlink()
    assert flow.totals(store)[0].money == {"EUR": 2.0}
