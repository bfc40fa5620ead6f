"""What was left out of a draw: exact against counting every lot, silent where it was by lot, loud where it was not."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from passmuster.metrics.nonresponse import DOUBTED, nonresponse, surplus_chance

RNG = np.random.default_rng(5)


def counted(marked: np.ndarray, left: np.ndarray, draws: np.ndarray) -> float:
    """The share of all lots, each draw's own, that leave out as many marked items or more."""
    totals = {0: 1}
    for draw in np.unique(draws):
        here = np.flatnonzero(draws == draw)
        ways = [int(marked[list(lot)].sum()) for lot in combinations(here, int(left[here].sum()))]
        after: dict[int, int] = {}
        for total, number in totals.items():
            for way in ways:
                after[total + way] = after.get(total + way, 0) + number
        totals = after
    n_found = int((marked & left).sum())
    return sum(number for total, number in totals.items() if total >= n_found) / sum(totals.values())


def test_the_chance_is_that_of_counting_every_lot() -> None:
    for _ in range(60):
        n = int(RNG.integers(2, 13))
        marked, left, draws = RNG.random(n) < 0.4, RNG.random(n) < 0.4, RNG.integers(0, 3, n)
        assert surplus_chance(marked, left, draws) == pytest.approx(counted(marked, left, draws), rel=1e-9)


def test_in_one_draw_it_is_fishers_exact_test() -> None:
    for _ in range(300):
        n = int(RNG.integers(2, 400))
        marked, left = RNG.random(n) < RNG.random(), RNG.random(n) < RNG.random()
        table = [[(a & b).sum() for b in (left, ~left)] for a in (marked, ~marked)]
        wanted = fisher_exact(table, alternative="greater").pvalue
        assert surplus_chance(marked, left, np.zeros(n, int)) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def test_a_lot_seldom_looks_like_a_choice() -> None:
    """Over 1,000 pairs of draws that were answered as far as somebody came, at .05: as many at most, but for chance.

    Twelve classes are looked at besides doubt; if their number did not count, some three in ten would be found.
    """
    n_sure, place, draws = 0, np.tile(np.arange(150), 2), np.repeat([0, 1], 150)
    for _ in range(1_000):
        left = place >= np.repeat(RNG.integers(30, 120, 2), 150)
        said = [(str(k),) for k in RNG.integers(0, 12, 300)]
        n_sure += nonresponse(said, RNG.random(300), left, draws, np.ones(300)).p <= 0.05
    assert n_sure <= 1_000 * 0.05 + 3 * np.sqrt(1_000 * 0.05)


def test_passing_over_what_is_hard_is_seen_across_draws() -> None:
    sure = np.concatenate([np.linspace(0.2, 0.6, 30), np.linspace(0.5, 0.99, 30)])
    draws = np.repeat([0, 1], 30)
    left = np.zeros(60, dtype=bool)
    left[:10] = left[30:40] = True
    found = nonresponse([("a",)] * 60, sure, left, draws, np.repeat([1.0, 3.0], 30))
    assert (found.mark, found.n_marked_left, found.n_marked_told) == (DOUBTED, 20, 10)
    assert found.share == pytest.approx(1 / 3)
    assert found.p < 1e-6


def test_a_class_of_several_that_is_passed_over_is_named() -> None:
    """Items carry sets: those said to be of “b”, alone or beside “a”, are left out; none of them is doubted more."""
    said = [("a", "b"), ("b",), ("a",), ()] * 15
    left = np.array(["b" in names and i % 8 < 6 for i, names in enumerate(said)])
    found = nonresponse(said, np.full(60, 0.7), left, np.zeros(60, int), np.ones(60))
    assert (found.mark, found.n_marked_left, found.n_marked_told) == ("b", int(left.sum()), 30 - int(left.sum()))
    assert found.p < 1e-3


def test_nothing_left_out_is_no_surplus() -> None:
    found = nonresponse([("a",), ("b",)], np.array([0.5, 0.9]), np.zeros(2, bool), np.zeros(2, int), np.ones(2))
    assert (found.n_left, found.share, found.p) == (0, 0.0, 1.0)
