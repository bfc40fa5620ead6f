"""The nearest items of each item: exactly while they are few, by inverted lists when they are many.

Inverted lists (Sivic and Zisserman 2003; as in Jégou, Douze and Schmid 2011): spherical k-means puts the items into
cells; each item is compared with the items of the few cells whose centres are nearest to it. All of it is products of
matrices. Exact search compares ``n^2`` pairs, this one about ``n_probes n^1.5``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passmuster.core.threads import threads_for

BLOCK = 1_024
SMALLEST_LENGTH = 1e-12
CHOOSING = 200.0  # operations that a product's result costs besides, until it is among the best or not


@dataclass(frozen=True)
class Lists:
    """How inverted lists are made. Recall and seconds of other settings: docs/log.md."""

    exact_up_to: int = 4_000  # items; with so few the exact search takes no longer
    items_per_cell: float = 1.0  # times the root of the number of items
    n_probes: int = 10  # cells in which each item's neighbours are looked for
    n_rounds: int = 5  # of k-means
    taught_per_cell: int = 32  # items that k-means learns each centre from
    largest_cell: float = (
        4.0  # times the mean; a larger one is cut up, so that a crowd of copies does not cost its square
    )


def nearest(x: np.ndarray, k: int, lists: Lists = Lists()) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (n, k) int32 of each row of `x` (n, d) by cosine, itself left out, and their cosines (n, k).

    Nothing is drawn: the same rows have the same neighbours. Where the cells looked into hold fewer than `k` others,
    the rest of an item's row is -1, at a cosine of -2.

    >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], np.float32)
    >>> nearest(x, 1)[0].ravel().tolist()
    [1, 0, 3, 2]
    """
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(SMALLEST_LENGTH))
    k = min(k, len(x) - 1)
    found = Found(np.full((len(x), k), -1, np.int32), np.full((len(x), k), -2.0, np.float32))
    if len(x) <= lists.exact_up_to:
        everything = np.arange(len(x))
        for start in range(0, len(x), BLOCK):
            found.look(unit, everything[start : start + BLOCK], everything)
        return found.items, found.cosines
    centres = _centres(unit, lists)
    cells, probes = _cells(unit, centres, lists)
    for cell, members in enumerate(cells):
        asking = probes[cell]
        for start in range(0, len(asking), BLOCK):
            found.look(unit, asking[start : start + BLOCK], members)
    return found.items, found.cosines


def search_flops(n: int, d: int, lists: Lists = Lists()) -> float:
    """Operations of `nearest`: of the products, and of choosing among them, which takes as long as `CHOOSING` more."""
    if n <= lists.exact_up_to:
        return (2.0 * d + CHOOSING) * n**2
    n_cells: float = n**0.5 / lists.items_per_cell
    taught = min(n, lists.taught_per_cell * n_cells)
    return (2.0 * d + CHOOSING) * (n_cells * (n + lists.n_rounds * taught) + n * lists.n_probes * n / n_cells)


@dataclass(frozen=True)
class Found:
    """The nearest so far of every item, changed in place."""

    items: np.ndarray  # (n, k)
    cosines: np.ndarray  # (n, k)

    def look(self, unit: np.ndarray, asking: np.ndarray, among: np.ndarray) -> None:
        """Compare the items `asking` with those `among`, all given by position."""
        k = self.items.shape[1]
        with threads_for(2.0 * len(asking) * len(among) * unit.shape[1]):
            cosines = unit[asking] @ unit[among].T
        cosines[asking[:, None] == among[None, :]] = -2.0
        if len(among) > k:
            best = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
            cosines, items = np.take_along_axis(cosines, best, axis=1), among[best]
        else:
            items = np.broadcast_to(among, cosines.shape)
        cosines = np.concatenate([self.cosines[asking], cosines], axis=1)
        items = np.concatenate([self.items[asking], items], axis=1)
        best = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        self.cosines[asking] = np.take_along_axis(cosines, best, axis=1)
        self.items[asking] = np.take_along_axis(items, best, axis=1)


def _centres(unit: np.ndarray, lists: Lists) -> np.ndarray:
    """Centres (cells, d) of unit length, by k-means on evenly spaced items."""
    n_cells = max(1, int(len(unit) ** 0.5 / lists.items_per_cell))
    taught = unit[_spaced(len(unit), lists.taught_per_cell * n_cells)]
    centres: np.ndarray = taught[_spaced(len(taught), n_cells)]
    for number in range(lists.n_rounds):
        cell = _nearest_centres(taught, centres, 1)[:, 0]
        order = np.argsort(cell, kind="stable")
        sizes = np.bincount(cell, minlength=n_cells)
        full = np.flatnonzero(sizes)
        sums = np.add.reduceat(taught[order], (np.cumsum(sizes) - sizes)[full], axis=0)
        centres = np.roll(taught, -number - 1, axis=0)[_spaced(len(taught), n_cells)]  # an empty cell begins elsewhere
        centres[full] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(SMALLEST_LENGTH))
    return centres


def _spaced(n: int, most: int) -> np.ndarray:
    """All of `n` positions, or so many of them, evenly spaced."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def _nearest_centres(unit: np.ndarray, centres: np.ndarray, n: int) -> np.ndarray:
    """The `n` nearest centres of each row (rows, n) int32, the nearest first."""
    found = np.empty((len(unit), n), np.int32)
    for start in range(0, len(unit), BLOCK):
        with threads_for(2.0 * BLOCK * centres.size):
            distance = -(unit[start : start + BLOCK] @ centres.T)
        best = np.argpartition(distance, n - 1, axis=1)[:, :n] if n < len(centres) else np.argsort(distance, axis=1)
        order = np.argsort(np.take_along_axis(distance, best, axis=1), axis=1, kind="stable")
        found[start : start + BLOCK] = np.take_along_axis(best, order, axis=1)
    return found


def _cells(unit: np.ndarray, centres: np.ndarray, lists: Lists) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per cell, the items in it, and the items that look for neighbours there."""
    n_cells = len(centres)
    probes = _nearest_centres(unit, centres, min(lists.n_probes, n_cells))
    most = int(np.ceil(lists.largest_cell * len(unit) / n_cells))
    members, asking = _grouped(probes[:, 0], n_cells), _grouped(probes, n_cells)
    pieces, theirs = [], []
    for inside, ask in zip(members, asking, strict=True):
        n_pieces = -(-len(inside) // most)
        for piece in range(n_pieces):
            pieces.append(inside[piece::n_pieces])
            theirs.append(ask if n_pieces == 1 else ask[piece::n_pieces])
    return pieces, theirs


def _grouped(cell: np.ndarray, n_cells: int) -> list[np.ndarray]:
    """Positions of the rows of `cell` (n,) or (n, p) that name each cell."""
    flat = cell.ravel()
    order = np.argsort(flat, kind="stable")
    rows = order // (cell.shape[1] if cell.ndim == 2 else 1)
    return np.split(rows, np.searchsorted(flat[order], np.arange(1, n_cells)))
