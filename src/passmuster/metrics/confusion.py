"""Which class is taken for which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def confusion(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts ``(n_classes, n_classes)``: row is the label, column the prediction (Stehman 1997).

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = np.asarray(labels, dtype=np.int64) * n_classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def confusion_cells(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The cells of `confusion` that are not empty: rows (label, prediction, count), in that order; (m, 3) int.

    With thousands of classes the matrix would be nearly all zeros.

    >>> confusion_cells(np.array([0, 0, 1]), np.array([0, 1, 1])).tolist()
    [[0, 0, 1], [0, 1, 1], [1, 1, 1]]
    """
    pairs = np.stack([np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return np.concatenate([found, counts[:, None]], axis=1)


@dataclass(frozen=True)
class Mistake:
    """`n` items of class `label` were called `predicted`; `share` is of that class's items."""

    label: int
    predicted: int
    n: int
    share: float


def most_confused(cells: np.ndarray, limit: int) -> list[Mistake]:
    """The most frequent mistakes among the cells of `confusion_cells`, at most `limit`; ties in the order of classes.

    >>> most_confused(np.array([[0, 0, 3], [0, 1, 1], [1, 1, 2]]), 5)
    [Mistake(label=0, predicted=1, n=1, share=0.25)]
    """
    totals = np.bincount(cells[:, 0], weights=cells[:, 2])
    off = cells[cells[:, 0] != cells[:, 1]]
    order = np.argsort(-off[:, 2], kind="stable")[:limit]
    return [Mistake(i, j, n, float(n / totals[i])) for i, j, n in off[order].tolist()]
