"""Choosing a rung by what it is expected to bring: cross-validated log-loss, what earlier data said, and price.

Significance is for gates. Here the question is only which rung is the better bet, so measured gains and priors are
combined as normal distributions of all rungs at once, and the highest expectation wins; a dearer rung must bring
`WORTH_NATS`. At once, because gains over the same first rung hang together, in the prior (`learn.priors`) and as
measured: which of two rungs is better is known beforehand much more closely than what either gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.learn.folds import N_FOLDS
from passmuster.learn.heads import standard_error
from passmuster.learn.priors import Gain

WORTH_NATS = 0.005
# Errors of cross-validated differences are larger than items alone say, because folds learn from the same labels:
# with four folds, variance (1/4 + 1/3) instead of 1/4 (Nadeau and Bengio 2003, equation 11).
RESAMPLED = float(np.sqrt((1 / N_FOLDS + 1 / (N_FOLDS - 1)) * N_FOLDS))
# On sixteen labels the temperature may flatten every head until all lose the same: differences are then small and so
# is their spread, which says nothing of how they would differ on more items. An item's variance is held to a usual one
# (Smyth 2004, equation 3: a moderated variance) that counts for so many items.
USUAL_SD, USUAL_ITEMS = 0.4, 16
SHARED_ERROR = 0.5  # correlation of measured gains: two differences from the same third have half their noise in common


@dataclass(frozen=True)
class Candidate:
    """A fitted rung: per-item losses (m,) over the same held-out items as every other candidate, and its prior."""

    name: str
    losses: np.ndarray
    prior: Gain


@dataclass(frozen=True)
class Standing:
    """What a candidate gained over the first (nats; positive is better), measured and expected."""

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
    first = candidates[0].losses
    measured = []
    for candidate in candidates:
        paired = first - candidate.losses
        measured.append((float(paired.mean()), standard_error(paired) * RESAMPLED))
    return stand([c.name for c in candidates], measured, [c.prior for c in candidates], len(first), worth_nats)


def stand(
    names: Sequence[str],
    measured: Sequence[tuple[float, float]],
    priors: Sequence[Gain],
    n_items: int,
    worth_nats: float = WORTH_NATS,
) -> list[Standing]:
    """Standings from each rung's gain over the first and its standard error on `n_items`, and what was known before.

    Each is compared with the first, not with the one before it: a doubt about the rung in between would count
    against one and for the other.
    """
    gains = np.array([gain for gain, _ in measured])
    errors = np.array([moderated(error, n_items) for _, error in measured])
    means, covariance = _over_first(priors)
    noise = SHARED_ERROR * np.outer(errors, errors)
    np.fill_diagonal(noise, errors**2)
    expected = np.zeros(len(names))
    if len(names) > 1:
        weighed = np.linalg.solve(covariance + noise[1:, 1:], gains[1:] - means)
        expected[1:] = means + covariance @ weighed
    best = 0
    for position in range(1, len(names)):
        if expected[position] > expected[best] + worth_nats:
            best = position
    return [
        Standing(name, float(gain), float(error) if position else 0.0, float(expectation), position == best)
        for position, (name, gain, error, expectation) in enumerate(zip(names, gains, errors, expected, strict=True))
    ]


def moderated(error: float, n_items: int) -> float:
    """A gain's standard error with an item's variance held to the usual one.

    >>> round(moderated(0.0, 16), 2), round(moderated(0.02, 10_000), 3)
    (0.11, 0.02)
    """
    usual = USUAL_ITEMS * (USUAL_SD * RESAMPLED) ** 2
    seen = max(0, n_items - 1) * error**2 * n_items
    return float(np.sqrt((usual + seen) / (USUAL_ITEMS + max(0, n_items - 1)) / max(1, n_items)))


def _over_first(priors: Sequence[Gain]) -> tuple[np.ndarray, np.ndarray]:
    """Means (r,) and covariance (r, r) of what the other rungs gain over the first of `priors`."""
    shared = np.array([prior.shared for prior in priors])
    covariance = np.outer(shared, shared)
    np.fill_diagonal(covariance, [max(prior.spread, 1e-6) ** 2 for prior in priors])
    over = np.hstack([-np.ones((len(priors) - 1, 1)), np.eye(len(priors) - 1)])
    return over @ [prior.mean for prior in priors], over @ covariance @ over.T
