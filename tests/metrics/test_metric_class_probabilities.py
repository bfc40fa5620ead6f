"""Probabilities of classes: tests that keep their level, and find what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from passmuster.metrics.class_probabilities import chance_of, class_probabilities, rank_test


def test_chances_are_those_of_a_binomial() -> None:
    for seen, n, share in ((3, 30, 0.4), (25, 30, 0.4), (0, 30, 0.2), (30, 30, 0.6)):
        low, high = stats.binom.cdf(seen, n, share), stats.binom.sf(seen - 1, n, share)
        assert chance_of(seen, n, share) == pytest.approx(min(1.0, 2 * min(low, high)), rel=1e-6)


def test_ranks_of_signs_are_exact() -> None:
    assert rank_test(np.array([1.0, 2.0, 3.0, 4.0, 5.0, -0.5])) == pytest.approx(2 / 2**6)
    assert rank_test(np.ones(3)) == 1.0


def test_calibrated_classes_are_seldom_off_and_favoured_ones_are() -> None:
    rng = np.random.default_rng(0)
    off = 0
    for _ in range(200):
        p = rng.dirichlet(np.full(5, 0.3), 300)
        members = np.array([rng.multinomial(1, row) for row in p], dtype=bool)
        loss = -np.log(np.maximum(1e-4, p[members]))[:, None]
        rows = class_probabilities(
            loss, loss, p, p, members, tuple("abcde"), weights=np.ones(300), clusters=np.arange(300).astype(str)
        )
        off += sum(row.p_expected < 0.05 / 5 for row in rows)
        assert all(row.p_rise == 1.0 and row.rise == 0.0 for row in rows)
    assert off <= 10  # of 200, at most 5 % by the binomial's bound
    favoured = p * np.array([25.0, 1, 1, 1, 1])
    favoured /= favoured.sum(axis=1, keepdims=True)
    worse = -np.log(np.maximum(1e-4, favoured[members]))[:, None]
    rows = class_probabilities(
        worse, loss, favoured, p, members, tuple("abcde"), weights=np.ones(300), clusters=np.arange(300).astype(str)
    )
    assert rows[0].p_expected < 1e-6
    assert rows[0].expected > 2 * rows[0].seen
    assert min(row.p_rise for row in rows[1:]) < 1e-6 < rows[0].p_rise
