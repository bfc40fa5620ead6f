"""Intervals for rates, what answers that come together are worth, and how several tests share one error.

Comparisons of two models on the same items are in `paired`, intervals of anything else in `bootstrap`; how many more
labels would decide is beside each test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import (
    beta_isf,
    beta_ppf,
    normal_isf,
    normal_ppf,
    student_isf,
)
from passmuster.core.errors import DataError

STRICT = 0.001  # one-sided level at which uncertain variances of clusters are allowed for: gates test near it
UNSEEN = 0.05  # chance with which a kind of cluster may have escaped every draw
MAX_MORE = 1_000_000  # beyond this many further labels the answer is: no number of labels will tell


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval: `level` confidence from `n` items by `method`.

    `value` is not a number (NaN) when there was nothing to estimate it from; `low` and `high` then say so: 0 and 1.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    level: float = 0.95


def wilson(n_right: float, n: float, *, level: float = 0.95) -> Interval:
    """Score interval of a rate (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4).

    Counts need not be whole, so that an effective sample size can be used.

    >>> interval = wilson(36, 40)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.769, 0.96)
    """
    if not n > 0:
        return Interval(float("nan"), 0.0, 1.0, 0, "wilson", level)
    z2 = normal_ppf(0.5 + level / 2) ** 2
    rate = n_right / n
    middle = (n_right + z2 / 2) / (n + z2)
    half = np.sqrt(z2) / (n + z2) * np.sqrt(n * rate * (1 - rate) + z2 / 4)
    low = 0.0 if n_right <= 0 else max(0.0, float(middle - half))
    high = 1.0 if n_right >= n else min(1.0, float(middle + half))
    return Interval(rate, low, high, round(n), "wilson", level)


def clopper_pearson(n_right: int, n: int, *, level: float = 0.95) -> Interval:
    """Exact interval of a rate: never covers less than `level` (Clopper and Pearson 1934).

    >>> round(clopper_pearson(0, 10).high, 3)
    0.308
    """
    if n <= 0:
        return Interval(float("nan"), 0.0, 1.0, 0, "clopper-pearson", level)
    tail = (1 - level) / 2
    low = 0.0 if n_right == 0 else beta_ppf(tail, n_right, n - n_right + 1)
    high = 1.0 if n_right == n else beta_isf(tail, n_right + 1, n - n_right)
    return Interval(n_right / n, low, high, n, "clopper-pearson", level)


def proportion(
    values: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
    level: float = 0.95,
) -> Interval:
    """Mean of 0/1 `values` ``(n,)`` with an interval that respects weights and clusters.

    Weights are inverse probabilities of being asked for; the mean is Hájek's (1971): ``sum(w y) / sum(w)``. Wilson's
    interval is made with `rate_size` (Korn and Graubard 1998 do so with Clopper and Pearson's). With equal
    weights and no shared cluster this is `wilson`.

    Raises
    ------
    DataError
        ``statistics.weights`` when a weight is not a positive number.

    >>> proportion(np.array([1, 1, 0, 1])).value
    0.75
    """
    y = np.asarray(values, dtype=np.float64)
    if not len(y):
        return Interval(float("nan"), 0.0, 1.0, 0, "wilson", level)
    w = _checked_weights(weights, len(y))
    group = cluster_codes(clusters, len(y))
    n_groups = int(group.max()) + 1
    if n_groups == len(y) and (w == w[0]).all():
        return wilson(float(y.sum()), len(y), level=level)
    mean = float((w * y).sum() / w.sum())
    n_effective = rate_size(y, weights=w, clusters=group)
    found = wilson(mean * n_effective, n_effective, level=level)
    method = "wilson, " + " and ".join(
        part for part, there in (("weighted", not (w == w[0]).all()), ("clustered", n_groups < len(y))) if there
    )
    return Interval(mean, min(found.low, mean), max(found.high, mean), len(y), method, level)


def effective_size(
    values: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
    spread: float | None = None,
) -> float:
    """How many independent, equally weighted items know the mean of `values` ``(n,)`` as well as these do.

    ``spread / variance``, at most n: `spread` is the variance of one item (that of the values when None), the variance
    is the linearised one of the weighted mean, over totals of clusters (Korn and Graubard 1998, Survey Methodology 24).
    A variance that few clusters tell is itself uncertain, so where items share clusters the size is made smaller by
    ``(z / t)^2`` at the one-sided level `STRICT`, with the degrees of freedom that the residuals' fourth moment leaves
    (Satterthwaite 1946). Never below Kish's (1965) ``sum(w)^2 / sum(w^2)`` over clusters, as if the items of a cluster
    were one, unless the weights themselves make it worse; and exactly that when every value is the same, because then
    the variance tells nothing.

    >>> effective_size(np.array([1.0, 1.0, 0.0, 1.0]))
    4.0
    >>> effective_size(np.ones(6), clusters=["a", "a", "a", "b", "b", "b"])
    2.0
    """
    y = np.asarray(values, dtype=np.float64)
    w = _checked_weights(weights, len(y))
    group = cluster_codes(clusters, len(y))
    n_groups = int(group.max()) + 1
    if n_groups == len(y) and (w == w[0]).all():
        return float(len(y))
    total = float(w.sum())
    mean = float((w * y).sum() / total)
    kish = kish_size(w, group)
    residuals = np.bincount(group, weights=w * (y - mean), minlength=n_groups)
    squares = float((residuals**2).sum())
    variance = squares / total**2 * n_groups / max(1, n_groups - 1)
    one = float((w * (y - mean) ** 2).sum() / total) if spread is None else spread
    if np.ptp(y) == 0 or n_groups == 1 or not (variance > 0 and one > 0):
        return kish
    linear = min(float(len(y)), one / variance)
    if n_groups == len(y):
        return linear
    unsure = float((residuals**4).sum()) - squares**2 / n_groups
    freedom = min(n_groups - 1.0, 2 * squares**2 / unsure) if unsure > 0 else n_groups - 1.0
    smaller = (normal_isf(STRICT) / student_isf(STRICT, max(1.0, freedom))) ** 2
    return max(linear * smaller, min(linear, kish))


def rate_size(
    values: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
) -> float:
    """`effective_size` of a rate: of values between 0 and 1, and with `size_with_unseen_clusters`.

    >>> rate_size(np.array([1.0, 1.0, 0.0, 1.0]))
    4.0
    """
    y = np.asarray(values, dtype=np.float64)
    w = _checked_weights(weights, len(y))
    group = cluster_codes(clusters, len(y))
    rate = float((w * y).sum() / w.sum())
    size = effective_size(y, weights=w, clusters=group, spread=rate * (1 - rate))
    if int(group.max()) + 1 == len(y):
        return size
    kish = kish_size(w, group)
    return max(min(kish, size), min(size, size_with_unseen_clusters(rate, kish, len(y))))


def kish_size(weights: np.ndarray, clusters: np.ndarray) -> float:
    """Kish's (1965) number of equally weighted clusters, ``sum(w)^2 / sum(w^2)``; `clusters` are numbers from 0."""
    return float(weights.sum() ** 2 / (np.bincount(clusters, weights=weights) ** 2).sum())


def size_with_unseen_clusters(rate: float, n_clusters: float, n: int) -> float:
    """The most independent items that a rate of `n` clustered ones may count for, because clusters may be unseen.

    Where every cluster that was seen does alike, their variance says nothing of one that does not. With chance `UNSEEN`
    a kind of cluster that is all wrong (or all right) escapes `n_clusters` draws though it holds ``1 - UNSEEN ** (1 /
    n_clusters)`` of all. So exact bounds at `STRICT` must reach as far as such a kind would move the rate: the smallest
    size at which they do.

    >>> round(size_with_unseen_clusters(0.9, 12, 240)), round(size_with_unseen_clusters(0.9, 200, 240))
    (47, 240)
    """
    seen = UNSEEN ** (1 / n_clusters)

    def reaches(size: int) -> bool:
        below = beta_ppf(STRICT, rate * size, (1 - rate) * size + 1) if rate > 0 else 0.0
        above = beta_isf(STRICT, rate * size + 1, (1 - rate) * size) if rate < 1 else 1.0
        return bool(below <= rate * seen and above >= 1 - (1 - rate) * seen)

    found = smallest(lambda size: not reaches(size + 1), n)
    return float(n if found is None else max(1, min(n, found)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values under which the expected share of false discoveries is kept (Benjamini and Hochberg 1995).

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")[::-1]
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1)))
    return [float(x) for x in adjusted]


def smallest(works: Callable[[int], bool], limit: int) -> int | None:
    """The smallest whole number from 0 to `limit` from which `works` holds, by doubling and halving; None if none.

    >>> smallest(lambda n: n >= 37, 1000)
    37
    """
    if works(0):
        return 0
    high = 1
    while not works(high):
        if high >= limit:
            return None
        high = min(limit, high * 2)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def cost_of_looks(n: int, n_looks: float, *, level: float = 0.95) -> tuple[float, float]:
    """How much more than at one look a rate of `n` labels may lie above the truth, after `n_looks` looks.

    Bounds that hold whatever the rate (Hoeffding 1963), less that of one look. First: candidates that were fixed
    beforehand, of which the best counts (a union over the looks). Second: each candidate may depend on all scores
    before it, told to a tenth of a point, so that there are ``1000 ** (looks - 1)`` that might have been (the
    description length of Dwork et al. 2015, NeurIPS, Theorem 3). The first is the least that looking costs, the second
    the most; what people do lies between (Blum and Hardt 2015).

    >>> [round(x, 3) for x in cost_of_looks(400, 5)]
    [0.013, 0.13]
    """
    if n <= 0:
        return 1.0, 1.0

    def reach(nats: float) -> float:
        return float(np.sqrt((np.log(2 / (1 - level)) + nats) / (2 * n)))

    looks = max(1.0, n_looks)
    one = reach(0.0)
    return reach(float(np.log(looks))) - one, min(1.0, reach(float(np.log(1_000) * (looks - 1)))) - one


def detectable_drop(rate: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest fall of a rate that `n` new labels would show with probability `power`, one-sided at `alpha`.

    ``(z_alpha + z_power) sqrt(p (1 - p) / n)`` (Cohen 1988, ch. 6, without the arcsine); 1 when n is 0.

    >>> round(detectable_drop(0.9, 400), 3)
    0.037
    """
    if n <= 0:
        return 1.0
    p = min(max(rate, 0.5 / n), 1 - 0.5 / n)
    return float(min(1.0, (normal_ppf(1 - alpha) + normal_ppf(power)) * np.sqrt(p * (1 - p) / n)))


def _checked_weights(weights: np.ndarray | None, n: int) -> np.ndarray:
    if weights is None:
        return np.ones(n)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or not (w > 0).all():
        raise DataError("statistics.weights", "every item needs one positive weight", value=w.shape, limit=(n,))
    return w


def cluster_codes(clusters: Sequence[str] | np.ndarray | None, n: int) -> np.ndarray:
    """Cluster numbers ``(n,)`` from 0; every item its own when None."""
    if clusters is None:
        return np.arange(n)
    return np.asarray(np.unique(np.asarray(clusters), return_inverse=True)[1])
