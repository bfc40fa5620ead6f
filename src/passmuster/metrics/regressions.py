"""A candidate against the incumbent where a headline does not look: class by class, in log-loss, and by its guard.

All of it is paired: the same items, answered by both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import binomial_sf, student_sf

FLOOR = 1e-4  # probability below which being wrong costs no more: one item must not decide


@dataclass(frozen=True)
class ClassLoss:
    """How many items of one class got worse and better, of `n` that carry it."""

    name: str
    n: int
    worse: int
    better: int


def class_losses(
    new_right: np.ndarray, old_right: np.ndarray, members: np.ndarray, names: tuple[str, ...]
) -> list[ClassLoss]:
    """Paired counts of every class.

    Parameters
    ----------
    new_right, old_right : (n, k) bool, or (n, 1) where an answer is right or wrong as a whole
    members : (n, k) bool, which items count for which class
    names : k

    >>> one = np.array([[True], [False], [False]])
    >>> other = np.array([[True], [True], [True]])
    >>> class_losses(one, other, np.array([[True, False], [True, False], [False, True]]), ("a", "b"))[0]
    ClassLoss(name='a', n=2, worse=1, better=0)
    """
    worse, better = members & ~new_right & old_right, members & new_right & ~old_right
    counts = members.sum(axis=0), worse.sum(axis=0), better.sum(axis=0)
    return [ClassLoss(name, *(int(c[i]) for c in counts)) for i, name in enumerate(names)]


@dataclass(frozen=True)
class Rise:
    """By how much a mean over `n` items rose, and the one-sided p-value that it did not."""

    n: int
    rise: float
    p: float


def mean_rise(new: np.ndarray, old: np.ndarray) -> Rise:
    """Student's paired test of ``mean(new - old) <= 0``, one-sided.

    Differences that are all alike have no spread: p is then 0 or 1, from two items on.

    >>> found = mean_rise(np.array([1.0, 2.0, 2.0, 3.0]), np.zeros(4))
    >>> found.rise, round(found.p, 4)
    (2.0, 0.0081)
    """
    difference = np.asarray(new, dtype=float) - np.asarray(old, dtype=float)
    n = len(difference)
    if n < 2:
        return Rise(n, float(difference.mean()) if n else 0.0, 1.0)
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return Rise(n, mean, 0.0 if mean > 1e-9 else 1.0)
    return Rise(n, mean, student_sf(mean / (spread / math.sqrt(n)), n - 1))


def log_losses(probability: np.ndarray) -> np.ndarray:
    """Minus the log of the probability (n,) that was given to the truth, in nats; what is no number is worst.

    >>> log_losses(np.array([1.0, 0.0, np.nan])).round(2).tolist()
    [0.0, 9.21, 9.21]
    """
    known = np.where(np.isfinite(probability), probability, 0.0)
    return np.asarray(0.0 - np.log(np.clip(known, FLOOR, 1.0)))


def sign_test(more: int, fewer: int) -> float:
    """One-sided exact p-value that changes to `more` are no likelier than changes to `fewer`.

    >>> sign_test(5, 0), sign_test(0, 0)
    (0.03125, 1.0)
    """
    n = more + fewer
    return float(binomial_sf(more - 1, n, 0.5)) if n else 1.0


def log_chance_all_right(confidence: np.ndarray) -> float:
    """Natural log of the chance that every answer is right, if each is with half the doubt that the model states.

    A model that knows its worth is wrong now and then where it is unsure. Test labels that are its own answers never
    contradict it. Half the doubt, because a model may be too modest.

    >>> round(log_chance_all_right(np.array([0.5, 0.5, 1.0])), 3)
    -0.575
    """
    doubt = 0.5 * (1.0 - np.clip(np.asarray(confidence, dtype=float), 0.0, 1.0))
    return float(np.log1p(-doubt).sum())
