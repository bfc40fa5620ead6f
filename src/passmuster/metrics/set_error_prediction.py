"""Where answers that are sets of classes probably err, before anyone has looked: foretold for two figures.

Three voices give each item a probability of every class: the model itself, the mean of its nearest items by embedding,
and the mean of a wider circle. A fourth, the teacher, is the ridge regression of `passmuster.metrics.error_prediction`
on the classes, taught by the training labels and by the test labels so far. What a voice makes of the answer is a
feature, larger where more is amiss:

- of the whole set: the chance that any yes or no is wrong, classes taken as independent (of the teacher, whose scores
  are no chances, the expected number of wrong ones);
- of half-right sets: about how much F1 is lost, ``1 - 2 sum_said(p) / (|said| + sum(p))``, or where nothing is said
  the chance that there was something to say.

The two are foretold apart, because a set of three with one wrong loses its accuracy and a third of its F1. Features
and prior were chosen on training parts of composed sets (`docs/log.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from passmuster.core.prediction_powered import Prior, logit
from passmuster.metrics.error_prediction import (
    CERTAIN,
    N_NEIGHBOURS,
    RIDGE,
    nearest_others,
    seen_by_teacher,
    standardised,
    taught_scores,
)

Figure = Literal["accuracy", "item_f1"]
SETS_PRIOR = Prior((0.0, 0.8, 0.4, 0.0, 0.0), (0.25, 8.0, 8.0, 8.0, 3.0))
BLOCK = 512


@dataclass(frozen=True)
class SetTeacher:
    """What the teacher learns from and of: directions of the pool ``(N, q)``, and what training labels add up to.

    `said` (N, k) are the model's sets; scores are taken from `base` (k,), how common the model takes each class to be.
    """

    x: np.ndarray
    said: np.ndarray
    base: np.ndarray
    gram: np.ndarray  # (q, q)
    moment: np.ndarray  # (q, k)

    def objection(self, positions: np.ndarray, targets: np.ndarray, figure: Figure) -> np.ndarray:
        """How much is amiss with each answer ``(N,)``, standardised; taught by the test labels `targets` (n, k) too."""
        given = np.asarray(targets, dtype=self.x.dtype) - self.base
        scores = taught_scores(self.x, self.gram, self.moment, positions, given) + self.base
        if figure == "accuracy":
            return standardised(np.log(np.abs(scores - self.said).sum(axis=1) + 1e-6))
        return standardised(logit(lost(np.clip(scores, CERTAIN / 2, 1 - CERTAIN / 2), self.said), least=CERTAIN))


@dataclass(frozen=True)
class SetErrorPredictor:
    """For each figure the fixed features ``(N, 4)`` of a pool (constant, model, neighbours, circle); the teacher."""

    whole: np.ndarray
    partly: np.ndarray
    teacher: SetTeacher

    def features(self, positions: np.ndarray, targets: np.ndarray, figure: Figure = "accuracy") -> np.ndarray:
        """Features (N, 5) given the test labels so far; for `passmuster.core.prediction_powered.powered_rate`."""
        fixed = self.whole if figure == "accuracy" else self.partly
        return np.column_stack([fixed, self.teacher.objection(positions, targets, figure)])


def set_error_predictor(
    probabilities: np.ndarray, embeddings: np.ndarray, taught: np.ndarray, taught_targets: np.ndarray, said: np.ndarray
) -> SetErrorPredictor:
    """From a bundle's answers to the test items, labelled or not, and its training labels.

    Parameters
    ----------
    probabilities, said : (N, k) of each class, and which are said
    embeddings : (N, d)
    taught : (l, d) embeddings of labelled training items
    taught_targets : (l, k) which classes each of them carries

    >>> rng = np.random.default_rng(0)
    >>> z, p = rng.normal(size=(40, 8)), rng.random((40, 3))
    >>> found = set_error_predictor(p, z, z[:6], p[:6] > 0.5, p > 0.4)
    >>> found.features(np.arange(2), p[:2] > 0.5, "item_f1").shape
    (40, 5)
    """
    p, s = np.asarray(probabilities, dtype=np.float64), np.asarray(said, dtype=bool)
    units, taught_units, seen = seen_by_teacher(embeddings, taught)
    circle = nearest_others(units)
    whole, partly = [], []
    for start in range(0, len(p), BLOCK):
        part = slice(start, start + BLOCK)
        voices = [p[part], *(_mean_of(p, circle[part, :k], p[part]) for k in (N_NEIGHBOURS, circle.shape[1]))]
        whole.append([_amiss(voice, s[part]) for voice in voices])
        partly.append([lost(voice, s[part]) for voice in voices])
    known = seen(taught_units)
    base = p.mean(axis=0).astype(np.float32) if len(p) else np.zeros(p.shape[1], np.float32)
    targets = np.asarray(taught_targets, dtype=np.float32).reshape(len(known), p.shape[1]) - base
    gram = known.T @ known + RIDGE * np.eye(known.shape[1], dtype=np.float32)
    teacher = SetTeacher(seen(units), s, base, gram, known.T @ targets)
    return SetErrorPredictor(_as_features(whole), _as_features(partly), teacher)


def lost(probabilities: np.ndarray, said: np.ndarray) -> np.ndarray:
    """About how much F1 (n,) the sets `said` (n, k) lose, if classes have these `probabilities` (n, k).

    >>> lost(np.array([[1.0, 0.5], [0.2, 0.5]]), np.array([[True, False], [False, False]])).round(2).tolist()
    [0.2, 0.6]
    """
    size = said.sum(axis=1) + probabilities.sum(axis=1)
    share = 2.0 * (probabilities * said).sum(axis=1) / np.maximum(size, 1e-12)
    return np.asarray(np.where(said.any(axis=1), 1.0 - share, 1.0 - (1.0 - probabilities).prod(axis=1)))


def _amiss(probabilities: np.ndarray, said: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 - np.where(said, probabilities, 1.0 - probabilities).prod(axis=1))


def _mean_of(probabilities: np.ndarray, near: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The mean (n, k) of some items' probabilities for each of `near` (n, m); the item's `own` where it has none."""
    if not near.shape[1]:
        return own
    total = np.zeros_like(own)
    for column in near.T:
        total += probabilities[column]
    return np.asarray(total / near.shape[1])


def _as_features(blocks: list[list[np.ndarray]]) -> np.ndarray:
    """Constant, model, neighbours, circle (N, 4), as logits; neighbours are never sure."""
    own, near, wide = (np.concatenate([block[i] for block in blocks]) for i in range(3))
    return np.column_stack([np.ones(len(own)), logit(own), logit(near, least=CERTAIN), logit(wide, least=CERTAIN)])
