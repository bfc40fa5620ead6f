"""Intervals keep their coverage, several tests share one error, and the numbers of further labels are honest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse, stats

from passmuster.core import bootstrap, statistics
from passmuster.core.errors import DataError


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [20, 100, 400])
def test_intervals_cover(rate: float, n: int) -> None:
    """Exact coverage: Clopper and Pearson's never below 95 %, Wilson's near it."""
    counts = np.arange(n + 1)
    chance = stats.binom.pmf(counts, n, rate)
    exact = [statistics.clopper_pearson(int(k), n) for k in counts]
    score = [statistics.wilson(int(k), n) for k in counts]
    assert chance[[i.low <= rate <= i.high for i in exact]].sum() >= 0.95
    assert chance[[i.low <= rate <= i.high for i in score]].sum() >= 0.90


def test_nothing_seen_means_anything_is_possible() -> None:
    for found in (statistics.wilson(0, 0), statistics.clopper_pearson(0, 0), statistics.proportion(np.zeros(0))):
        assert np.isnan(found.value)
        assert (found.low, found.high, found.n) == (0.0, 1.0, 0)


def test_all_right_is_not_certainty() -> None:
    for found in (statistics.wilson(30, 30), statistics.proportion(np.ones(30), weights=np.linspace(1, 5, 30))):
        assert found.high == 1.0
        assert found.low < 0.95


def test_weights_undo_an_unequal_choice_of_items() -> None:
    """Items that are often wrong are asked for ten times as often; the weighted rate is that of everything."""
    rng = np.random.default_rng(0)
    covered, plain, unbiased = 0, [], []
    truth = 0.9 * 0.95 + 0.1 * 0.4
    for _ in range(300):
        hard = rng.random(4_000) < 0.1
        right = rng.random(4_000) < np.where(hard, 0.4, 0.95)
        asked = rng.random(4_000) < np.where(hard, 0.5, 0.05)
        weights = np.where(hard, 2.0, 20.0)[asked]
        found = statistics.proportion(right[asked], weights=weights)
        covered += found.low <= truth <= found.high
        plain.append(right[asked].mean())
        unbiased.append(found.value)
    assert covered / 300 >= 0.90
    assert abs(np.mean(plain) - truth) > 0.1, "without weights the estimate would be far off"
    assert np.mean(unbiased) == pytest.approx(truth, abs=0.015)


def test_clusters_widen_the_interval() -> None:
    """Ten copies of each item say no more than one of each."""
    rng = np.random.default_rng(1)
    once = (rng.random(50) < 0.8).astype(float)
    copied, names = np.repeat(once, 10), np.repeat(np.arange(50), 10)
    single, clustered = statistics.proportion(once), statistics.proportion(copied, clusters=names)
    blind = statistics.proportion(copied)
    assert clustered.high - clustered.low == pytest.approx(single.high - single.low, rel=0.05)
    assert blind.high - blind.low < 0.5 * (clustered.high - clustered.low)
    assert clustered.method == "wilson, clustered"

    def mean(times: np.ndarray) -> float:
        return float((times * copied).sum() / times.sum())

    resampled = bootstrap.bootstrap(mean, 500, rng=np.random.default_rng(2), clusters=names)
    assert resampled.high - resampled.low == pytest.approx(single.high - single.low, rel=0.25)


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0]])
def test_a_weight_must_be_positive(weights: list[float]) -> None:
    with pytest.raises(DataError) as caught:
        statistics.proportion(np.array([1.0, 0.0]), weights=np.array(weights))
    assert caught.value.code == "statistics.weights"


def test_bootstrap_repeats_with_its_generator() -> None:
    values = np.random.default_rng(0).normal(size=200)

    def mean(times: np.ndarray) -> float:
        return float((times * values).sum() / times.sum())

    first = bootstrap.bootstrap(mean, 200, rng=np.random.default_rng(5))
    assert first == bootstrap.bootstrap(mean, 200, rng=np.random.default_rng(5))
    half = 1.96 * values.std() / np.sqrt(200)
    assert first.high - first.low == pytest.approx(2 * half, rel=0.15)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_did_not_vary_is_not_sure(value: float) -> None:
    """Where the truth is such that nothing varies in half of the samples, the end must be beyond it."""
    n, truth = 23, 0.5 ** (1 / 23)
    flat = statistics.Interval(value, value, value, n, "bootstrap")
    found = bootstrap.seen_to_vary(flat, n)
    assert found.low < truth if value else found.high > 1 - truth
    assert found.low <= value <= found.high
    assert found.high - found.low == pytest.approx(1.96**2 / (n + 1.96**2), rel=1e-3)
    assert bootstrap.seen_to_vary(flat, 0) == flat
    inside = statistics.Interval(0.5, 0.5, 0.5, n, "bootstrap")
    assert bootstrap.seen_to_vary(inside, n) == inside
    for varied in (
        statistics.Interval(1.0, 0.6, 1.0, n, "bootstrap"),
        statistics.Interval(0.0, 0.0, 0.4, n, "bootstrap"),
    ):
        assert bootstrap.seen_to_vary(varied, n) == varied, "the value is an end, and yet draws differed"


def test_a_detectable_drop_shrinks_with_labels() -> None:
    assert statistics.detectable_drop(0.9, 100) == pytest.approx(2 * statistics.detectable_drop(0.9, 400), rel=1e-6)
    assert statistics.detectable_drop(1.0, 50) > 0.0
    assert statistics.detectable_drop(0.9, 0) == 1.0


def one_by_one(statistic: Callable[[np.ndarray], float], group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bootstrap as it is told: draw groups, count, compute; 200 times."""
    n_groups = int(group.max()) + 1
    draws = [rng.integers(0, n_groups, n_groups) for _ in range(200)]
    return np.array([statistic(np.bincount(drawn, minlength=n_groups).astype(np.float64)[group]) for drawn in draws])


@pytest.mark.parametrize("clustered", [False, True])
def test_resamples_in_blocks_are_those_drawn_one_after_the_other(clustered: bool) -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.normal(3.0, 1.0, 301), rng.uniform(0.5, 2.0, 301)
    names = np.array([f"person {i % 90}" for i in range(301)]) if clustered else None
    group = np.unique(names, return_inverse=True)[1] if names is not None else np.arange(301)
    columns = np.column_stack([values * weights, weights])

    def mean(times: np.ndarray) -> float:
        return float((times * weights * values).sum() / (times * weights).sum())

    def of_sums(sums: np.ndarray) -> np.ndarray:
        return np.asarray(sums[:, 0] / sums[:, 1])

    how: dict[str, Any] = {"clusters": names, "n_resamples": 200}
    expected = np.quantile(one_by_one(mean, group, np.random.default_rng(7)), [0.025, 0.975])
    after = np.random.default_rng(7)
    for found in (
        bootstrap.bootstrap(mean, 301, rng=np.random.default_rng(7), **how),
        bootstrap.bootstrap_sums(columns, of_sums, rng=after, **how),
        bootstrap.bootstrap_sums(sparse.csr_matrix(columns), of_sums, rng=np.random.default_rng(7), **how),
    ):
        np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-12)
        assert found.value == pytest.approx(mean(np.ones(301)), rel=1e-12)
        assert found.method == ("cluster bootstrap" if clustered else "bootstrap")
    again = np.random.default_rng(7)
    one_by_one(mean, group, again)
    assert after.bit_generator.state == again.bit_generator.state  # what is drawn next stays the same, too
