"""Explanations of an alarm, and the novel rate that an alarm is held against."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from passmuster.runtime.guard import upper_quantile
from passmuster.signals.explain import explain_shift, population_stability
from passmuster.signals.novelty import novel_rate_bound


def test_what_moved_most_comes_first() -> None:
    rows = explain_shift({"a": 500, "b": 300, "c": 200}, {"a": 50, "b": 10, "d": 40})
    assert rows[0]["category"] == "d"
    assert rows[0]["reference_share"] == 0
    assert rows[0]["current_share"] == pytest.approx(0.4)
    assert [abs(row["z"]) for row in rows] == sorted((abs(row["z"]) for row in rows), reverse=True)


def test_z_is_the_pooled_two_proportion_statistic() -> None:
    row = explain_shift({"a": 60, "b": 40}, {"a": 40, "b": 60}, n_top=1)[0]
    table = np.array([[60, 40], [40, 60]])
    assert row["z"] ** 2 == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)


def test_empty_windows_say_nothing() -> None:
    assert explain_shift({}, {"a": 1}) == []
    assert population_stability({}, {"a": 1}) == 0


def test_stability_grows_with_the_shift() -> None:
    reference = {"a": 500, "b": 500}
    small, large = (population_stability(reference, {"a": 50 + d, "b": 50 - d}) for d in (5, 40))
    assert 0 < small < 0.1
    assert large > 0.25


@pytest.mark.parametrize("n", [50, 150, 2_000])
def test_the_novel_rate_lies_below_its_bound_nineteen_times_in_twenty(n: int) -> None:
    rng, n_below = np.random.default_rng(n), 0
    for _ in range(400):
        threshold, rate = upper_quantile(rng.random(n), 0.01)
        n_below += (1 - threshold) <= novel_rate_bound(rate, n)  # scores are uniform: the true share is known
    assert stats.binom.ppf(0.002, 400, 0.95) <= n_below <= stats.binom.ppf(0.998, 400, 0.95)


def test_a_guard_without_items_bounds_nothing() -> None:
    assert novel_rate_bound(0.0, 0) == 1.0
