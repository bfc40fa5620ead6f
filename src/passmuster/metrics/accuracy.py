"""How often the model is right: accuracy, macro-F1, and recall and precision of each class.

Labels and predictions are class numbers ``(n,)``. Weights are inverse probabilities of being asked for; items that
share a cluster (a person, a text and its copies) are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.bootstrap import bootstrap_sums
from passmuster.core.statistics import Interval, proportion

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
    counted = np.arange(n_classes) != no_class

    def score(sums: np.ndarray) -> np.ndarray:
        true, both = sums[:, :n_classes], sums[:, n_classes:]
        return mean_of_seen(2 * true, both, (both > 0) & counted)

    right = np.where(labels == predicted, w, 0.0)
    columns = one_column_each([(labels, right), (labels + n_classes, w), (predicted + n_classes, w)], 2 * n_classes)
    return bootstrap_sums(columns, score, rng=rng, clusters=clusters, n_resamples=n_resamples)


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
    right = np.where(labels == np.asarray(predicted), w, 0.0)

    def score(sums: np.ndarray) -> np.ndarray:
        found, both = sums[:, :n_classes], sums[:, n_classes:]
        return mean_of_seen(found, both, both > 0)

    columns = one_column_each([(labels, right), (labels + n_classes, w)], 2 * n_classes)
    return bootstrap_sums(columns, score, rng=rng, clusters=clusters, n_resamples=n_resamples)


def mean_of_seen(parts: np.ndarray, wholes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of each row (b, c) the mean of part / whole where `seen`, (b,); NaN where nothing is.

    >>> mean_of_seen(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]]), np.array([[True, False]])).tolist()
    [0.5]
    """
    shares = np.divide(parts, wholes, out=np.zeros(parts.shape), where=seen)
    n = seen.sum(axis=1)
    return np.where(n > 0, shares.sum(axis=1) / np.maximum(n, 1), np.nan)


def one_column_each(entries: Sequence[tuple[np.ndarray, np.ndarray]], n_columns: int) -> Any:
    """A sparse matrix (n, n_columns) of what each of n items adds to which column: columns (n,) and values (n,).

    >>> one_column_each([(np.array([1, 0]), np.array([2.0, 3.0]))], 2).toarray().tolist()
    [[0.0, 2.0], [3.0, 0.0]]
    """
    from scipy import sparse

    n = len(entries[0][0])
    columns, values = (np.concatenate([entry[i] for entry in entries]) for i in (0, 1))
    return sparse.csr_matrix((values, (np.tile(np.arange(n), len(entries)), columns)), shape=(n, n_columns))


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
