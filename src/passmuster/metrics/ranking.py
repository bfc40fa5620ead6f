"""How well a score separates strange items (the positive class) from ordinary ones."""

from __future__ import annotations

import numpy as np

from passmuster.core.distributions import normal_ppf
from passmuster.core.errors import DataError
from passmuster.core.statistics import Interval


def auroc(strange: np.ndarray, ordinary: np.ndarray, *, level: float = 0.95) -> Interval:
    """Chance that a strange item scores higher than an ordinary one, ties counting half.

    Interval by DeLong, DeLong and Clarke-Pearson 1988 (midranks as in Sun and Xu 2014) on the logit scale; where one
    side has a single item, or the separation is perfect and that variance is 0, by Newcombe 2006 (Statistics in
    Medicine 25, method 5).

    >>> found = auroc(np.array([3.0, 2.0, 0.5]), np.array([1.0, 0.0, 2.0]))
    >>> round(found.value, 4)
    0.7222
    """
    a, b = _both(strange, ordinary)
    m, n = len(a), len(b)
    everything = _midranks(np.concatenate([a, b]))
    above = (everything[:m] - _midranks(a)) / n  # for each strange item, the share of ordinary ones below it
    below = 1.0 - (everything[m:] - _midranks(b)) / m
    value = float(above.mean())
    variance = float(above.var(ddof=1) / m + below.var(ddof=1) / n) if min(m, n) > 1 else 0.0
    if variance <= 0 or not 0 < value < 1:
        low, high = _newcombe(value, m, n, level)
        return Interval(value, low, high, m + n, "newcombe", level)
    z = normal_ppf(0.5 + level / 2)
    middle, half = np.log(value / (1 - value)), z * np.sqrt(variance) / (value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-x))) for x in (middle - half, middle + half))
    return Interval(value, low, high, m + n, "delong", level)


def fpr95(strange: np.ndarray, ordinary: np.ndarray) -> tuple[float, float]:
    """False-positive rate at 95 % true positives, under both conventions in use.

    First, strange is positive: the threshold catches at least 95 % of strange items; the share of ordinary items
    flagged. Second, ordinary is positive (Liang, Li and Srikant 2018): the threshold accepts at least 95 % of ordinary
    items; the share of strange items accepted.

    >>> fpr95(np.arange(10.0, 20.0), np.arange(0.0, 11.0))
    (0.09090909090909091, 0.1)
    """
    a, b = _both(strange, ordinary)
    catches = np.sort(a)[::-1][int(np.ceil(0.95 * len(a) - 1e-9)) - 1]
    accepts = np.sort(b)[int(np.ceil(0.95 * len(b) - 1e-9)) - 1]
    return float((b >= catches).mean()), float((a <= accepts).mean())


def _midranks(x: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def _newcombe(value: float, m: int, n: int, level: float) -> tuple[float, float]:
    from scipy.optimize import brentq  # slow to import, seldom needed

    z2 = normal_ppf(0.5 + level / 2) ** 2
    half = (m + n) / 2 - 1

    def excess(x: float) -> float:
        spread = x * (1 - x) * (1 + half * ((1 - x) / (2 - x) + x / (1 + x))) / (m * n)
        return (value - x) ** 2 - z2 * spread

    low = 0.0 if value <= 0 else float(brentq(excess, 1e-12, min(value, 1 - 1e-9))) if excess(1e-12) > 0 else 0.0
    high = 1.0 if value >= 1 else float(brentq(excess, max(value, 1e-9), 1 - 1e-12)) if excess(1 - 1e-12) > 0 else 1.0
    return low, high


def _both(strange: np.ndarray, ordinary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(strange, dtype=np.float64), np.asarray(ordinary, dtype=np.float64)
    if not len(a) or not len(b) or np.isnan(a).any() or np.isnan(b).any():
        raise DataError("ranking.empty", "a separation needs scores of both kinds", value=(len(a), len(b)))
    return a, b
