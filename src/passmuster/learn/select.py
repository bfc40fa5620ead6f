"""Choosing a rung by what it is expected to bring: cross-validated log-loss, what earlier data said, and price.

Significance is for gates. Here the question is only which rung is the better bet, so the measured difference and the
prior are combined by their precisions, and the highest expectation wins; a dearer rung must bring `WORTH_NATS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from passmuster.learn.heads import standard_error
from passmuster.learn.priors import Gain

WORTH_NATS = 0.005


@dataclass(frozen=True)
class Candidate:
    """A fitted rung: per-item losses (m,) over the same held-out items as every other candidate, and its prior."""

    name: str
    losses: np.ndarray
    prior: Gain


@dataclass(frozen=True)
class Standing:
    """What a candidate gained over the one before it (nats; positive is better), measured and expected."""

    name: str
    gain: float
    gain_se: float
    expected_gain: float
    chosen: bool


def choose_rung(candidates: Sequence[Candidate], worth_nats: float = WORTH_NATS) -> list[Standing]:
    """Standings in the ladder's order (cheapest first); exactly one is chosen.

    >>> prior = Gain(0.0, 1.0, "")
    >>> cheap = Candidate("cheap.v1", np.array([1.0, 1.2, 0.9]), prior)
    >>> dear = Candidate("dear.v1", np.array([0.5, 0.6, 0.4]), prior)
    >>> [s.name for s in choose_rung([cheap, dear]) if s.chosen]
    ['dear.v1']
    """
    gains = [(0.0, 0.0, 0.0)]
    for before, after in pairwise(candidates):
        paired = before.losses - after.losses
        measured, error = float(paired.mean()), max(standard_error(paired), 1e-6)
        weight = after.prior.spread**2 / (after.prior.spread**2 + error**2)
        gains.append((measured, error, weight * measured + (1 - weight) * after.prior.mean))
    heights = np.cumsum([expected for _, _, expected in gains])
    best = 0
    for position in range(1, len(candidates)):
        if heights[position] > heights[best] + worth_nats:
            best = position
    return [
        Standing(candidate.name, *gain, position == best)
        for position, (candidate, gain) in enumerate(zip(candidates, gains, strict=True))
    ]
