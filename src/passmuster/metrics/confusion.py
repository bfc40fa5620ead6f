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


@dataclass(frozen=True)
class Mistake:
    """`n` items of class `label` were called `predicted`; `share` is of that class's items."""

    label: int
    predicted: int
    n: int
    share: float


def most_confused(counts: np.ndarray, limit: int) -> list[Mistake]:
    """The most frequent mistakes, at most `limit`; ties in the order of classes.

    >>> most_confused(np.array([[3, 1], [0, 2]]), 5)
    [Mistake(label=0, predicted=1, n=1, share=0.25)]
    """
    off = np.array(counts, dtype=np.int64)
    np.fill_diagonal(off, 0)
    totals = np.asarray(counts).sum(axis=1)
    order = np.argsort(-off, axis=None, kind="stable")[:limit]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, off.shape))]
    return [Mistake(i, j, int(off[i, j]), float(off[i, j] / totals[i])) for i, j in pairs if off[i, j]]
