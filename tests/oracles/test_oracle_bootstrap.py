"""Percentile intervals as Efron (1979) has them: items are drawn again one after the other, and each draw is computed.

The drawing itself, on 1,000 small random cases and against `scipy.stats.bootstrap`; `test_oracle_intervals` has every
metric with such an interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse, stats

from oracle_case import N_CASES
from passmuster.core import bootstrap as core
from passmuster.core.bootstrap import bootstrap, bootstrap_rows, bootstrap_sums
from passmuster.core.statistics import Interval


def draws(n: int, seed: int, clusters: np.ndarray | None, n_resamples: int) -> np.ndarray:
    """How often each item was drawn, (n_resamples, n): draw by draw, and in it group by group."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    n_groups, found = int(group.max()) + 1, []
    for _ in range(n_resamples):
        times = [0.0] * n_groups
        for g in rng.integers(0, n_groups, n_groups).tolist():
            times[g] += 1
        found.append(np.array(times)[group])
    return np.array(found)


def ends(value: float, drawn: list[float], level: float = 0.95) -> tuple[float, float, float]:
    """Value and ends of an interval; what is not a number does not count."""
    counted = sorted(x for x in drawn if np.isfinite(x))
    if not counted:
        return value, 0.0, 1.0
    found = []
    for share in ((1 - level) / 2, (1 + level) / 2):  # between two of them, as far as the share lies
        place = share * (len(counted) - 1)
        below, above = counted[int(place)], counted[min(int(place) + 1, len(counted) - 1)]
        found.append(below + (above - below) * (place - int(place)))
    return value, min(found[0], value), max(found[1], value)


def slow(
    statistic: Callable[[np.ndarray], float], n: int, seed: int, clusters: np.ndarray | None, n_resamples: int,
    level: float = 0.95,
) -> tuple[float, float, float]:  # fmt: skip
    """Value and ends of an interval; nothing is drawn for 0 items."""
    if not n:
        return np.nan, 0.0, 1.0
    return ends(statistic(np.ones(n)), [statistic(times) for times in draws(n, seed, clusters, n_resamples)], level)


def seen(found: Interval) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def test_draws_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No item, one, all in one cluster, draws without a value, values outside all draws, several blocks of draws."""
    monkeypatch.setattr(core, "RESAMPLES_AT_ONCE", 4)
    monkeypatch.setattr(core, "NUMBERS_AT_ONCE", 10)  # fewer than some cases have items
    every, expected = [], []
    for number in range(N_CASES):
        rng = np.random.default_rng(number)
        n, n_resamples, level = int(rng.integers(0, 13)), int(rng.integers(1, 12)), float(rng.choice([0.5, 0.95]))
        values, order = rng.normal(size=n), rng.permutation(n)
        clusters = rng.integers(0, 4, n).astype(str) if number % 2 else None
        how: dict[str, Any] = {"clusters": clusters, "n_resamples": n_resamples, "level": level}

        def without(times: np.ndarray, values: np.ndarray = values, number: int = number) -> float:
            """The mean; every third case has none where the first item was not drawn, or, some, at all."""
            lost = number % 3 == 0 and (times[0] == 0 or number % 30 == 0)
            return np.nan if lost else float(times @ values / times.sum())

        def most(times: np.ndarray) -> float:  # 1 for the items as they are, more for nearly all draws
            return float(times.max())

        for statistic in (without, most):
            found = bootstrap(statistic, n, rng=np.random.default_rng(number), **how)
            every.append(seen(found))
            expected.append(slow(statistic, n, number, clusters, n_resamples, level))
            n_groups = n if clusters is None else len(set(clusters.tolist()))
            assert found.n == n
            assert found.method == ("cluster bootstrap" if 0 < n_groups < n else "bootstrap")

        rows = bootstrap_rows(
            lambda times, v=values[order]: times @ v, n, rng=np.random.default_rng(number), order=order, **how
        )
        columns: Any = np.column_stack([values, np.ones(n)])
        columns = sparse.csr_matrix(columns) if number % 4 > 1 else columns
        sums = bootstrap_sums(columns, lambda s: s[:, 0] / s[:, 1], rng=np.random.default_rng(number), **how)
        every += [seen(rows), seen(sums)]
        expected += [
            slow(lambda times, v=values: float(times @ v), n, number, clusters, n_resamples, level),
            slow(lambda times, v=values: float(times @ v / times.sum()), n, number, clusters, n_resamples, level),
        ]
    np.testing.assert_allclose(every, expected, rtol=0, atol=1e-9)


def test_ends_are_scipys_within_a_hundredth() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    columns = np.column_stack([values, np.ones(40)])
    ours = bootstrap_sums(columns, lambda s: s[:, 0] / s[:, 1], rng=np.random.default_rng(1), n_resamples=50_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(2), batch=5_000
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)
    assert ours.high - ours.low == pytest.approx(theirs.high - theirs.low, rel=0.01)
