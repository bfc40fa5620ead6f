"""Rates of weighted items and of items that stand together, against their definitions written out; 1,000 cases each.

None right and all right, one item, one cluster, clusters of one item, halves of a right answer are among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy import stats

from oracle_case import N_CASES, agree
from passmuster.core.statistics import STRICT, UNSEEN, effective_size, proportion
from passmuster.metrics.accuracy import per_class
from passmuster.metrics.costs import mean_cost
from passmuster.metrics.label_sets import per_class_of_sets


@dataclass(frozen=True)
class Case:
    """Values between 0 and 1, weights and cluster names of a few items (n,)."""

    values: np.ndarray
    weights: np.ndarray
    clusters: np.ndarray
    level: float

    @property
    def how(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "clusters": self.clusters}


@cache
def cases() -> list[Case]:
    return list(_made())


def _made() -> Iterator[Case]:
    for number in range(N_CASES):
        rng = np.random.default_rng(number)
        n = int(rng.integers(1, 60))
        n_clusters = int(rng.choice([1, 2, max(1, n // 3), 3 * n], p=[0.1, 0.1, 0.4, 0.4]))
        clusters = rng.integers(0, n_clusters, n) if number % 3 else np.arange(n)
        of_cluster = rng.random(n_clusters if number % 3 else n)[clusters]  # who stands together does alike
        values = (rng.random(n) < rng.choice([0.0, 0.5, 0.9, 1.0], p=[0.1, 0.4, 0.4, 0.1])).astype(float)
        if number % 2:
            values = (of_cluster < 0.7).astype(float)
        if number % 5 == 0:
            values = (values + (rng.random(n) < 0.8)) / 2
        weights = rng.choice([1.0, 2.0, 7.5], n) if number % 4 > 1 else np.full(n, rng.choice([1.0, 3.0]))
        yield Case(values, weights, clusters.astype(str), 0.99 if number % 7 == 3 else 0.95)


def kish(weights: list[float], clusters: list[str]) -> float:
    totals = [sum(w for w, own in zip(weights, clusters, strict=True) if own == one) for one in sorted(set(clusters))]
    return sum(weights) ** 2 / sum(total**2 for total in totals)


def size(case: Case, spread: float) -> float:
    """Of how many independent, equally weighted items: Korn and Graubard 1998, Satterthwaite 1946, Kish 1965."""
    y, w, clusters = case.values.tolist(), case.weights.tolist(), case.clusters.tolist()
    n, names = len(y), sorted(set(clusters))
    if len(names) == n and len(set(w)) == 1:
        return n
    as_one = kish(w, clusters)
    mean = sum(a * b for a, b in zip(w, y, strict=True)) / sum(w)
    off = [sum(w[i] * (y[i] - mean) for i in range(n) if clusters[i] == name) for name in names]
    squares = math.fsum(r**2 for r in off)
    if len(set(y)) == 1 or len(names) == 1 or squares < 1e-24:
        return as_one
    variance = len(names) / (len(names) - 1) * squares / sum(w) ** 2
    told = min(n, spread / variance)
    if len(names) == n:
        return told
    scatter = math.fsum(r**4 for r in off) - squares**2 / len(names)
    freedom = min(len(names) - 1, 2 * squares**2 / scatter) if scatter > 0 else len(names) - 1
    smaller = (stats.norm.isf(STRICT) / stats.t.isf(STRICT, max(1, freedom))) ** 2
    return max(told * smaller, min(told, as_one))


def with_unseen(rate: float, n_clusters: float, n: int) -> float:
    """The fewest items, one by one, at which one more would keep exact bounds from reaching what may be unseen."""
    there = UNSEEN ** (1 / n_clusters)
    more = np.arange(1, n + 2)
    below = stats.beta.ppf(STRICT, rate * more, (1 - rate) * more + 1) if rate > 0 else np.zeros(n + 1)
    above = stats.beta.isf(STRICT, rate * more + 1, (1 - rate) * more) if rate < 1 else np.ones(n + 1)
    short = np.flatnonzero((below > rate * there) | (above < 1 - (1 - rate) * there))
    return float(max(1, short[0])) if len(short) else float(n)


def by_hand(case: Case) -> tuple[float, float, float]:
    """Hájek's mean, and where Wilson's quadratic has its roots at the size of a rate."""
    mean = float((case.weights * case.values).sum() / case.weights.sum())
    n = len(case.values)
    of = size(case, mean * (1 - mean))
    if len(set(case.clusters.tolist())) < n:
        as_one = kish(case.weights.tolist(), case.clusters.tolist())
        of = max(min(as_one, of), min(of, with_unseen(mean, as_one, n)))
    z2 = stats.norm.isf((1 - case.level) / 2) ** 2
    roots = np.sort(np.roots([1 + z2 / of, -(2 * mean + z2 / of), mean**2]).real)
    return mean, 0.0 if mean <= 0 else float(roots[0]), 1.0 if mean >= 1 else float(roots[1])


@cache
def every_one_by_hand() -> np.ndarray:
    return np.array([by_hand(case) for case in cases()])


def test_rates() -> None:
    found = []
    for case in cases():
        one = proportion(case.values, **case.how, level=case.level)
        found.append((one.value, one.low, one.high))
        assert (one.n, one.level) == (len(case.values), case.level)
        assert ("weighted" in one.method) == (len(set(case.weights.tolist())) > 1)
        assert ("clustered" in one.method) == (len(set(case.clusters.tolist())) < one.n)
    agree(found, every_one_by_hand(), 1e-7)


def test_sizes_of_other_means() -> None:
    """The spread is that of the values themselves."""
    found, expected = [], []
    for case in cases():
        spread = float(
            np.average((case.values - np.average(case.values, weights=case.weights)) ** 2, weights=case.weights)
        )
        found.append(effective_size(case.values, **case.how))
        expected.append(size(case, spread))
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_mean_costs() -> None:
    """A coin that costs the largest or nothing."""
    found, expected = [], []
    for number, (case, ends) in enumerate(zip(cases(), every_one_by_hand(), strict=True)):
        if case.level == 0.95:
            largest = float(number % 7)
            one = mean_cost(case.values * largest, largest, **case.how)
            found.append((one.value, one.low, one.high))
            expected.append(largest * ends)
    agree(found, np.array(expected), 1e-6)


def test_recall_and_precision_are_rates_of_some_items() -> None:
    """Weights and clusters go with them; of one label and of sets."""
    for case in cases()[::3]:
        rng, n = np.random.default_rng(len(case.values)), len(case.values)
        labels, said = rng.integers(0, 3, (2, n))
        sets = per_class_of_sets(labels[:, None] == range(3), said[:, None] == range(3), **case.how)
        for c, (one, of_sets) in enumerate(zip(per_class(labels, said, 3, **case.how), sets, strict=True)):
            assert repr(one) == repr(of_sets)
            for found, among in ((one.recall, labels == c), (one.precision, said == c)):
                how = {key: values[among] for key, values in case.how.items()}
                assert repr(found) == repr(proportion((labels == said)[among], **how))


def test_of_no_item() -> None:
    none = np.zeros(0)
    rate, free, dear = proportion(none), mean_cost(none, 0.0), mean_cost(none, 2.0)
    assert all(math.isnan(found.value) and found.n == 0 for found in (rate, free, dear))
    assert [(found.low, found.high) for found in (rate, free, dear)] == [(0.0, 1.0), (0.0, 0.0), (0.0, 2.0)]


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_without_weights_and_clusters_it_is_a_binomial_rate(level: float) -> None:
    values = np.arange(40) < 31
    ends = stats.binomtest(31, 40).proportion_ci(level, "wilson")
    found = proportion(values, weights=np.full(40, 3.0), clusters=np.arange(40), level=level)
    assert (found.low, found.high) == pytest.approx(tuple(ends))
