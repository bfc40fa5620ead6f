"""Every detector fitted anew without each class in turn, at little more than the price of one fit.

What is left out is a small part of the items, so most of the work is the same for every class: products with the bank
of neighbours, the axes of a covariance. They are found once, and each class takes its own items away.

A covariance without r rows is ``S - R' R``. With the shared axes Q of S, and the sphere that Ledoit and Wolf's estimate
adds, it is a diagonal less a matrix of rank r, and its inverse a diagonal plus one of rank r (Woodbury 1950): the
distance of an item costs ``d r`` multiplications where it is rotated already, instead of ``d d``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from passmuster.metrics.novelty.base import MAX_BANK, Arrays, checked, unit
from passmuster.metrics.novelty.boundary import linear_head, vim_of_head
from passmuster.metrics.novelty.find import detectors
from passmuster.metrics.novelty.gaussian import FLOOR, shrinkage
from passmuster.metrics.novelty.neighbours import MARGIN, NEIGHBOUR, apart

Sides = tuple[np.ndarray, np.ndarray]  # embeddings (n, d) and logits (n, c)
# Embeddings (b, d) of a block, float64 and finite, to the scores (classes, b) of each detector.
Scorer = Callable[[np.ndarray], dict[str, np.ndarray]]
GAUSSIAN = ("mahalanobis.v1", "rmds.v1")
BY_HEAD = ("fdbd.v1", "vim.v1")
N_AT_ONCE = 1_024  # rows scored at once: bounds the memory
N_NEAR = 2 * (NEIGHBOUR + MARGIN)  # neighbours that are measured for all classes at once


def scores_left_out(names: Sequence[str], fit: Sides, asked: Sides, classes: Sequence[int]) -> dict[str, np.ndarray]:
    """Scores (classes, n) of `asked` by each detector, fitted without the items that are taken for a class.

    The logit of that class is left out, too. The same as fitting each on the rest of `fit`, up to rounding. A row is
    NaN where nothing would be left to fit.

    >>> rng = np.random.default_rng(0)
    >>> x, z = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    >>> found = scores_left_out(["centroid.v1"], (x, z), (x, z), [0, 2])
    >>> keep = z.argmax(axis=1) != 2
    >>> arrays = detectors["centroid.v1"].fit(x[keep], z[keep][:, :2])
    >>> bool(np.allclose(found["centroid.v1"][1], detectors["centroid.v1"].score(arrays, x, z[:, :2])))
    True
    """
    x, z = checked(fit[0], "embeddings").astype(np.float64), checked(fit[1], "logits").astype(np.float64)
    said = z.argmax(axis=1)
    able = np.flatnonzero([(said != c).any() for c in classes])
    left_out = [int(c) for c in np.asarray(classes)[able]]
    found = {name: np.full((len(classes), len(asked[1])), np.nan) for name in names}
    if not left_out:
        return found
    shared = [(score, gives) for score, gives in _shared(x, said, left_out) if set(gives) & set(names)]
    alone = [name for name in names if not any(name in gives for _, gives in shared)]
    fitted = [_fit_without(alone, x, z, said, c) for c in left_out]
    for start in range(0, len(asked[1]), N_AT_ONCE):
        block = slice(start, start + N_AT_ONCE)
        rows, logits = (np.asarray(side[block], dtype=np.float64) for side in asked)
        finite = np.isfinite(rows).all(axis=1)
        for score, gives in shared:
            scores = score(rows[finite])
            for name in set(gives) & set(names):
                found[name][able[:, None], start + np.flatnonzero(~finite)] = np.inf
                found[name][able[:, None], start + np.flatnonzero(finite)] = scores[name]
        for i, c, arrays in zip(able, left_out, fitted, strict=True):
            others = np.delete(logits, c, axis=1)
            for name in alone:
                found[name][i, block] = detectors[name].score(arrays[name], rows, others)
    return found


def _fit_without(names: Sequence[str], x: np.ndarray, z: np.ndarray, said: np.ndarray, c: int) -> dict[str, Arrays]:
    """Each detector fitted on what is not taken for class c; those that need the head read it once."""
    keep = said != c
    own, logits = x[keep], np.delete(z[keep], c, axis=1)
    head = linear_head(own, logits) if set(BY_HEAD) & set(names) else None
    found: dict[str, Arrays] = {}
    for name in names:
        if head is not None and name == "fdbd.v1":
            found[name] = {"mean": head[2], "weight": head[0]}
        elif head is not None and name == "vim.v1":
            found[name] = vim_of_head(own, logits, *head)
        else:
            found[name] = detectors[name].fit(own, logits)
    return found


def _shared(x: np.ndarray, said: np.ndarray, classes: Sequence[int]) -> list[tuple[Scorer, tuple[str, ...]]]:
    """What can be found once for all classes, and the detectors that it is for."""
    shared: list[tuple[Scorer, tuple[str, ...]]] = [(_centroids(x, said, classes), ("centroid.v1",))]
    if len(x) <= MAX_BANK and x.any(axis=1).all():
        shared.append((_neighbours(x, said, classes), ("knn.v1",)))
    if (gaussian := _gaussian(x, said, classes)) is not None:
        shared.append((gaussian, GAUSSIAN))
    return shared


def _centroids(x: np.ndarray, said: np.ndarray, classes: Sequence[int]) -> Scorer:
    present = np.unique(said)
    rows = unit(x)
    directions = unit(np.stack([rows[said == c].mean(axis=0) for c in present]))

    def score(asked: np.ndarray) -> dict[str, np.ndarray]:
        near = unit(asked) @ directions.T  # (b, classes seen)
        return {"centroid.v1": np.stack([1.0 - near[:, present != c].max(axis=1) for c in classes])}

    return score


def _neighbours(x: np.ndarray, said: np.ndarray, classes: Sequence[int]) -> Scorer:
    """As `neighbours.KNN`: candidates in single precision, their distances in double."""
    bank = unit(x).astype(np.float32)

    def nearest(similarity: np.ndarray, rows: np.ndarray, near: int) -> tuple[np.ndarray, np.ndarray]:
        there = np.argpartition(similarity, len(bank) - near, axis=1)[:, len(bank) - near :]
        return there, apart(bank, there, rows)

    def score(asked: np.ndarray) -> dict[str, np.ndarray]:
        rows = unit(asked)
        similarity = rows.astype(np.float32) @ bank.T  # (b, n)
        near = min(len(bank), N_NEAR)
        there, distance = nearest(similarity, rows, near)
        found = np.empty((len(classes), len(rows)))
        for i, c in enumerate(classes):
            gone = said == c
            k = min(NEIGHBOUR, int((~gone).sum()))
            lost = gone[there]
            found[i] = np.partition(np.where(lost, np.inf, distance), k - 1, axis=1)[:, k - 1]
            again = np.flatnonzero(near - lost.sum(axis=1) < min(k + MARGIN, int((~gone).sum())))
            if len(again):  # the nearest are mostly of this class
                rest = np.where(gone, -np.inf, similarity[again])
                measured = nearest(rest, rows[again], min(len(bank), k + MARGIN))
                far = np.where(gone[measured[0]], np.inf, measured[1])
                found[i, again] = np.partition(far, k - 1, axis=1)[:, k - 1]
        return {"knn.v1": found}

    return score


@dataclass(frozen=True)
class _Less:
    """The inverse of a covariance from which rows were taken, in axes found before: ``diag(inverse) + more' more``."""

    inverse: np.ndarray  # (d,)
    more: np.ndarray  # (r, d)


@dataclass(frozen=True)
class _Near:
    """That inverse, and means (m, d) in the same axes: minus twice the one times each, and their squared lengths."""

    less: _Less
    towards: np.ndarray  # (m, d)
    lengths: np.ndarray  # (m,)

    @classmethod
    def of(cls, less: _Less, means: np.ndarray) -> _Near:
        """For these means."""
        product = means * less.inverse + (means @ less.more.T) @ less.more
        return cls(less, -2.0 * product, (means * product).sum(axis=1))


class _Axes:
    """The axes of the scatter of `rows` (n, d), which are centred."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.scatter = rows.T @ rows
        values, self.vectors = np.linalg.eigh(self.scatter)
        self.values = np.maximum(values, 0.0)

    def less(self, away: np.ndarray, fourth: float, n: int) -> _Less | None:
        """Without the rows `away` (r, d), when n are left whose lengths' fourth powers sum to `fourth`.

        None where directions that are hardly used would be held back, which this cannot.
        """
        sample = (self.scatter - away.T @ away) / n
        share, variance = shrinkage(sample, fourth, n)
        kept = (1.0 - share) / n
        diagonal = kept * self.values + share * variance
        if not share * variance >= FLOOR * diagonal[-1]:
            return None
        rotated = np.sqrt(kept) * away @ self.vectors  # (r, d)
        inside = np.eye(len(away)) - (rotated / diagonal) @ rotated.T
        try:
            root = cholesky(inside, lower=True)
        except LinAlgError:  # what was taken away is nearly all there was in some direction
            return None
        more = np.asarray(solve_triangular(root, rotated / diagonal, lower=True))
        return _Less(1.0 / diagonal, more)


def _gaussian(x: np.ndarray, said: np.ndarray, classes: Sequence[int]) -> Scorer | None:
    """As `gaussian.MAHALANOBIS` and `gaussian.RMDS`; None where they have to be fitted one by one."""
    present = np.unique(said)
    centre = x.mean(axis=0)
    means = np.stack([x[said == c].mean(axis=0) for c in present])  # (classes seen, d)
    within, whole = _Axes(x - means[np.searchsorted(present, said)]), _Axes(x - centre)
    lengths = (within.rows**2).sum(axis=1) ** 2
    near: list[_Near] = []
    far: list[_Near] = []
    for c in classes:
        gone, n = said == c, int((said != c).sum())
        moved = whole.rows[~gone].mean(axis=0)
        own = within.less(within.rows[gone], float(lengths[~gone].sum()), n)
        away = np.concatenate([whole.rows[gone], np.sqrt(n) * moved[None]])
        every = whole.less(away, float((((whole.rows[~gone] - moved) ** 2).sum(axis=1) ** 2).sum()), n)
        if own is None or every is None:
            return None
        near.append(_Near.of(own, (means[present != c] - centre) @ within.vectors))
        far.append(_Near.of(every, moved[None] @ whole.vectors))

    def score(asked: np.ndarray) -> dict[str, np.ndarray]:
        rows = asked - centre
        nearest = _squares(rows @ within.vectors, near)
        return {"mahalanobis.v1": nearest, "rmds.v1": nearest - _squares(rows @ whole.vectors, far)}

    return score


def _squares(rows: np.ndarray, classes: Sequence[_Near]) -> np.ndarray:
    """Squared distances (classes, b) of rows in the axes to the nearest of the means of each."""
    found = np.stack([near.less.inverse for near in classes]) @ (rows**2).T  # (classes, b), about the axes' origin
    for i, near in enumerate(classes):
        found[i] += ((near.less.more @ rows.T) ** 2).sum(axis=0)
        found[i] += (rows @ near.towards.T + near.lengths).min(axis=1)
    return np.asarray(np.maximum(0.0, found))
