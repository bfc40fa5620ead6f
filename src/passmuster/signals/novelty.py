"""Inputs unlike the reference: the share of answers that the guard called novel, against the rate it was set to."""

from __future__ import annotations

import numpy as np
from scipy import stats

from passmuster.core.config import WatchPolicy
from passmuster.core.records import TrafficRecord
from passmuster.core.sequential import LARGEST_RATE, Mixture, mixture
from passmuster.signals.base import Signal


def is_novel(record: TrafficRecord, label: str) -> bool:
    """Whether the guard called the input novel; needs no label."""
    return record.novel


def novelty_rises(base_rate: float, policy: WatchPolicy) -> Mixture:
    """From `smallest_novelty_ratio` times the base rate upwards, or halfway to 1 when that is more than can be.

    >>> round(novelty_rises(0.02, WatchPolicy()).alternatives[0], 3)
    0.06
    """
    largest = base_rate + (LARGEST_RATE - base_rate) / 2
    return mixture(base_rate, min(base_rate * policy.smallest_novelty_ratio, largest))


def novel_rate_bound(rate: float, n_held_out: int, *, level: float = 0.95) -> float:
    """Upper bound of the true share above a threshold set so that `rate` of `n_held_out` items lie above it.

    The true share above the (j + 1)-th largest of n follows Beta(j + 1, n - j), whatever the distribution (order
    statistics; Vovk 2012, Proposition 2a, where this is the coverage of a split-conformal set), with j the number of
    items above.

    >>> novel_rate_bound(0.01, 2_000) < novel_rate_bound(0.01, 150) < 0.05
    True
    """
    if n_held_out <= 0:
        return 1.0
    n_above = int(np.floor(rate * n_held_out))
    return float(stats.beta.ppf(level, n_above + 1, n_held_out - n_above))


novelty_v1 = Signal("inputs that the guard called novel", "prediction", is_novel, novelty_rises)
