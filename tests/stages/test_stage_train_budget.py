"""Money and memory: the tighter limit is named, what does not fit is refused, and what runs over leaves a way on."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from passmuster.core import meter
from passmuster.core.config import Config, CostConfig
from passmuster.core.errors import BudgetError, MusterError, ResourceError, UsageError
from passmuster.core.meter import resident_bytes
from passmuster.core.records import Price
from passmuster.modality.text.modality import TEXT
from passmuster.modality.text.rungs import static
from passmuster.stages.train import price, train
from passmuster.stages.train.limits import Limits, limits_of
from passmuster.stages.train.run_folder import read_json
from passmuster.store import ledger
from passmuster.store.releases import read_runs
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="training needs the extra `train`")
PER_S = 0.04 * 2 / 3600  # of two cores at the prices of the examples


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices by the core come out the same on every machine."""
    monkeypatch.setattr("passmuster.stages.train.limits.count_cores", lambda: 2)
    monkeypatch.setattr("passmuster.core.meter.count_cores", lambda: 2)
    monkeypatch.setattr("passmuster.stages.train.limits.training_device", lambda: "cpu")


def project(tmp_path: Path, name: str = "p", n: int = 90, **settings: object):
    return new_project(tmp_path / name, write_texts(tmp_path / f"{name}.csv", n=n), **settings)


def hungry(view, deadline, checkpoint, rng):
    """A fit that takes memory until somebody stops it."""
    kept = []
    while not deadline.passed:
        kept.append(np.ones(2**20))
    raise AssertionError("nobody stopped it")


def cheap(machine, profile):
    return Price(1.0, 2**20)


# --- money


def test_money_is_a_deadline_and_the_tighter_limit_is_named_everywhere(tmp_path: Path) -> None:
    store = project(tmp_path, max_cost=50 * PER_S)
    result = train(store, budget_s=300.0)
    assert result.limited_by == "cost"
    folder = store.runs_folder / result.run
    plan = read_json(folder / "decisions" / "plan.json")
    assert (plan["limits"]["by"], plan["limits"]["seconds"]) == ("cost", pytest.approx(50.0))
    account = read_json(folder / "cost.json")
    assert account["status"] == "done"
    assert account["limits"] == plan["limits"]
    with store.read() as db:
        done = list(ledger.read(db, kind="train.done"))[-1].payload
        begun = list(ledger.read(db, kind="train.start"))[-1].payload
    assert done["limits"] == plan["limits"]
    assert begun["arguments"]["max_cost"] == 50 * PER_S
    assert done["cost"] == account["cost"]
    assert 0 < result.cost.money < 50 * PER_S
    assert result.cost.money == pytest.approx(result.cost.seconds * PER_S, rel=1e-2)
    assert result.peak_memory_bytes == account["usage"]["peak_memory_bytes"] > 2**20


def test_enough_money_leaves_the_time_the_tighter(tmp_path: Path) -> None:
    assert train(project(tmp_path, max_cost=1000.0)).limited_by == "time"


def test_too_little_money_is_refused_before_the_start(tmp_path: Path) -> None:
    store = project(tmp_path, max_cost=0.5 * PER_S)
    with pytest.raises(BudgetError) as caught:
        train(store)
    assert (caught.value.code, caught.value.exit_code) == ("budget.cost", 5)
    assert "EUR" in str(caught.value)
    assert "--max-cost" in str(caught.value.next)
    with store.read() as db:
        assert read_runs(db, kind="train") == []
    enough = float(str(caught.value.next).split()[-1])
    assert train(project(tmp_path, "q", max_cost=enough)).limited_by == "cost"  # what it says is enough is enough


def test_a_rung_that_the_money_does_not_hold_is_refused_in_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = replace(static.STATIC, name="pretrained.v1", quote=lambda m, p: Price(1e6, 2**20))
    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", dear)
    store = project(tmp_path, max_cost=55 * PER_S)
    assert price(store)[1]["refused"].startswith("cost: needs 22.22 of 0.00")
    assert price(store)[1]["money"] == pytest.approx(1e6 * PER_S)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_what_is_no_money_is_told(amount: float) -> None:
    config = Config()
    with pytest.raises(UsageError) as caught:
        limits_of(replace(config, train=replace(config.train, max_cost=amount)), 60.0)
    assert caught.value.code == "budget.money"


def test_a_machine_that_costs_nothing_has_no_money_limit() -> None:
    config = replace(Config(), cost=CostConfig(per_core_hour=0.0))
    limits = limits_of(replace(config, train=replace(config.train, max_cost=0.01)), 60.0)
    assert (limits.by, limits.seconds) == ("time", 60.0)


def test_money_that_a_killed_process_spent_is_gone_and_its_time_is_not() -> None:
    limits = Limits(time_s=100.0, max_cost=1.0, per_s=0.01, currency="EUR", spent_s=70.0)
    assert (limits.by, limits.seconds) == ("cost", 30.0)
    assert "0.70 of it spent before the stop" in limits.line()
    assert Limits(time_s=20.0, max_cost=1.0, per_s=0.01, spent_s=70.0).by == "time"


def test_a_run_whose_money_is_spent_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = project(tmp_path, max_cost=50 * PER_S)

    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("passmuster.stages.train.stage.finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(store)
    with store.read() as db:
        (run,) = read_runs(db, kind="train", status="running")
    path = store.runs_folder / run["id"] / "cost.json"
    account = read_json(path)
    assert account["status"] == "stopped"
    account["usage"]["seconds"] += 49.0
    path.write_text(json.dumps(account))
    with pytest.raises(BudgetError) as caught:
        train(store)
    assert caught.value.code == "budget.cost"
    account["usage"]["seconds"] -= 49.0
    path.write_text(json.dumps(account))
    result = train(store)
    assert result.resumed
    assert result.cost.seconds > account["usage"]["seconds"]  # both processes are in the account


# --- memory


def test_memory_that_runs_over_is_told_and_the_run_goes_on_with_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project(tmp_path)
    whole = train(store, seed=2)
    given = resident_bytes() // 2**20 + 250
    store.config = replace(store.config, train=replace(store.config.train, max_memory=f"{given}m"))
    with monkeypatch.context() as patch:
        patch.setitem(TEXT.rungs._entries, "static.v1", replace(static.STATIC, fit=hungry, quote=cheap))
        with pytest.raises(ResourceError) as caught:
            train(store, seed=2)
    error = caught.value
    assert (error.code, error.exit_code) == ("memory.over", 6)
    assert error.limit == f"{given} MiB"
    assert "--max-memory" in str(error.next)
    with store.read() as db:
        (run,) = read_runs(db, kind="train", status="running")
    assert read_json(store.runs_folder / run["id"] / "cost.json")["status"] == "stopped"
    store.config = replace(store.config, train=replace(store.config.train, max_memory=f"{given + 4000}m"))
    result = train(store, seed=2)
    assert result.resumed
    assert result.bundle == whole.bundle


def test_a_later_rung_that_runs_over_is_left_out_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = replace(static.STATIC, name="pretrained.v1", fit=hungry, quote=cheap)
    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", greedy)
    store = project(tmp_path)
    given = resident_bytes() // 2**20 + 900
    store.config = replace(store.config, train=replace(store.config.train, max_memory=f"{given}m"))
    result = train(store)
    rows = {row["rung"]: row for row in result.rungs}
    assert rows["static.v1"]["chosen"]
    assert rows["pretrained.v1"]["left_out"] == f"left out: it took more memory than {given} MiB"
    decision = store.runs_folder / result.run / "decisions" / "late-pretrained.v1.json"
    assert read_json(decision)["refused"] == rows["pretrained.v1"]["left_out"]
    assert result.peak_memory_bytes > given * 2**20


@pytest.mark.parametrize("words", ["std::bad_alloc", "DefaultCPUAllocator: can't allocate memory"])
def test_a_library_that_cannot_allocate_is_told_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setitem(TEXT.rungs._entries, "static.v1", replace(static.STATIC, fit=broken))
    with pytest.raises(ResourceError) as caught:
        train(project(tmp_path))
    assert caught.value.code == "memory.over"
    assert caught.value.limit == "what the machine has"


def test_other_errors_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setitem(TEXT.rungs._entries, "static.v1", replace(static.STATIC, fit=broken))
    with pytest.raises(RuntimeError, match="shapes"):
        train(project(tmp_path))


# --- the account


def test_a_full_disk_in_mid_checkpoint_leaves_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project(tmp_path)
    whole = train(store, seed=4)
    fsync = os.fsync

    def full(handle: int) -> None:
        if ".encoder.safetensors" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which file a handle is")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(ResourceError) as caught:
            train(store, seed=4)
    assert (caught.value.code, caught.value.exit_code) == ("disk.full", 6)
    (run,) = (folder for folder in store.runs_folder.iterdir() if folder.name != whole.run)
    assert not list(run.rglob(".*.new"))
    assert read_json(run / "cost.json")["status"] == "stopped"
    result = train(store, seed=4)
    assert result.resumed
    assert result.bundle == whole.bundle


def test_the_account_is_kept_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill leaves: the account of two seconds before at most."""
    monkeypatch.setattr(meter, "BEAT_EVERY_S", 0.0)
    store = project(tmp_path)
    seen = []

    def look(*arguments: object) -> None:
        (run,) = store.runs_folder.iterdir()
        seen.append(read_json(run / "cost.json"))
        raise MusterError("made.up", "enough was seen")

    monkeypatch.setattr("passmuster.stages.train.stage.finish", look)
    with pytest.raises(MusterError):
        train(store)
    assert (seen[0]["status"], seen[0]["kind"]) == ("running", "train")
    assert seen[0]["usage"]["seconds"] > 0
    assert seen[0]["usage"]["cpu_seconds"] > 0


def test_rungs_keep_what_a_lifetime_cost_needs(tmp_path: Path) -> None:
    result = train(project(tmp_path))
    (row,) = [row for row in result.rungs if "left_out" not in row]
    assert row["peak_memory_bytes"] > 2**20
    assert row["truncated"] is False
    assert row["accuracy_behind"] == {"than": "static.v1", "difference": 0.0, "se": 0.0}
    for engine in row["engines"]:
        if engine["items_per_s"]:
            assert engine["single_items_per_s"] > 0
        assert engine["prepare"]["items_per_s"] > 0
    assert row["decide"]["items_per_s"] > 0
    assert row["decide"]["single_items_per_s"] > 0
