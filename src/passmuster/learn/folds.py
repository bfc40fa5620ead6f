"""Which labelled items are held out together, when a few labels must both teach and judge."""

from __future__ import annotations

import numpy as np

N_FOLDS = 4
MANY_LABELS = 300  # from here on two repeats are enough; with fewer, five
MAX_JUDGED = 10_000_000  # logits of held-out items, all repeats together: 40 MB, and seconds for their temperature


def stratified_folds(
    labels: np.ndarray, n_folds: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """The fold of each item (n,), 0 to `n_folds` - 1, every class spread evenly.

    Items of one class and one group (copies of each other) lie in the same fold, so that no item is judged by its copy.
    A class that has only one item, or only copies of one, gets -1: it is never held out, because a head that never saw
    a class cannot be asked about it. Other classes lie in at least two folds, so that each fold's head knows them all.

    >>> stratified_folds(np.array([0, 0, 1, 1, 2]), 2, np.random.default_rng(0))[4]
    np.int64(-1)
    """
    folds = np.full(len(labels), -1)
    groups = np.arange(len(labels)) if groups is None else groups
    start = 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        own = rng.permutation(np.unique(groups[members]))
        if len(own) > 1:
            place = {group: (start + i) % n_folds for i, group in enumerate(own)}
            folds[members] = [place[group] for group in groups[members]]
            start += len(own)
    return folds


def repeated_folds(labels: np.ndarray, rng: np.random.Generator, groups: np.ndarray | None = None) -> np.ndarray:
    """Folds for repeated cross-validation, shape (repeats, n): five repeats with few labels, two with many.

    With thousands of classes one repeat, and a sample of the items, is held out: `MAX_JUDGED` bounds what is judged.
    """
    n_classes = len(np.unique(labels))
    repeats = range(n_repeats(len(labels), n_classes))
    folds = np.stack([stratified_folds(labels, N_FOLDS, rng, groups) for _ in repeats])
    held = np.flatnonzero(folds[0] >= 0)
    if len(held) > n_judged(n_classes):
        folds[:, rng.permutation(held)[n_judged(n_classes) :]] = -1
    return folds


def n_repeats(n_labels: int, n_classes: int) -> int:
    """How often so many labels are cross-validated.

    >>> n_repeats(20, 2), n_repeats(1_000, 10), n_repeats(20_000, 4_500)
    (5, 2, 1)
    """
    wanted = 2 if n_labels >= MANY_LABELS else 5
    return 1 if wanted * n_labels > n_judged(n_classes) else wanted


def n_judged(n_classes: int) -> int:
    """How many items at most are held out."""
    return int(MAX_JUDGED / max(1, n_classes))


def label_set_folds(
    targets: np.ndarray, n_folds: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """The fold of each item (n,) whose label is a set of classes, every class spread as evenly as sets allow.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, algorithm 1): of the class with the fewest items
    left, each goes where that class is wanted most. Items of one group (copies of each other) stay together.

    Parameters
    ----------
    targets : (n, k), 1 where an item carries the class

    >>> targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> label_set_folds(targets, 2, np.random.default_rng(0)).reshape(2, 2).sum(axis=1)
    array([1, 1])
    """
    groups = np.arange(len(targets)) if groups is None else groups
    _, unit = np.unique(groups, return_inverse=True)
    n_units = int(unit.max()) + 1 if len(unit) else 0
    carried = np.zeros((n_units, targets.shape[1]))
    np.add.at(carried, unit, targets)
    sizes = np.bincount(unit, minlength=n_units).astype(float)
    wanted = np.tile(carried.sum(axis=0) / n_folds, (n_folds, 1))
    room = np.full(n_folds, len(targets) / n_folds)
    place = np.full(n_units, -1)

    def put(one: int, wish: np.ndarray) -> None:
        best = np.flatnonzero(wish == wish.max())
        best = best[room[best] == room[best].max()]
        fold = int(rng.choice(best))
        place[one] = fold
        wanted[fold] -= carried[one]
        room[fold] -= sizes[one]

    while True:
        left = (carried[place < 0] > 0).sum(axis=0)
        if not left.any():
            break
        rarest = int(np.where(left > 0, left, np.inf).argmin())
        for one in rng.permutation(np.flatnonzero((place < 0) & (carried[:, rarest] > 0))):
            put(int(one), wanted[:, rarest])
    for one in rng.permutation(np.flatnonzero(place < 0)):
        put(int(one), room)
    return place[unit]


def repeated_label_set_folds(
    targets: np.ndarray, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """As `repeated_folds`, for sets of classes."""
    n_repeats = 2 if len(targets) >= MANY_LABELS else 5
    return np.stack([label_set_folds(targets, N_FOLDS, rng, groups) for _ in range(n_repeats)])
