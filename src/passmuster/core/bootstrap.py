"""Percentile intervals of any statistic, by drawing items, or whole clusters, again (Efron 1979).

Nothing here draws a random number except from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from passmuster.core.statistics import Interval, cluster_codes, wilson

RESAMPLES_AT_ONCE, NUMBERS_AT_ONCE = 64, 2**20  # of a bootstrap: its memory does not grow with the resamples


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    n: int,
    *,
    rng: np.random.Generator,
    clusters: Sequence[str] | np.ndarray | None = None,
    n_resamples: int = 1_000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of any statistic (Efron 1979; whole clusters are drawn where items share one).

    `statistic` receives how often each item was drawn, ``(n,)`` float, and returns a number; resamples for which it is
    not finite are left out.

    >>> values = np.arange(100.0)
    >>> mean = lambda times: float((times * values).sum() / times.sum())
    >>> found = bootstrap(mean, 100, rng=np.random.default_rng(0))
    >>> found.low < 49.5 < found.high
    True
    """
    return bootstrap_rows(
        lambda times: np.array([statistic(row) for row in times]), n,
        rng=rng, clusters=clusters, n_resamples=n_resamples, level=level,
    )  # fmt: skip


def bootstrap_rows(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    *,
    rng: np.random.Generator,
    clusters: Sequence[str] | np.ndarray | None = None,
    order: np.ndarray | None = None,
    n_resamples: int = 1_000,
    level: float = 0.95,
) -> Interval:
    """`bootstrap` of a statistic that takes several resamples at once: ``(b, n)`` float, to ``(b,)``. Same figures.

    With `order` (n,) the statistic receives the items in that order.

    >>> values = np.arange(100.0)
    >>> means = lambda times: times @ values / times.sum(axis=1)
    >>> bootstrap_rows(means, 100, rng=np.random.default_rng(0)).value
    49.5
    """
    if n <= 0:
        return Interval(float("nan"), 0.0, 1.0, 0, "bootstrap", level)
    group = None if clusters is None else cluster_codes(clusters, n)
    n_groups = n if group is None else int(group.max()) + 1
    if order is not None:
        group = order if group is None else group[order]

    def of_groups(times: np.ndarray) -> np.ndarray:
        return statistic(times if group is None else np.take(times, group, axis=1))

    drawn = _resampled(of_groups, n_groups, n, n_resamples, rng)
    return _percentiles(drawn, float(statistic(np.ones((1, n)))[0]), n, n_groups, level)


def bootstrap_sums(
    columns: Any,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    rng: np.random.Generator,
    clusters: Sequence[str] | np.ndarray | None = None,
    n_resamples: int = 1_000,
    level: float = 0.95,
) -> Interval:
    """`bootstrap` of what only depends on sums over items: of `columns` ``(n, k)``, dense or a SciPy sparse matrix.

    `statistic` receives the sums of several resamples, ``(b, k)``, and returns ``(b,)``.

    >>> values = np.arange(100.0)
    >>> columns = np.column_stack([values, np.ones(100)])
    >>> bootstrap_sums(columns, lambda sums: sums[:, 0] / sums[:, 1], rng=np.random.default_rng(0)).value
    49.5
    """
    n = columns.shape[0]
    if n <= 0:
        return Interval(float("nan"), 0.0, 1.0, 0, "bootstrap", level)
    across = columns.T if isinstance(columns, np.ndarray) else columns.T.tocsr()  # (k, n)
    n_groups = n
    if clusters is not None:
        from scipy import sparse  # slow to import

        group = cluster_codes(clusters, n)
        n_groups = int(group.max()) + 1
        across = across @ sparse.csr_matrix((np.ones(n), (np.arange(n), group)), shape=(n, n_groups))

    def of_sums(times: np.ndarray) -> np.ndarray:
        return statistic(np.asarray(across @ np.ascontiguousarray(times.T)).T)

    drawn = _resampled(of_sums, n_groups, n, n_resamples, rng)
    return _percentiles(drawn, float(of_sums(np.ones((1, n_groups)))[0]), n, n_groups, level)


def seen_to_vary(found: Interval, n: float) -> Interval:
    """`found`, or, where nothing varied among `n` items and the value is 0 or 1, with Wilson's end there.

    Draws of items that were all right say that all are, surely; of 23 right ones out of 23, the rest of the world may
    still hold one wrong in seven.

    >>> sure = Interval(1.0, 1.0, 1.0, 23, "bootstrap")
    >>> round(seen_to_vary(sure, 23).low, 3), seen_to_vary(Interval(0.9, 0.8, 1.0, 23, "bootstrap"), 23).low
    (0.857, 0.8)
    """
    if found.high > found.low or found.value not in (0.0, 1.0) or n <= 0:
        return found
    end = wilson(found.value * n, n, level=found.level)
    return replace(found, low=end.low, high=end.high, method=f"{found.method}, Wilson's end")


def _resampled(
    statistic: Callable[[np.ndarray], np.ndarray], n_groups: int, n: int, n_resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """The statistic (n_resamples,) of draws, each of which says how often each group was drawn."""
    drawn = np.empty(n_resamples)
    per_block = max(1, min(RESAMPLES_AT_ONCE, NUMBERS_AT_ONCE // n))
    for start in range(0, n_resamples, per_block):
        b = min(per_block, n_resamples - start)
        picked = rng.integers(0, n_groups, (b, n_groups))  # the same as b draws one after the other
        picked += np.arange(0, b * n_groups, n_groups)[:, None]
        times = np.bincount(picked.ravel(), minlength=b * n_groups).reshape(b, n_groups).astype(np.float64)
        drawn[start : start + b] = statistic(times)
    return drawn


def _percentiles(drawn: np.ndarray, value: float, n: int, n_groups: int, level: float) -> Interval:
    """Percentile interval of what was drawn, as far as it is finite."""
    method = "bootstrap" if n_groups == n else "cluster bootstrap"
    good = drawn[np.isfinite(drawn)]
    if not len(good):
        return Interval(value, 0.0, 1.0, n, method, level)
    low, high = np.quantile(good, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, min(float(low), value), max(float(high), value), n, method, level)
