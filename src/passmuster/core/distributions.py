"""The few distributions that intervals and tests ask for, from `scipy.special` alone.

`scipy.stats` has them all, and takes over half a second to import, at every command. These agree with it to 1e-10
(`tests/oracles/test_oracle_distributions.py`). Names: ``cdf`` the chance of at most x, ``sf`` of more, ``ppf`` the
value that is reached with a given chance, ``isf`` the value that is passed with it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import (
    bdtr,
    bdtrc,
    bdtrik,
    betainccinv,
    betaincinv,
    gammaln,
    ndtr,
    ndtri,
    stdtr,
    stdtrit,
    xlog1py,
    xlogy,
)


def normal_cdf(x: Any) -> Any:
    """The chance that a standard normal is at most `x`, elementwise.

    >>> float(normal_cdf(0.0))
    0.5
    """
    return ndtr(x)


def normal_sf(x: Any) -> Any:
    """The chance that a standard normal is more than `x`, elementwise; exact in the far tail."""
    return ndtr(-np.asarray(x))


def normal_ppf(share: float) -> float:
    """The value that a standard normal stays at or below with chance `share`.

    >>> round(normal_ppf(0.975), 4)
    1.96
    """
    return float(ndtri(share))


def normal_isf(share: float) -> float:
    """The value that a standard normal passes with chance `share`: exact for tiny ones, where ``1 - share`` is not.

    >>> round(normal_isf(1e-20), 4)
    9.2623
    """
    return -float(ndtri(share))


def student_sf(x: float, freedom: float) -> float:
    """The chance that Student's t with `freedom` degrees of freedom is more than `x`."""
    return float(stdtr(freedom, -x))


def student_isf(share: float, freedom: float) -> float:
    """The value that Student's t passes with chance `share`.

    >>> round(student_isf(0.025, 10), 4)
    2.2281
    """
    return -float(stdtrit(freedom, share))


def beta_ppf(share: float, a: float, b: float) -> float:
    """The value that a beta(a, b) stays at or below with chance `share`."""
    return float(betaincinv(a, b, share))


def beta_isf(share: float, a: float, b: float) -> float:
    """The value that a beta(a, b) passes with chance `share`.

    >>> round(beta_isf(0.05, 1, 59), 4)  # no error in 59: with 95 % confidence at most 5 % err
    0.0495
    """
    return float(betainccinv(a, b, share))


def binomial_cdf(k: Any, n: Any, rate: Any) -> Any:
    """The chance of at most `k` (whole, any sign) of `n` at `rate`, elementwise.

    >>> float(binomial_cdf(1, 2, 0.5)), float(binomial_cdf(-1, 2, 0.5)), float(binomial_cdf(2, 2, 0.5))
    (0.75, 0.0, 1.0)
    """
    k, n = np.asarray(k), np.asarray(n)
    inside = bdtr(np.clip(k, 0, n).astype(np.float64), n, rate)
    return np.where(k < 0, 0.0, np.where(k >= n, 1.0, inside))


def binomial_sf(k: Any, n: Any, rate: Any) -> Any:
    """The chance of more than `k` (whole, any sign) of `n` at `rate`, elementwise; exact in the far tail."""
    k, n = np.asarray(k), np.asarray(n)
    inside = bdtrc(np.clip(k, 0, n).astype(np.float64), n, rate)
    return np.where(k < 0, 1.0, np.where(k >= n, 0.0, inside))


def binomial_pmf(k: Any, n: Any, rate: Any) -> Any:
    """The chance of exactly `k` of `n` at `rate`, elementwise.

    >>> float(binomial_pmf(1, 2, 0.5).round(12))
    0.5
    """
    k, n = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    inside = np.clip(k, 0, n)
    chance = np.exp(log_ways(n, inside) + xlogy(inside, rate) + xlog1py(n - inside, -np.asarray(rate)))
    return np.where(k == inside, chance, 0.0)


def binomial_ppf(share: float, n: int, rate: float) -> int:
    """The smallest count of `n` that is reached with at least `share`.

    >>> binomial_ppf(0.5, 10, 0.5), binomial_ppf(0.9999, 10, 0.5)
    (5, 10)
    """
    if _at_most(0, n, rate) >= share:  # outside of these ends the inverse is not a number
        return 0
    if _at_most(n - 1, n, rate) < share:
        return n
    near = max(0, math.ceil(float(bdtrik(share, n, rate))) - 1)
    return near if _at_most(near, n, rate) >= share else near + 1


def binomial_isf(share: float, n: int, rate: float) -> int:
    """The smallest count of `n` that is passed with at most `share`; exact for tiny ones."""
    if float(bdtrc(0, n, rate)) <= share:
        return 0
    low, high = 0, n  # more than `low` come with more than `share`, more than `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if float(bdtrc(middle, n, rate)) <= share else (middle, high)
    return high


def hypergeometric_cdf(k: int, n_all: int, n_marked: int, n_drawn: int) -> float:
    """The chance that at most `k` of `n_drawn` from `n_all` are among the `n_marked`.

    >>> round(hypergeometric_cdf(0, 10, 3, 2), 4)
    0.4667
    """
    return _hypergeometric(max(0, n_drawn + n_marked - n_all), min(k, n_marked, n_drawn), n_all, n_marked, n_drawn)


def hypergeometric_sf(k: int, n_all: int, n_marked: int, n_drawn: int) -> float:
    """The chance that more than `k` of `n_drawn` from `n_all` are among the `n_marked`; exact in the far tail."""
    first = max(0, n_drawn + n_marked - n_all, k + 1)
    return _hypergeometric(first, min(n_marked, n_drawn), n_all, n_marked, n_drawn)


def _hypergeometric(first: int, last: int, n_all: int, n_marked: int, n_drawn: int) -> float:
    if last < first:
        return 0.0
    k = np.arange(first, last + 1, dtype=np.float64)
    return float(min(1.0, np.exp(_log_hypergeometric(k, n_all, n_marked, n_drawn)).sum()))


def _log_hypergeometric(k: np.ndarray, n_all: int, n_marked: int, n_drawn: int) -> np.ndarray:
    return np.asarray(log_ways(n_marked, k) + log_ways(n_all - n_marked, n_drawn - k) - log_ways(n_all, n_drawn))


def hypergeometric_pmf(n_all: int, n_marked: int, n_drawn: int) -> np.ndarray:
    """The chances (n_drawn + 1,) that 0, 1, … of `n_drawn` from `n_all` are among the `n_marked`.

    >>> hypergeometric_pmf(4, 2, 2).round(4).tolist()
    [0.1667, 0.6667, 0.1667]
    """
    chances = np.zeros(n_drawn + 1)
    first, last = max(0, n_drawn + n_marked - n_all), min(n_marked, n_drawn)
    k = np.arange(first, last + 1, dtype=np.float64)
    chances[first : last + 1] = np.exp(_log_hypergeometric(k, n_all, n_marked, n_drawn))
    return chances


def log_ways(n: Any, k: Any) -> Any:
    """Natural logarithm of the number of ways to choose `k` of `n`, elementwise."""
    return gammaln(np.asarray(n) + 1.0) - gammaln(np.asarray(k) + 1.0) - gammaln(np.asarray(n) - k + 1.0)


def _at_most(k: int, n: int, rate: float) -> float:
    """`binomial_cdf` for single numbers, a hundred times a verdict."""
    return 0.0 if k < 0 else 1.0 if k >= n else float(bdtr(k, n, rate))
