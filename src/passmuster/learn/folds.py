"""Which labelled items are held out together, when a few labels must both teach and judge."""

from __future__ import annotations

import numpy as np

N_FOLDS = 4
MANY_LABELS = 300  # from here on two repeats are enough; with fewer, five


def stratified_folds(labels: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """The fold of each item (n,), 0 to `n_folds` - 1, every class spread evenly.

    An item that is its class's only one gets -1: it is never held out, because a head that never saw a class cannot be
    asked about it. Classes with two labels or more lie in at least two folds, so that each fold's head knows every
    class.

    >>> stratified_folds(np.array([0, 0, 1, 1, 2]), 2, np.random.default_rng(0))[4]
    np.int64(-1)
    """
    folds = np.full(len(labels), -1)
    start = 0
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            folds[members] = (start + np.arange(len(members))) % n_folds
            start += len(members)
    return folds


def repeated_folds(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Folds for repeated cross-validation, shape (repeats, n): five repeats with few labels, two with many."""
    n_repeats = 2 if len(labels) >= MANY_LABELS else 5
    return np.stack([stratified_folds(labels, N_FOLDS, rng) for _ in range(n_repeats)])
