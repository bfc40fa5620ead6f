"""Our few distributions against `scipy.stats`, in the middle, in the far tails and at their ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from passmuster.core import distributions as ours

RNG = np.random.default_rng(11)
SHARES = np.concatenate([RNG.random(600), 10.0 ** -RNG.uniform(1, 14, 400)])
CLOSE = {"rtol": 1e-10, "atol": 1e-250}


def test_the_normal() -> None:
    x = RNG.normal(0, 6, 1_000)
    np.testing.assert_allclose(ours.normal_cdf(x), stats.norm.cdf(x), **CLOSE)
    np.testing.assert_allclose(ours.normal_sf(x), stats.norm.sf(x), **CLOSE)
    for share in SHARES:
        assert ours.normal_ppf(share) == pytest.approx(stats.norm.ppf(share), rel=1e-10, abs=1e-12)
        assert ours.normal_isf(share) == pytest.approx(stats.norm.isf(share), rel=1e-10, abs=1e-12)


def test_students() -> None:
    for share, freedom in zip(SHARES, RNG.integers(1, 300, 1_000) / 2, strict=True):
        assert ours.student_isf(share, freedom) == pytest.approx(stats.t.isf(share, freedom), rel=1e-8, abs=1e-10)
        x = RNG.normal(0, 4)
        assert ours.student_sf(x, freedom) == pytest.approx(stats.t.sf(x, freedom), rel=1e-10)


def test_the_beta() -> None:
    for share, a, b in zip(SHARES, RNG.integers(1, 400, 1_000), RNG.integers(1, 400, 1_000), strict=True):
        assert ours.beta_ppf(share, a, b) == pytest.approx(stats.beta.ppf(share, a, b), rel=1e-8)
        assert ours.beta_isf(share, a, b) == pytest.approx(stats.beta.isf(share, a, b), rel=1e-8)


def test_the_binomial() -> None:
    n = RNG.integers(0, 500, 2_000)
    k = np.floor(RNG.uniform(-2, n + 3)).astype(int)
    rate = np.where(RNG.random(2_000) < 0.1, RNG.integers(0, 2, 2_000), RNG.random(2_000))
    np.testing.assert_allclose(ours.binomial_cdf(k, n, rate), stats.binom.cdf(k, n, rate), rtol=1e-9, atol=1e-250)
    np.testing.assert_allclose(ours.binomial_sf(k, n, rate), stats.binom.sf(k, n, rate), rtol=1e-9, atol=1e-250)
    np.testing.assert_allclose(ours.binomial_pmf(k, n, rate), stats.binom.pmf(k, n, rate), rtol=1e-9, atol=1e-250)
    for share, m, chance in zip(SHARES, RNG.integers(1, 900, 1_000), RNG.uniform(0.01, 0.99, 1_000), strict=True):
        assert ours.binomial_ppf(share, int(m), chance) == stats.binom.ppf(share, m, chance)
        assert ours.binomial_isf(share, int(m), chance) == stats.binom.isf(share, m, chance)


def test_the_hypergeometric() -> None:
    for _ in range(1_000):
        n_all = int(RNG.integers(1, 3_000))
        n_marked, n_drawn = (int(x) for x in RNG.integers(0, n_all + 1, 2))
        k = int(RNG.integers(-1, min(n_marked, n_drawn) + 2))
        case = (k, n_all, n_marked, n_drawn)
        assert ours.hypergeometric_cdf(*case) == pytest.approx(stats.hypergeom.cdf(*case), rel=1e-8, abs=1e-200), case
        every = ours.hypergeometric_pmf(n_all, n_marked, n_drawn)
        wanted = stats.hypergeom.pmf(np.arange(n_drawn + 1), n_all, n_marked, n_drawn)
        assert (np.abs(every - wanted) <= np.maximum(1e-8 * wanted, 1e-200)).all(), case
        assert ours.hypergeometric_sf(*case) == pytest.approx(stats.hypergeom.sf(*case), rel=1e-8, abs=1e-200), case
