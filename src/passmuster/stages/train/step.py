"""What every step of the ladder shares, and what it leaves: a fitted rung with its judged heads."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.meter import Meter, resident_bytes
from passmuster.core.progress import Progress
from passmuster.learn.heads import CrossValidated
from passmuster.learn.label_set_heads import LabelSetsCrossValidated
from passmuster.modality.base import Encoder, EncoderGraph, Rung
from passmuster.runtime.engine import EngineChoice
from passmuster.stages.train.head_price import head_kind, heads_s
from passmuster.stages.train.plan import Quote
from passmuster.stages.train.run_folder import RunFolder
from passmuster.stages.train.task import Task
from passmuster.store.store import Store

Judged = CrossValidated | LabelSetsCrossValidated


class OutOfTimeError(Exception):
    """A rung that is not the first would break the deadline; it is left out."""


class NotWorthError(Exception):
    """A rung that is not the best bet as far as can be seen before its whole price is paid; it is left out."""


@dataclass
class Phases:
    """Seconds and peak memory of the phases of a rung, one after the other."""

    meter: Meter
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.meter.mark_peak()

    def end(self, name: str) -> None:
        """The phase that was under way is over; the next begins."""
        now = time.monotonic()
        self.seconds[name], self._began = now - self._began, now
        self.peak_bytes[name] = self.meter.mark_peak()


@dataclass(frozen=True)
class ByFold:
    """Embeddings by encoders that saw no label of a fold: `rows` by fold, of the labelled items and then of `others`.

    `others` are positions of the pool.
    """

    others: np.ndarray
    rows: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Climbed:
    """A fitted rung. `tried` are the heads, the best first.

    `seen` are the positions of the pool that were embedded, in order; `spread_over` those of them that labels spread
    over, or None. `by_fold` is there where the encoder reads labels, `teacher` where the head learns from a model. The
    one head of a multi-label task is a `LabelSetsCrossValidated`.
    """

    rung: Rung
    quote: Quote
    encoder: Encoder
    graph: EncoderGraph  # as served: after the choice of precision
    choice: EngineChoice
    folder: Path
    key: str
    seen: np.ndarray
    tried: tuple[Judged, ...]
    spread_over: np.ndarray | None
    last_fit_s: float  # expected of the best head's fit on all labels
    engines: list[dict[str, Any]]
    phases: Phases
    by_fold: ByFold | None = None
    teacher: Climbed | None = None

    @property
    def best(self) -> Judged:
        return self.tried[0]

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Where these positions of the pool lie among the embedded."""
        return np.searchsorted(self.seen, positions)


@dataclass(frozen=True)
class Climb:
    """What every step of the ladder shares."""

    store: Store
    task: Task
    run: RunFolder
    machine: Machine
    deadline: Deadline
    seed: int
    progress: Progress
    meter: Meter
    held_bytes: int = 0  # by this process when the machine was looked at
    pace: float = 1.0  # seconds taken so far for each that was quoted

    def memory_room_bytes(self) -> int:
        """Memory that may still be taken, by the run's limit and by what the machine had free when it began."""
        there_was = self.machine.memory_bytes + self.held_bytes
        return min(self.meter.limit_bytes or there_was, there_was) - resident_bytes()

    def at_pace(self, pace: float) -> Climb:
        """The same on the machine as it has shown itself to be: so much slower than it was measured."""
        slower = replace(self.machine, matmul_gflops=self.machine.matmul_gflops * self.pace / pace)
        return replace(self, machine=slower, pace=pace)

    @property
    def head_kind(self) -> str:
        """The head that every rung is judged by, settled once in a run: what fits the time left when it is asked."""
        left_s = self.deadline.left_s
        decision = self.run.decide("head", lambda: {"kind": head_kind(self.machine, self.task.profile, left_s)})
        return str(decision["kind"])

    def least_heads_s(self, quote: Quote) -> float:
        """Seconds of a rung's heads without those that are tried only where there is time."""
        if self.task.modality.rungs[quote.rung].teachers:
            return quote.heads_seconds
        return min(quote.heads_seconds, heads_s(self.machine, self.task.profile, self.head_kind))

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of its own for each use, so that one use does not move another."""
        return np.random.default_rng([self.seed, *(zlib.crc32(name.encode()) for name in names)])
