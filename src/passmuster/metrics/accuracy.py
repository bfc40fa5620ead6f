"""How often the model is right: accuracy, macro-F1, and recall and precision of each class.

Labels and predictions are class numbers ``(n,)``. Weights are inverse probabilities of being asked for; items that
share a cluster (a person, a text and its copies) are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.statistics import Interval, bootstrap, proportion

Clusters = Sequence[str] | np.ndarray


def accuracy(
    labels: np.ndarray, predicted: np.ndarray, *, weights: np.ndarray | None = None, clusters: Clusters | None = None
) -> Interval:
    """Share of right predictions, ``sum(w [y = p]) / sum(w)``, with Wilson's interval.

    >>> accuracy(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])).value
    0.75
    """
    return proportion(np.asarray(labels) == np.asarray(predicted), weights=weights, clusters=clusters)


def macro_f1(
    labels: np.ndarray,
    predicted: np.ndarray,
    n_classes: int,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
    no_class: int | None = None,
) -> Interval:
    """Mean over classes of ``F1 = 2 TP / (2 TP + FP + FN)``, with a bootstrap interval.

    Sokolova and Lapalme 2009 (Information Processing & Management 45), macro average of class-wise F1. Classes that are
    neither labelled nor predicted are left out, and so is `no_class`, the number of an answer that names none.

    >>> found = macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, rng=np.random.default_rng(0))
    >>> round(found.value, 4)
    0.6667
    """
    labels, predicted = np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    w = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    right = labels == predicted

    def score(times: np.ndarray) -> float:
        mass = times * w
        true = np.bincount(labels[right], weights=mass[right], minlength=n_classes)
        both = np.bincount(labels, weights=mass, minlength=n_classes)
        both = both + np.bincount(predicted, weights=mass, minlength=n_classes)
        seen = both > 0
        if no_class is not None:
            seen[no_class] = False
        return float((2 * true[seen] / both[seen]).mean()) if seen.any() else float("nan")

    return bootstrap(score, len(labels), rng=rng, clusters=clusters, n_resamples=n_resamples)


def macro_accuracy(
    labels: np.ndarray,
    predicted: np.ndarray,
    n_classes: int,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Mean recall of the classes that are labelled (balanced accuracy), with a bootstrap interval.

    Brodersen et al. 2010 (The balanced accuracy and its posterior distribution, ICPR). A resample without a class
    means the rest.

    >>> found = macro_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), 2, rng=np.random.default_rng(0))
    >>> found.value
    0.5
    """
    labels = np.asarray(labels, dtype=np.int64)
    w = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    right = labels == np.asarray(predicted)

    def score(times: np.ndarray) -> float:
        mass = times * w
        both = np.bincount(labels, weights=mass, minlength=n_classes)
        found = np.bincount(labels[right], weights=mass[right], minlength=n_classes)
        seen = both > 0
        return float((found[seen] / both[seen]).mean()) if seen.any() else float("nan")

    return bootstrap(score, len(labels), rng=rng, clusters=clusters, n_resamples=n_resamples)


@dataclass(frozen=True)
class ClassResult:
    """One class: of its items, how many were found (recall); of what was called so, how much was right (precision).

    An interval whose `n` is 0 has no value: nothing was labelled, or predicted, so.
    """

    recall: Interval
    precision: Interval
    f1: float


def per_class(
    labels: np.ndarray,
    predicted: np.ndarray,
    n_classes: int,
    *,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
) -> list[ClassResult]:
    """Recall, precision (Wilson's intervals) and F1 of every class, in order.

    >>> [round(r.recall.value, 2) for r in per_class(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)]
    [0.5, 1.0]
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    groups = None if clusters is None else np.asarray(clusters)
    right = labels == predicted

    def share(mask: np.ndarray) -> Interval:
        return proportion(
            right[mask],
            weights=None if weights is None else np.asarray(weights)[mask],
            clusters=None if groups is None else groups[mask],
        )

    found = []
    for c in range(n_classes):
        recall, precision = share(labels == c), share(predicted == c)
        if recall.n and precision.n and recall.value + precision.value > 0:
            f1 = 2 * recall.value * precision.value / (recall.value + precision.value)
        else:
            f1 = 0.0 if recall.n or precision.n else float("nan")
        found.append(ClassResult(recall, precision, f1))
    return found
