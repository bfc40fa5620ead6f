"""Two models judged on the same items: only the items on which they differ carry evidence.

Throughout, `only_candidate` counts items that the candidate alone got right, `only_incumbent` those that the incumbent
alone got right, and `n` all items. A difference is candidate minus incumbent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from passmuster.core.bootstrap import bootstrap_sums
from passmuster.core.distributions import (
    beta_isf,
    beta_ppf,
    binomial_cdf,
    binomial_isf,
    binomial_pmf,
    binomial_ppf,
    binomial_sf,
    normal_cdf,
    normal_ppf,
    normal_sf,
)
from passmuster.core.statistics import MAX_MORE, Interval, smallest

GAMMA = 1e-4  # the part of the error spent on bounding the share of disagreements (Berger and Boos 1994)
_GRID = 65  # shares of disagreement at which the exact error is computed


def mcnemar_exact(only_candidate: int, only_incumbent: int) -> float:
    """Two-sided p-value that both models err equally often (McNemar 1947; exact binomial form).

    >>> mcnemar_exact(10, 0)
    0.001953125
    """
    n = only_candidate + only_incumbent
    if n == 0:
        return 1.0
    return float(min(1.0, 2 * binomial_cdf(min(only_candidate, only_incumbent), n, 0.5)))


def paired_difference(only_candidate: float, only_incumbent: float, n: float, *, level: float = 0.95) -> Interval:
    """Difference of two accuracies on the same `n` items, with Tango's score interval. Counts need not be whole.

    Tango 1998 (Statistics in Medicine 17, 891): the differences that `tango_score` does not reject, found by halving.

    >>> found = paired_difference(1, 9, 100)
    >>> round(found.value, 2), round(found.low, 3), round(found.high, 3)
    (-0.08, -0.154, -0.023)
    """
    if n <= 0:
        return Interval(float("nan"), -1.0, 1.0, 0, "tango", level)
    z = normal_ppf(0.5 + level / 2)
    value = (only_candidate - only_incumbent) / n

    def edge(far: float) -> float:
        near = value
        for _ in range(60):
            middle = (near + far) / 2
            inside = abs(float(tango_score(only_candidate, only_incumbent, n, middle))) <= z
            near, far = (middle, far) if inside else (near, middle)
        return near

    return Interval(value, edge(-1.0), edge(1.0), round(n), "tango", level)


def tango_score(
    only_candidate: np.ndarray | float, only_incumbent: np.ndarray | float, n: float, difference: float
) -> np.ndarray:
    """Score statistic of a hypothetical `difference` (Tango 1998, eq. 6); about standard normal if it is true."""
    b, c = np.asarray(only_candidate, dtype=np.float64), np.asarray(only_incumbent, dtype=np.float64)
    first = 2.0 * n
    second = -b - c + (2.0 * n - b + c) * difference
    third = -c * difference * (1.0 - difference)
    incumbent_rate = (np.sqrt(np.maximum(0.0, second**2 - 4 * first * third)) - second) / (2 * first)
    variance = np.maximum(0.0, n * (2 * incumbent_rate + difference * (1.0 - difference)))
    distance = b - c - n * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        score = distance / np.sqrt(variance)
    return np.where(variance > 1e-12, score, np.where(np.abs(distance) < 1e-9, 0.0, np.copysign(np.inf, distance)))


@dataclass(frozen=True)
class NonInferiority:
    """Is the candidate's accuracy at most `margin` below the incumbent's?

    `p_not_worse` is small when the loss is surely below the margin; `p_worse` when there surely is a loss.
    """

    difference: Interval
    margin: float
    p_not_worse: float
    p_worse: float


def non_inferiority(only_candidate: int, only_incumbent: int, n: int, *, margin: float) -> NonInferiority:
    """Exact unconditional test that the candidate loses less than `margin`.

    Tango's score orders the outcomes. The p-value is the largest chance, at a loss of exactly `margin`, of an outcome
    at least as good as the one seen, over every share of disagreements inside its exact confidence interval of level
    1 - `GAMMA`, plus `GAMMA` (Hsueh, Liu and Chen 2001, Biometrics 57; Berger and Boos 1994, JASA 89). A test that
    rejects at ``p <= alpha`` errs at most with probability `alpha`, at every sample size. `p_worse` is the one-sided
    exact McNemar test. The margin lies in (0, 1).

    >>> test = non_inferiority(30, 28, 1000, margin=0.03)
    >>> test.p_not_worse < 0.05, test.p_worse > 0.3
    (True, True)
    """
    discordant = only_candidate + only_incumbent
    difference = paired_difference(only_candidate, only_incumbent, n)
    worse = float(binomial_cdf(only_candidate, discordant, 0.5)) if discordant else 1.0
    if n <= 0:
        return NonInferiority(difference, margin, 1.0, 1.0)
    seen = float(tango_score(only_candidate, only_incumbent, n, -margin))
    low = 0.0 if discordant == 0 else beta_ppf(GAMMA / 2, discordant, n - discordant + 1)
    high = 1.0 if discordant == n else beta_isf(GAMMA / 2, discordant + 1, n - discordant)
    shares = np.linspace(max(low, margin), max(high, margin), _GRID)
    totals = np.arange(binomial_ppf(1e-12, n, shares[0]), binomial_isf(1e-12, n, shares[-1]) + 1)
    fewest = _fewest(totals, lambda b: tango_score(b, totals - b, n, -margin) >= seen - 1e-9)
    chance_of_total = binomial_pmf(totals[None, :], n, shares[:, None])  # (grid, totals)
    chance_candidate = np.clip((shares - margin) / (2 * shares), 0.0, 1.0)[:, None]
    tail = (chance_of_total * binomial_sf(fewest[None, :] - 1, totals[None, :], chance_candidate)).sum(axis=1)
    return NonInferiority(difference, margin, float(min(1.0, tail.max() + GAMMA)), worse)


def more_labels_for_non_inferiority(
    only_candidate: int,
    only_incumbent: int,
    n: int,
    *,
    margin: float,
    alpha: float = 0.05,
    power: float = 0.8,
    max_more: int = MAX_MORE,
) -> int | None:
    """How many further labels would probably settle it: loss surely below the margin, or surely a loss.

    Normal approximation at the difference and the share of disagreements seen so far (smoothed by one item of each
    kind), keeping what was seen. None: more than `max_more`.

    >>> more_labels_for_non_inferiority(5, 5, 100, margin=0.02) > 500
    True
    """
    share = (only_candidate + only_incumbent + 1) / (n + 2)
    seen = only_candidate - only_incumbent
    rate = seen / (n + 2)
    z = normal_ppf(1 - alpha)
    base = max(share, margin)

    def settled(more: int) -> bool:
        total = n + more
        ship = z * np.sqrt(total * max(base - margin**2, 1e-9)) - total * margin + 1  # the tests are exact
        hold = -z * np.sqrt(total * share) - 1
        middle, spread = seen + more * rate, np.sqrt(max(more * (share - rate**2), 1e-12))
        chance = normal_sf((ship - middle) / spread) + normal_cdf((hold - middle) / spread)
        return total > 0 and float(chance) >= power

    return smallest(settled, max_more)


def n_for_non_inferiority(discordance: float, margin: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Items needed to show, with probability `power`, that an equally good candidate loses less than `margin`.

    ``n = ((z_alpha sqrt(psi - margin^2) + z_power sqrt(psi)) / margin)^2`` (Nam 1997, Biometrics 53; psi:
    `discordance`), made larger by ``(1 + sqrt(1 + 4 / (n margin)))^2 / 4`` because the test is exact (Fleiss, Levin and
    Paik 2003, eq. 4.14).

    >>> n_for_non_inferiority(0.1, 0.02)
    1641
    """
    psi = max(discordance, margin)
    z_alpha, z_power = normal_ppf(1 - alpha), normal_ppf(power)
    n = ((z_alpha * np.sqrt(psi - margin**2) + z_power * np.sqrt(psi)) / margin) ** 2
    return int(np.ceil(n * (1 + np.sqrt(1 + 4 / (n * margin))) ** 2 / 4))


def paired_bootstrap(
    candidate: np.ndarray,
    incumbent: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    n_resamples: int = 1_000,
    level: float = 0.95,
) -> Interval:
    """Difference of two (weighted) means over the same items ``(n,)``, items or whole clusters drawn together.

    >>> same = np.ones(10)
    >>> paired_bootstrap(same, same, rng=np.random.default_rng(0)).high
    0.0
    """
    gain = np.asarray(candidate, dtype=np.float64) - np.asarray(incumbent, dtype=np.float64)
    w = np.ones(len(gain)) if weights is None else np.asarray(weights, dtype=np.float64)
    found = bootstrap_sums(
        np.column_stack([w * gain, w]), lambda sums: sums[:, 0] / sums[:, 1],
        rng=rng, clusters=clusters, n_resamples=n_resamples, level=level,
    )  # fmt: skip
    return Interval(found.value, found.low, found.high, found.n, f"paired {found.method}", level)


def _fewest(totals: np.ndarray, enough: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """For each total, the smallest count for which `enough` holds (it is monotone); total + 1 where none does."""
    low, high = np.full(len(totals), -1), totals + 1
    for _ in range(int(np.ceil(np.log2(totals.max() + 2))) + 1):
        middle = (low + high) // 2
        yes = enough(np.clip(middle, 0, totals))
        open_ = high - low > 1
        high = np.where(open_ & yes, middle, high)
        low = np.where(open_ & ~yes, middle, low)
    return high
