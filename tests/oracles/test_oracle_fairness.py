"""Gaps between groups against fairlearn's definitions written out: the largest group's rate less the smallest's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from passmuster.core.statistics import wilson
from passmuster.metrics.fairness import (
    ACCURACY,
    FEWEST,
    ODDS,
    OPPORTUNITY,
    PRECISION,
    SELECTION,
    difference,
    group_accuracy,
    group_gaps,
)

N_CASES = 300


def widest(rates: list[tuple[int, int]]) -> float:
    """Of (hits, items) by group, those with enough items."""
    told = [hits / n for hits, n in rates if n >= FEWEST]
    return max(told) - min(told) if len(told) > 1 else math.nan


def by_hand(y: list[int], said: list[int], groups: list[str], c: int) -> dict[str, float]:
    names = sorted(set(groups))
    of = {name: [(a, b) for a, b, g in zip(y, said, groups) if g == name] for name in names}

    def rates(hit, among):  # type: ignore[no-untyped-def]
        return [(sum(hit(p) for p in of[g] if among(p)), sum(among(p) for p in of[g])) for g in names]

    found = widest(rates(lambda p: p[1] == c, lambda p: p[0] == c))
    false = widest(rates(lambda p: p[1] == c, lambda p: p[0] != c))
    odds = [gap for gap in (found, false) if not math.isnan(gap)]
    return {
        ACCURACY: widest(rates(lambda p: p[0] == p[1], lambda p: True)),
        SELECTION: widest(rates(lambda p: p[1] == c, lambda p: True)),
        OPPORTUNITY: found,
        ODDS: max(odds) if odds else math.nan,
        PRECISION: widest(rates(lambda p: p[0] == c, lambda p: p[1] == c)),
    }


def test_gaps_as_defined() -> None:
    for seed in range(N_CASES):
        rng = np.random.default_rng(seed)
        n, c = int(rng.integers(5, 200)), int(rng.integers(2, 5))
        y = rng.integers(0, c, n)
        said = np.where(rng.random(n) < 0.7, y, rng.integers(0, c, n))
        groups = rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
        every = np.arange(c)
        found = group_gaps(y == said, y[:, None] == every, said[:, None] == every, groups)
        assert len(found) == 1 + 4 * c
        for gap in found:
            expected = by_hand(y.tolist(), said.tolist(), groups.tolist(), max(gap.number, 0))[gap.kind]
            assert gap.found.value == pytest.approx(expected, nan_ok=True, abs=1e-12)
            if gap.found.n:
                assert 0 <= gap.found.low <= gap.found.value <= gap.found.high <= 1
                assert gap.most != gap.least


def test_newcombe_examples_as_published() -> None:
    """Newcombe 1998 (Statistics in Medicine 17: 873), table II, method 10."""
    cases = {(56, 70, 48, 80): (0.0524, 0.3339), (9, 10, 3, 10): (0.1705, 0.8090), (10, 10, 0, 20): (0.6791, 1.0)}
    for (a, m, b, n), expected in cases.items():
        assert difference(wilson(a, m), wilson(b, n))[1:] == pytest.approx(expected, abs=6e-5)


def test_small_groups_are_named_and_not_compared() -> None:
    right = np.ones(25, bool)
    groups = np.array(["a"] * 12 + ["b"] * 12 + ["tiny"])
    right[-1] = False
    accuracy = group_accuracy(right, groups)
    assert (accuracy["tiny"].value, accuracy["tiny"].n) == (0.0, 1)
    first, *_ = group_gaps(right, right[:, None], right[:, None], groups)
    assert (first.found.value, first.untold) == (0.0, ("tiny",))
    alone, *_ = group_gaps(right[:13], right[:13, None], right[:13, None], groups[:13])
    assert math.isnan(alone.found.value)
    assert (alone.found.low, alone.found.high, alone.untold) == (0.0, 1.0, ("b",))


def test_intervals_cover_for_all_groups_together() -> None:
    """Four groups served alike: the true gap of 0 is inside 95 times of 100 at least, with every class and pair."""
    rng = np.random.default_rng(7)
    inside = []
    for _ in range(200):
        y = rng.integers(0, 2, 400)
        said = np.where(rng.random(400) < 0.8, y, 1 - y)
        groups = rng.choice(["a", "b", "c", "d"], 400)
        gaps = group_gaps(y == said, y[:, None] == [0, 1], said[:, None] == [0, 1], groups)
        inside.append(all(gap.found.low == 0.0 for gap in gaps if gap.kind == SELECTION))
    assert np.mean(inside) >= 0.95
