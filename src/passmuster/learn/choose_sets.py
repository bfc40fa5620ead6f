"""How far a model hesitates about a set of classes: how far from right it expects its answer to be.

With few labels for each class the model's doubt says little, and covering the pool is worth more; later the items that
it is furthest from are. So doubt counts once at first and squared in the end. Weighing items by the rarity of the
classes that they may carry, and other ways that were tried, gained nothing beside it: docs/log.md.
"""

from __future__ import annotations

import numpy as np

ENOUGH = 8.0  # labels that carry a class, on average, from which doubt counts squared; see bench/choose_label_sets.py


def expected_item_f1(probabilities: np.ndarray, decide_at: float) -> np.ndarray:
    """The F1 (n,) in [0, 1] that a model expects of its answer to each item, classes taken as independent.

    ``2 E|Y & Z| / (|Z| + E|Y|)`` of what is said, Z, and what is carried, Y; where nothing is said, the probability
    that nothing is carried.

    Parameters
    ----------
    probabilities : (n, k) of each class for itself
    decide_at : from which probability on a class is said

    >>> expected_item_f1(np.array([[0.5, 0.0], [1.0, 1.0], [0.25, 0.0]]), 0.35).round(3).tolist()
    [0.667, 1.0, 0.75]
    """
    said = probabilities >= decide_at
    right = 2.0 * (probabilities * said).sum(axis=1)
    sizes = said.sum(axis=1) + probabilities.sum(axis=1)
    nothing = (1.0 - probabilities).prod(axis=1)
    return np.asarray(np.where(said.any(axis=1), right / np.maximum(sizes, 1.0), nothing))


def probability_of_whole(probabilities: np.ndarray, decide_at: float) -> np.ndarray:
    """The probability (n,) that every yes and no of an answer is right, classes taken as independent.

    >>> probability_of_whole(np.array([[0.5, 0.25], [0.25, 0.0]]), 0.35).tolist()
    [0.375, 0.75]
    """
    return np.asarray(np.where(probabilities >= decide_at, probabilities, 1.0 - probabilities).prod(axis=1))


def doubt_of_sets(probabilities: np.ndarray, n_carrying: np.ndarray, decide_at: float) -> np.ndarray:
    """How far a model expects to be from each item's set (n,), in [0, 1]; the more labels, the more sharply.

    Parameters
    ----------
    probabilities : (n, k) of each class for itself
    n_carrying : (k,) labelled items that carry each class, 1 or more
    decide_at : from which probability on a class is said

    >>> p = np.array([[0.5, 0.0], [1.0, 0.0]])
    >>> [doubt_of_sets(p, np.full(2, n), 0.35).round(3).tolist() for n in (0, 8)]
    [[0.333, 0.0], [0.111, 0.0]]
    """
    power = 1.0 + min(1.0, float(n_carrying.mean()) / ENOUGH)
    return np.asarray((1.0 - expected_item_f1(probabilities, decide_at)) ** power)
