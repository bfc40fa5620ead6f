"""From which confidence on answers may be given, so that few of them are wrong: a threshold with a guarantee.

Selective risk at a threshold is the chance that an answer of at least that confidence is wrong. The thresholds, and the
one to begin with, are fixed without looking at labels. From there each lower one is tested by the exact binomial tail
of the wrong answers above it, until the first fails: such a sequence errs with the stated probability at most, however
many are tried (Geifman and El-Yaniv 2017, Selective classification for deep neural networks, NeurIPS, for the bound;
Angelopoulos et al. 2021, Learn then test, section 3.2, for the fixed sequence).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, bdtrik

from passmuster.core.distributions import beta_isf
from passmuster.core.statistics import MAX_MORE, smallest

NOTHING = 2.0  # a threshold that no confidence reaches: every answer is withheld
N_LEVELS = 50  # of the grid: shares of items answered
SCARCE = 1.5  # standard errors fewer items than expected above a threshold, where to begin is chosen
POWER = 0.8  # chance with which the labels asked for are to be enough


@dataclass(frozen=True)
class RiskThreshold:
    """Answers from `threshold` on are wrong with a chance of at most `bound`, which `max_risk` bounds in turn.

    Of `n_labels` calibration items `n` lie above it, of which `n_wrong` are wrong. Where no threshold keeps the risk,
    `threshold` is `NOTHING`, `n` and `n_wrong` are of the one that was tried, and about `n_more` further labels would
    probably be enough; None: no number would, because even the surest answers are wrong too often.
    """

    threshold: float
    max_risk: float
    confidence: float
    n_labels: int
    n: int
    n_wrong: int
    bound: float
    n_more: int | None

    @property
    def reached(self) -> bool:
        return self.threshold < NOTHING


@dataclass(frozen=True)
class Grid:
    """Thresholds (k,) from high to low, the share of items above each, and the risk that the model foretells there."""

    thresholds: np.ndarray
    shares: np.ndarray
    foretold: np.ndarray


def grid_of(confidence: np.ndarray) -> Grid:
    """Thresholds at the quantiles of unlabelled items' confidence (m,), and 0, which answers everything.

    >>> grid = grid_of(np.linspace(0, 1, 101))
    >>> grid.thresholds[[0, 24, -1]].round(2).tolist(), grid.foretold[-1].round(2)
    ([0.98, 0.5, 0.0], np.float64(0.5))
    """
    shares = np.arange(1, N_LEVELS + 1) / N_LEVELS
    sure = np.asarray(confidence, dtype=np.float64)
    if not len(sure):
        return Grid(1.0 - shares, shares, shares / 2)
    thresholds = np.append(np.quantile(sure, 1.0 - shares[:-1]), 0.0)
    foretold = np.array([1.0 - sure[sure >= t].mean() for t in thresholds])
    return Grid(thresholds, shares, foretold)


def choose_threshold(
    confidence: np.ndarray, wrong: np.ndarray, grid: Grid, max_risk: float, level: float
) -> RiskThreshold:
    """The lowest threshold whose selective risk is at most `max_risk`, with confidence `level`.

    Parameters
    ----------
    confidence, wrong : (n,), of independent items that the model did not learn from
    grid : of other items, without labels
    max_risk, level : in (0, 1)

    >>> rng = np.random.default_rng(0)
    >>> sure = rng.random(2000)
    >>> found = choose_threshold(sure, rng.random(2000) > sure, grid_of(rng.random(500)), 0.1, 0.95)
    >>> 0.8 < found.threshold < 0.9 and found.bound <= 0.1
    True
    """
    confidence, wrong = np.asarray(confidence, dtype=np.float64), np.asarray(wrong, dtype=np.float64) > 0
    n_labels, tail = len(confidence), 1.0 - level
    above = np.array([int((confidence >= t).sum()) for t in grid.thresholds])
    bad = np.array([int(wrong[confidence >= t].sum()) for t in grid.thresholds])
    passes = [n > 0 and k <= allowed(n, max_risk, tail) for n, k in zip(above, bad, strict=True)]
    start = begin_at(grid, n_labels, max_risk, tail)
    end = start
    while end < len(passes) and passes[end]:
        end += 1
    if end > start:
        n, k = int(above[end - 1]), int(bad[end - 1])
        threshold = float(grid.thresholds[end - 1])
        return RiskThreshold(threshold, max_risk, level, n_labels, n, k, upper(k, n, tail), 0)
    n, k = int(above[start]), int(bad[start])
    n_more = more_labels(above, bad, grid, n_labels, max_risk, tail)
    return RiskThreshold(NOTHING, max_risk, level, n_labels, n, k, upper(k, n, tail), n_more)


def begin_at(grid: Grid, n_labels: int, max_risk: float, tail: float) -> int:
    """The place in the grid that is likely to pass, as the model foretells its own risk, without any label."""
    spread = np.sqrt(n_labels * grid.shares * (1.0 - grid.shares))  # of how many items lie above a threshold
    n = np.maximum(1, np.floor(grid.shares * n_labels - SCARCE * spread)).astype(int)
    risk = np.clip(grid.foretold, 1e-6, 1.0 - 1e-9)
    most = np.array([allowed(int(m), max_risk, tail) for m in n])
    chance = np.where(most >= 0, bdtr(np.maximum(most, 0), n, risk), 0.0)
    return int(chance.argmax()) if chance.max() > 0 else len(n) - 1


def allowed(n: int, max_risk: float, tail: float) -> int:
    """How many of `n` answers may be wrong for the risk to be shown; -1 where n are too few even without one.

    >>> allowed(58, 0.05, 0.05), allowed(59, 0.05, 0.05), allowed(93, 0.05, 0.05)
    (-1, 0, 1)
    """
    if float(bdtr(0, n, max_risk)) > tail:
        return -1
    k = max(0, math.floor(float(bdtrik(tail, n, max_risk))))
    while float(bdtr(k, n, max_risk)) > tail:
        k -= 1
    while k + 1 < n and float(bdtr(k + 1, n, max_risk)) <= tail:
        k += 1
    return k


def upper(n_wrong: int, n: int, tail: float) -> float:
    """Exact upper bound of a rate (Clopper and Pearson 1934), missed with probability `tail`."""
    return 1.0 if n_wrong >= n else beta_isf(tail, n_wrong + 1, n - n_wrong)


def more_labels(
    above: np.ndarray, bad: np.ndarray, grid: Grid, n_labels: int, max_risk: float, tail: float
) -> int | None:
    """About how many further labels would probably let one of the thresholds pass; None where none looks good enough.

    If risks are what was seen so far (Laplace's ``(wrong + 1) / (n + 2)``, as foretold where no label lies, and halfway
    to the bound where so few labels lie that Laplace's is above it).
    """
    found: int | None = None
    for n, k, share, foretold in zip(above, bad, grid.shares, grid.foretold, strict=True):
        rate = (k + 1) / (n + 2) if n else foretold
        if rate >= max_risk and n and k / n < max_risk:  # too few to say more than that it may be
            rate = (k / n + max_risk) / 2
        if rate >= max_risk:
            continue

        def passes(m: int, rate: float = rate) -> bool:
            most = allowed(m, max_risk, tail) if m else -1
            return most >= 0 and float(bdtr(most, m, rate)) >= POWER

        needed = smallest(passes, MAX_MORE)
        if needed is not None:
            more = max(1, math.ceil(needed / share) - n_labels)
            found = more if found is None else min(found, more)
    return found
