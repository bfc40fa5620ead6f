"""Learning from natural faults of the labelled test how a batch's accuracy can be told without labels.

`teach` learns from a bank: labelled test items under natural faults (Deng and Zheng 2021, "Are labels always necessary
for classifier accuracy evaluation?", learn from transformed sets too). The same items before and after say what a fall
of each feature is worth to this model. Each feature alone makes an estimate, and the nearer it was on faults held out,
the more it counts. The interval's systematic part comes from how far off all together were on faults held out; the
chance in drawing the batch and the reference is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.signals.label_free import (
    WORTH,
    AccuracyEstimator,
    believed_error,
    believed_falls,
    falls_of_accuracy,
    strangeness,
)
from passmuster.signals.label_free_seen import Reference

FEWEST_FAMILIES = 3
NEAREST = 0.01  # accuracy: no feature counts as nearer than that
PRIOR_FAMILIES = 4.0  # families of faults that the belief of how far off an estimate is counts as
LEAST_FACTOR = 0.7


@dataclass(frozen=True)
class Spoilt:
    """Reference items under a fault: its `family`, which items (m,), what can be seen of each (m, f), and who is right.

    Batches of one family are held out together.
    """

    family: str
    places: np.ndarray
    features: np.ndarray
    right: np.ndarray


def teach(
    reference: Reference, names: Sequence[str], home: np.ndarray, bank: Sequence[Spoilt], *, n_classes: int
) -> AccuracyEstimator:
    """Learn what a fall of each feature is worth, and how far off that is on faults it was not taught by.

    The same items before (`home`, (n, f), the features of the reference) and after are compared, so that the luck of
    the draw falls out. Each fault in turn is held out with all of its severities; its squared error, less what chance
    explains, over the error believed, is averaged over faults, with the belief as `PRIOR_FAMILIES` more.

    Raises
    ------
    ValueError
        With fewer than three faults there is nothing to hold out.
    """
    families = [seen.family for seen in bank]
    kinds = sorted(set(families))
    if len(kinds) < FEWEST_FAMILIES:
        raise ValueError(f"{len(kinds)} faults in the bank; at least {FEWEST_FAMILIES} are needed")
    worth = np.array([WORTH[name] for name in names])
    falls = [home[seen.places] - seen.features for seen in bank]
    lost = [reference.right[seen.places].astype(np.float64) - seen.right for seen in bank]
    x, y = np.stack([fall.mean(axis=0) for fall in falls]), np.array([each.mean() for each in lost])
    lessons = [_Lesson(believed_falls(worth, x[where]), y[where]) for where in _places(families, kinds)]
    chance, ratios, off = _left_to_chance(reference), [], []
    for i, where in enumerate(_places(families, kinds)):
        squares, products = _sums(lessons, {i})
        told = falls_of_accuracy(lessons[i].believed, squares, products)
        shares = _shares(lessons, {i})
        error = y[where] - told @ shares
        luck = [chance * float(np.var(lost[j])) / len(lost[j]) for j in where]
        off.append(float(np.mean(np.abs(error))))
        believed = believed_error(told, shares, strangeness(names, x[where]))
        ratios.append(float(np.mean((error**2 - luck) / believed**2)))
    freedom = PRIOR_FAMILIES + len(kinds)
    factor = math.sqrt(max((PRIOR_FAMILIES + sum(ratios)) / freedom, LEAST_FACTOR**2))
    squares, products = _sums(lessons, set())
    return AccuracyEstimator(
        names=tuple(names), accuracy=reference.accuracy, n_reference=reference.n, n_families=len(kinds),
        mean_error=float(np.mean(off)), threshold=max(reference.threshold, -1.0), novelty=reference.novelty_quantiles,
        home=tuple(np.average(home, axis=0, weights=reference.weights).tolist()), worth=tuple(worth.tolist()),
        squares=tuple(squares.tolist()), products=tuple(products.tolist()),
        shares=tuple(_shares(lessons, set()).tolist()), factor=factor, freedom=freedom,
        chance=chance, floor=0.5 / n_classes,
    )  # fmt: skip


@dataclass(frozen=True)
class _Lesson:
    """A fault at its severities: the fall believed from each feature (s, f), and the accuracy lost (s,)."""

    believed: np.ndarray
    lost: np.ndarray


def _places(families: Sequence[str], kinds: Sequence[str]) -> list[list[int]]:
    return [[i for i, family in enumerate(families) if family == kind] for kind in kinds]


def _sums(lessons: Sequence[_Lesson], out: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """`squares` and `products` (f,) of `falls_of_accuracy`, without the lessons numbered in `out`."""
    kept = [lesson for i, lesson in enumerate(lessons) if i not in out]
    squares = sum(((lesson.believed**2).mean(axis=0) for lesson in kept), np.zeros(lessons[0].believed.shape[1]))
    products = sum(((lesson.believed * lesson.lost[:, None]).mean(axis=0) for lesson in kept), np.zeros_like(squares))
    return squares, products


def _shares(lessons: Sequence[_Lesson], out: set[int]) -> np.ndarray:
    """How much each feature counts (f,), 1 in all: its mean squared error on lessons held out, to the power of -2."""
    errors = []
    for i, lesson in enumerate(lessons):
        if i not in out:
            told = falls_of_accuracy(lesson.believed, *_sums(lessons, out | {i}))
            errors.append(((lesson.lost[:, None] - told) ** 2).mean(axis=0))
    near = (np.mean(errors, axis=0) + NEAREST**2) ** -2
    return np.asarray(near / near.sum())


def _left_to_chance(reference: Reference, n_groups: int = 10) -> float:
    """Share of the variance of being right that being sure leaves unexplained: groups of ten by how sure."""
    right = reference.right[np.argsort(reference.sure, kind="stable")].astype(np.float64)
    total = float(right.var())
    groups = np.array_split(right, min(n_groups, len(right)))
    within = sum(len(group) * float(group.var()) for group in groups) / len(right)
    return min(1.0, within / total) if total > 0 else 1.0
