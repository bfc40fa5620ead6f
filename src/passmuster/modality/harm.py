"""What may befall an item: natural faults, and attacks, which search for the change that makes a right answer wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.ranges import Range
from passmuster.core.records import Payload

Corruption = Callable[[Payload, int, np.random.Generator], Payload]


@dataclass(frozen=True)
class Target:
    """What is attacked. `ask` gives the logits (n, c) that the bundle as it is served answers to payloads.

    `graph`, `preprocess` and `folder` are the bundle's, for attacks that follow gradients; `memo` keeps what those made
    of them. `n_asked` counts items, so that an attack's price in questions is known.
    """

    answer: Callable[[Sequence[Payload]], np.ndarray]
    graph: bytes
    preprocess: Mapping[str, Any]
    folder: Path
    memo: dict[str, Any] = field(default_factory=dict)

    def ask(self, payloads: Sequence[Payload]) -> np.ndarray:
        """Logits (n, c)."""
        self.memo["n_asked"] = self.n_asked + len(payloads)
        return np.asarray(self.answer(payloads), dtype=np.float64)

    @property
    def n_asked(self) -> int:
        return int(self.memo.get("n_asked", 0))


@dataclass(frozen=True)
class Attack:
    """A search for a small change of an item that makes a right answer wrong.

    `strengths` are the sizes of change that make its curve, in `unit`, and `sizes` those that there can be (`whole`:
    whole numbers alone). `run` gives for each payload, whose class is `labels`, the most harmful payload that it found
    within `strength`; it may be the payload itself. It searches for `effort` gradient steps where it is `white`, which
    says that it follows gradients of the torch twin, which nobody has who sees only the served answers; else for
    `effort` questions about each item. `{effort}` in `summary` is that number. `unavailable` answers "" where it can be
    run against a target, given a few of its items, else the reason.
    """

    name: str
    summary: str
    white: bool
    strengths: tuple[float, ...]
    unit: str
    unavailable: Callable[[Target, Sequence[Payload]], str]
    run: Callable[[Target, Sequence[Payload], np.ndarray, float, np.random.Generator, int], list[Payload]]
    effort: int
    sizes: Range
    whole: bool = False

    def in_words(self) -> str:
        """The summary, with how long it searches."""
        return self.summary.format(effort=f"{self.effort:,}")


@dataclass(frozen=True)
class OwnWords:
    """What a file of words of one meaning puts in the place of the built-in list, by name; and what was in the file."""

    corruptions: Mapping[str, Corruption]
    attacks: Mapping[str, Attack]
    n_words: int
    sha256: str
