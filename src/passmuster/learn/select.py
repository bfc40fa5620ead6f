"""Choosing a rung by what it is expected to bring: cross-validated log-loss, what earlier data said, and price.

Significance is for gates. Here the question is only which rung is the better bet, so the measured difference and the
prior are combined by their precisions, and the highest expectation wins; a dearer rung must bring `WORTH_NATS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from passmuster.learn.folds import N_FOLDS
from passmuster.learn.heads import standard_error
from passmuster.learn.priors import Gain

WORTH_NATS = 0.005
# Errors of cross-validated differences are larger than items alone say, because folds learn from the same labels:
# with four folds, variance (1/4 + 1/3) instead of 1/4 (Nadeau and Bengio 2003, equation 11).
RESAMPLED = float(np.sqrt((1 / N_FOLDS + 1 / (N_FOLDS - 1)) * N_FOLDS))


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
    measured = [(0.0, 0.0)]
    for before, after in pairwise(candidates):
        paired = before.losses - after.losses
        measured.append((float(paired.mean()), standard_error(paired) * RESAMPLED))
    return stand([c.name for c in candidates], measured, [c.prior for c in candidates], worth_nats)


def stand(
    names: Sequence[str],
    measured: Sequence[tuple[float, float]],
    priors: Sequence[Gain],
    worth_nats: float = WORTH_NATS,
) -> list[Standing]:
    """Standings from each rung's gain over the one before it and its standard error, and what was known beforehand.

    The first rung's gain is 0 by definition.
    """
    gains = [(0.0, 0.0, 0.0)]
    for (gain, error), prior in zip(measured[1:], priors[1:], strict=True):
        weight = prior.spread**2 / (prior.spread**2 + max(error, 1e-6) ** 2)
        gains.append((gain, error, weight * gain + (1 - weight) * prior.mean))
    heights = np.cumsum([expected for _, _, expected in gains])
    best = 0
    for position in range(1, len(names)):
        if heights[position] > heights[best] + worth_nats:
            best = position
    return [
        Standing(name, *gain, position == best) for position, (name, gain) in enumerate(zip(names, gains, strict=True))
    ]
