"""A machine that is busier than it was measured: what is left out in time, and what is kept for the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.modality.base import Profile
from passmuster.stages.train import ladder
from passmuster.stages.train.pace import N_PARITY, finish_s, pace_of, parity_s
from passmuster.stages.train.plan import FINISH_S, Quote
from passmuster.stages.train.step import Climb

SILENT = SimpleNamespace(say=lambda words: None)


def fitted(quote: Quote, taken_s: float, *, last_fit_s: float = 0.0, per_s: float = 1e9) -> Any:
    """A rung that took so many seconds beside its heads, and embeds so many items a second in float32."""
    return SimpleNamespace(
        rung=SimpleNamespace(name=quote.rung), quote=quote, last_fit_s=last_fit_s, seen=range(10_000),
        phases=SimpleNamespace(seconds={"fit": taken_s / 2, "heads": 99.0, "embed": taken_s / 2}),
        choice=SimpleNamespace(precision="int8"), best=SimpleNamespace(accuracy=0.9, log_loss=0.1, kind="logistic"),
        engines=[{"precision": "int8", "items_per_s": 1e9}, {"precision": "float32", "items_per_s": per_s}],
    )  # fmt: skip


def quote(name: str, seconds: float, *, elastic: bool = False) -> Quote:
    return Quote(name, seconds + 3.0, 2**20, "", "", heads_seconds=3.0, elastic=elastic)


def test_the_pace_is_what_was_taken_of_what_was_quoted_without_heads() -> None:
    assert pace_of([]) == 1.0
    assert pace_of([fitted(quote("a", 18.0), 58.0)]) == pytest.approx(3.0)
    assert pace_of([fitted(quote("a", 8.0), 28.0), fitted(quote("b", 10.0), 10.0)]) == pytest.approx(2.0)
    assert pace_of([fitted(quote("a", 20.0), 5.0)]) == 1.0, "a quicker machine is no promise"
    assert pace_of([fitted(quote("a", 0.1), 0.9)]) < 1.5, "a rung of no time says little"
    assert pace_of([fitted(quote("a", 10.0, elastic=True), 300.0)]) == 1.0, "it takes what it is given"


def test_the_end_keeps_time_for_what_grows_with_the_pace_and_with_the_encoder() -> None:
    assert finish_s([]) == FINISH_S
    slow = fitted(quote("a", 18.0), 58.0, last_fit_s=4.0, per_s=50.0)
    assert parity_s(slow) == pytest.approx(N_PARITY / 50.0)
    in_float32 = SimpleNamespace(**{**vars(slow), "choice": SimpleNamespace(precision="float32")})
    assert parity_s(in_float32) == 0.0, "what was embedded is not embedded again"
    assert finish_s([slow]) == pytest.approx(3.0 * (FINISH_S + 4.0) + N_PARITY / 50.0)


def climbed_on(
    pace: float, left_s: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    quoted: Mapping[str, float] = MappingProxyType({"first": 10.0, "second": 20.0}), parts: tuple[str, ...] = (),
) -> tuple[Any, ...]:  # fmt: skip
    """Which rungs are fitted; why others are not; and machines as the rungs saw them. `parts` are of the last one."""
    quotes = [quote(name, seconds) for name, seconds in quoted.items()]
    seen: list[Climb] = []

    def climb(step: Climb, rung: Any, asked: Quote, *, before: Any, later_s: float) -> Any:
        seen.append(step)
        return fitted(asked, pace * asked.encoder_s)

    monkeypatch.setattr(ladder, "climb", climb)
    rungs = {q.rung: SimpleNamespace(name=q.rung, teachers=(), parts=()) for q in quotes}
    rungs[quotes[-1].rung].parts = parts
    run = SimpleNamespace(decide=lambda name, make: make(), path=tmp_path)
    task = SimpleNamespace(modality=SimpleNamespace(rungs=rungs), profile=Profile(900, 20, 2, 80.0, 200.0))
    machine = Machine(2, 2**33, 120.0)
    step = Climb(None, task, run, machine, Deadline.after(left_s), 0, SILENT, SimpleNamespace(forgive=lambda: None))
    done, left_out = ladder.climb_all(step, [vars(q) for q in quotes], SimpleNamespace(by="time"))
    return [d.rung.name for d in done], left_out, seen


def test_on_a_busy_machine_a_rung_gives_way_that_its_quote_would_have_let_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done, left_out, seen = climbed_on(1.0, 40.0, monkeypatch, tmp_path)
    assert (done, left_out) == (["first", "second"], {})
    assert [step.machine.matmul_gflops for step in seen] == [120.0, 120.0]
    done, left_out, seen = climbed_on(4.0, 40.0, monkeypatch, tmp_path)
    assert done == ["first"]
    assert left_out["second"].startswith("time: needs 77")
    assert left_out["second"].endswith("left; this machine takes 3.5 times what was quoted")
    _, left_out, _ = climbed_on(1.0, 20.0, monkeypatch, tmp_path)
    assert left_out["second"].endswith(" left"), "it is no slower than it was measured"
    done, left_out, seen = climbed_on(4.0, 400.0, monkeypatch, tmp_path)
    assert done == ["first", "second"]
    assert seen[1].machine.matmul_gflops == pytest.approx(120.0 / seen[1].pace)
    assert seen[1].pace == pytest.approx(42.0 / 12.0)
    again = seen[1].at_pace(seen[1].pace)
    assert again == replace(seen[1], machine=again.machine)
    assert again.machine.matmul_gflops == pytest.approx(seen[1].machine.matmul_gflops)


def test_a_rung_put_together_from_one_that_is_not_there_is_priced_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quoted = {"first": 5.0, "dear": 60.0, "both": 1.5}
    done, left_out, _ = climbed_on(1.0, 40.0, monkeypatch, tmp_path, quoted, ("first", "dear"))
    assert (done, list(left_out)) == (["first"], ["dear", "both"])
    assert left_out["both"].startswith("time: needs 69")
    done, left_out, _ = climbed_on(1.0, 400.0, monkeypatch, tmp_path, quoted, ("first", "dear"))
    assert (done, left_out) == (["first", "dear", "both"], {})
