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
    """How many items of one class got worse and better, of `n` that carry it.

    `loss` is the share that got worse less the share that got better. As many independent items that count alike would
    tell as much if `worth_worse` of them had got worse and `worth_better` better.
    """

    name: str
    n: int
    worse: int
    better: int
    loss: float
    worth_worse: float
    worth_better: float


def class_losses(
    new_right: np.ndarray,
    old_right: np.ndarray,
    members: np.ndarray,
    names: tuple[str, ...],
    *,
    weights: np.ndarray | None = None,
) -> list[ClassLoss]:
    """Paired counts of every class.

    Parameters
    ----------
    new_right, old_right : (n, k) bool, or (n, 1) where an answer is right or wrong as a whole
    members : (n, k) bool, which items count for which class
    names : k
    weights : (n,) for how much each item counts; None: alike. What changed is worth Kish's (1965) number of items

    >>> one = np.array([[True], [False], [False]])
    >>> other = np.array([[True], [True], [True]])
    >>> class_losses(one, other, np.array([[True, False], [True, False], [False, True]]), ("a", "b"))[0]
    ClassLoss(name='a', n=2, worse=1, better=0, loss=0.5, worth_worse=1.0, worth_better=0.0)
    """
    worse, better = members & ~new_right & old_right, members & new_right & ~old_right
    w = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
    found = []
    for i, name in enumerate(names):
        own, lost, won = (float(w[mask[:, i]].sum()) for mask in (members, worse, better))
        changed = w[worse[:, i] | better[:, i]]
        each = float(changed.sum() / (changed**2).sum()) if len(changed) else 0.0
        n, n_worse, n_better = (int(mask[:, i].sum()) for mask in (members, worse, better))
        loss = (lost - won) / own if own else 0.0
        found.append(ClassLoss(name, n, n_worse, n_better, loss, each * lost, each * won))
    return found


@dataclass(frozen=True)
class Rise:
    """By how much a mean over `n` items rose, and the one-sided p-value that it did not."""

    n: int
    rise: float
    p: float


def mean_rise(new: np.ndarray, old: np.ndarray, weights: np.ndarray | None = None) -> Rise:
    """Student's paired test of ``mean(new - old) <= 0``, one-sided.

    Differences that are all alike have no spread: p is then 0 or 1, from two items on. With `weights` (n,) the mean is
    Hájek's (1971), its variance the linearised one, and the degrees of freedom are those of Kish's (1965) number.

    >>> found = mean_rise(np.array([1.0, 2.0, 2.0, 3.0]), np.zeros(4))
    >>> found.rise, round(found.p, 4)
    (2.0, 0.0081)
    """
    difference = np.asarray(new, dtype=float) - np.asarray(old, dtype=float)
    n = len(difference)
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if n < 2:
        return Rise(n, float(difference.mean()) if n else 0.0, 1.0)
    mean = float((w * difference).sum() / w.sum())
    error = math.sqrt(float((w**2 * (difference - mean) ** 2).sum()) * n / (n - 1)) / float(w.sum())
    if error * math.sqrt(n) <= 1e-12 * max(1.0, abs(mean)):
        return Rise(n, mean, 0.0 if mean > 1e-9 else 1.0)
    return Rise(n, mean, student_sf(mean / error, max(1.0, float(w.sum() ** 2 / (w**2).sum()) - 1)))


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
