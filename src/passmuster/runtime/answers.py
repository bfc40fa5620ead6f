"""From logits to an answer: one class, where classes exclude each other, or each class for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.config import CostsPolicy
from passmuster.core.label_sets import MULTI, SINGLE, Task
from passmuster.metrics.costs import cheapest, cost_matrix

DECIDE_AT = "decide_at"  # the array of a guard whose answers are sets: probability (c,) from which a class is said


@dataclass(frozen=True)
class Said:
    """Answers to items: `said` (n, c) which classes, `sure` (n,) the probability that the answer is right.

    `probabilities` (n, c) float64 add up to 1 where one class is said, and are each class's own where a set is.
    """

    probabilities: np.ndarray
    said: np.ndarray
    sure: np.ndarray


@dataclass(frozen=True)
class Prices:
    """What each class costs to say by true class (c, c), and what a withheld answer costs; 0: not stated."""

    matrix: np.ndarray
    abstain: float = 0.0

    def too_dear(self, probabilities: np.ndarray) -> np.ndarray:
        """Whether withholding costs less than any class is expected to (n,)."""
        if not self.abstain or not probabilities.size:
            return np.zeros(len(probabilities), bool)
        return np.asarray((probabilities @ self.matrix).min(axis=1) > self.abstain)


def prices_of(policy: CostsPolicy, classes: Sequence[str]) -> Prices | None:
    """Prices by which answers are chosen; None where the policy says the likeliest class."""
    if policy.answer != "cheapest":
        return None
    return Prices(cost_matrix(classes, policy.when, policy.wrong), policy.abstain)


def task_of(head: Mapping[str, object]) -> Task:
    """What a bundle's ``head.json`` says its answers are: one class, or a set of them."""
    return MULTI if head.get("task") == MULTI else SINGLE


def answers_of(logits: np.ndarray, decide_at: np.ndarray | None = None, prices: Prices | None = None) -> Said:
    """Answers from logits (n, c): the likeliest class, the cheapest by `prices`, or sets by `decide_at` (c,).

    The probability of a set is that of every yes and no in it being right, classes taken as independent.

    >>> logits = np.array([[2.0, 0.0, -2.0]])
    >>> answers_of(logits).said.tolist(), answers_of(logits, np.full(3, 0.4)).said.tolist()
    ([[True, False, False]], [[True, True, False]])
    """
    if decide_at is None:
        probabilities = softmax(logits)
        said = np.zeros(probabilities.shape, bool)
        if not probabilities.size:
            return Said(probabilities, said, np.zeros(len(said)))
        best = probabilities.argmax(axis=1) if prices is None else cheapest(prices.matrix, probabilities)
        at = np.arange(len(said))
        said[at, best] = True
        return Said(probabilities, said, probabilities[at, best])
    probabilities = class_probabilities(logits)
    said = probabilities >= decide_at
    return Said(probabilities, said, np.where(said, probabilities, 1.0 - probabilities).prod(axis=1))


def class_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logits (n, c) as probabilities of yes, each class for itself, in float64.

    >>> class_probabilities(np.array([[0.0, -1000.0]])).tolist()
    [[0.5, 0.0]]
    """
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=float))))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of `logits` (n, c) as probabilities, in float64."""
    x = np.asarray(logits, dtype=float)
    if not x.size:
        return x
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(x / x.sum(axis=1, keepdims=True))
