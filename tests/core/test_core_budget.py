"""Budgets: durations and sizes as people write them, deadlines, and what this machine has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from passmuster.core import budget
from passmuster.core.budget import (
    Deadline,
    count_gpus,
    measure_machine,
    parse_bytes,
    parse_duration_s,
    process_start_age_s,
)
from passmuster.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("45", 45), ("1.5m", 90), (" 2 H ", 7200), ("1d", 86400), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10x", "-5s", "5 s extra", "m", "1e3s", "nan"])
def test_what_is_no_duration_is_told(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_duration_s(text)
    assert caught.value.code == "budget.duration"


@pytest.mark.parametrize(
    ("text", "size"), [("2g", 2**31), ("512MiB", 2**29), ("1k", 1024), ("100", 100), ("1.5G", 3 * 2**29)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "2t", "-1g", "1 2"])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_bytes(text)
    assert caught.value.code == "budget.size"


def test_a_deadline_passes_and_leaves_room() -> None:
    later = Deadline.after(1000)
    assert 999 < later.left_s <= 1000
    assert not later.passed
    assert later.sooner(400).at == later.at - 400
    assert later.sooner(2000).passed
    assert Deadline.after(-1).left_s < 0


def test_a_machine_has_cores_memory_and_speed() -> None:
    machine = measure_machine()
    assert machine.n_cores >= 1
    assert machine.memory_bytes > 2**20
    assert machine.matmul_gflops > 0


def test_threads_that_wait_for_each_other_are_not_taken_for_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[bool] = []

    @contextlib.contextmanager
    def one_thread() -> Iterator[None]:
        alone.append(True)
        yield
        alone.clear()

    monkeypatch.setattr(budget, "count_cores", lambda: 2)
    monkeypatch.setattr(budget, "limits_threads", lambda: True)
    monkeypatch.setattr(budget, "one_thread", one_thread)
    for together_s, alone_s, believed_s in ((0.006, 0.010, 0.010 / 1.8), (0.100, 0.012, 0.012 / 1.8), (0.5, 2.0, 0.5)):
        monkeypatch.setattr(budget, "_timed", lambda work, a=alone_s, t=together_s: a if alone else t)
        assert measure_machine().matmul_gflops == pytest.approx(2 * 768**3 / believed_s / 1e9)


def test_a_process_knows_about_how_old_it_is() -> None:
    assert 0 <= process_start_age_s() < 86_400 * 30


@pytest.mark.parametrize(("allowed", "n"), [(None, 2), ("0", 1), ("0,1", 2), ("", 0), ("-1", 0), ("0,1,2,3", 2)])
def test_cards_that_may_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, n: int) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert count_gpus(tmp_path) == n
