"""Inputs unlike the reference: the share of answers that the guard called novel, against the rate it was set to."""

from __future__ import annotations

from passmuster.core.config import WatchPolicy
from passmuster.core.distributions import beta_ppf
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
    """Upper bound of the true share of ordinary items above a threshold that `n_held_out` of them have set.

    `rate` is the share expected above the j-th largest, ``j / (n + 1)``. The true share there follows
    Beta(j, n + 1 - j), whatever the distribution of scores (order statistics; Vovk 2012, Proposition 2a).

    >>> novel_rate_bound(0.01, 1_999) < novel_rate_bound(0.01, 199) < 0.03
    True
    """
    rank = round(rate * (n_held_out + 1))
    if not 0 < rank <= n_held_out:
        return 1.0
    return beta_ppf(level, rank, n_held_out + 1 - rank)


novelty_v1 = Signal("inputs that the guard called novel", "prediction", is_novel, novelty_rises)
