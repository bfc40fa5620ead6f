"""Intervals of rates that a known share and a few labels tell: honest at any number of labels, without a leap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from passmuster.core.nested_rates import difference_among, rate_among
from passmuster.core.paired import paired_difference
from passmuster.core.statistics import wilson


@pytest.mark.parametrize(
    ("share", "n", "better", "worse"),
    [(0.1, 200, 0.5, 0.3), (0.02, 1_000, 0.2, 0.8), (0.4, 50, 0.0, 1.0), (0.5, 100, 0.02, 0.4), (0.1, 90, 0.0, 0.0)],
)
def test_with_every_label_they_are_tangos_and_wilsons(share: float, n: int, better: float, worse: float) -> None:
    found, plain = (
        difference_among(share, n, better, worse, share * n),
        paired_difference(n * share * better, n * share * worse, n),
    )
    assert (found.value, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high), abs=1e-4)
    rate, counted = rate_among(share, n, worse, share * n), wilson(n * share * worse, n)
    assert (rate.value, rate.low, rate.high) == pytest.approx((counted.value, counted.low, counted.high), abs=1e-4)


@pytest.mark.parametrize("size", [1, 6, 20])
def test_nothing_leaps(size: float) -> None:
    """A hair more or less of a weight moves no bound by more than a little of its length."""
    for n in (200, 5_000):
        for worse in np.linspace(0.0, 1.0, 11):
            beside = worse + (1e-3 if worse < 1 else -1e-3)
            for one, other in (
                (rate_among(0.1, n, worse, size), rate_among(0.1, n, beside, size)),
                (difference_among(0.1, n, 1 - worse, worse, size), difference_among(0.1, n, 1 - beside, beside, size)),
            ):
                assert abs(one.low - other.low) < 0.002
                assert abs(one.high - other.high) < 0.002


def test_fewer_labels_say_less_down_to_none() -> None:
    for of in (lambda m: rate_among(0.1, 500, 0.5, m), lambda m: difference_among(0.1, 500, 0.5, 0.3, m)):
        lengths = [of(m).high - of(m).low for m in (50, 20, 6, 2, 1, 0)]
        assert lengths == sorted(lengths)
    most = wilson(50, 500).high
    nothing = difference_among(0.1, 500, 0.0, 0.0, 0)
    assert (math.isnan(nothing.value), nothing.low, nothing.high) == (True, -most, most)
    flips = rate_among(0.1, 500, 0.0, 0)
    assert (math.isnan(flips.value), flips.low, flips.high) == (True, 0.0, most)


def test_where_nothing_differs_no_more_is_known_than_so_many_items_tell() -> None:
    assert rate_among(0.0, 100, 0.0, 0).high == wilson(0, 100).high
    found = difference_among(0.0, 100, 0.0, 0.0, 0)
    assert (found.value, found.low, found.high) == (0.0, -wilson(0, 100).high, wilson(0, 100).high)


def test_labels_that_all_say_the_same_leave_as_much_open_as_their_number() -> None:
    """Twenty of twenty got worse: a tenth of them may be otherwise; and so known is the share itself."""
    found = rate_among(0.1, 1_000_000, 1.0, 20)
    assert found.low == pytest.approx(0.1 * wilson(20, 20).low, abs=1e-3)
    assert found.high == pytest.approx(0.1, abs=1e-3)
    assert rate_among(0.1, 100, 1.0, 10).high > 0.15


def test_one_of_a_few_does_not_rule_out_that_hardly_any_are() -> None:
    """Wilson's bound of one of eight lies above .022, where one comes in 16 of 100 draws; and so of seven of eight."""
    assert wilson(1, 8).low > 0.022
    found = rate_among(0.1, 100_000, 1 / 8, 8)
    assert found.low == pytest.approx(0.1 * (1 - 0.95 ** (1 / 8)), abs=1e-6)
    assert rate_among(0.1, 100_000, 7 / 8, 8).high == pytest.approx(0.1 * 0.95 ** (1 / 8), abs=1e-4)
