"""What a novelty detector is. Detectors are fitted once, kept as arrays, and scored with numpy alone.

Every score grows with strangeness: out-of-distribution is the positive class. A row with a value that is not finite
scores infinity, so that a broken item is never taken for an ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import DataError

Arrays = dict[str, np.ndarray]
Work = Callable[[Mapping[str, np.ndarray], int, int], float]

MAX_BANK = 10_000  # rows a neighbour search keeps: Sun et al. 2022 (table 4) lose nothing with 1 % of a million
BLOCK = 512  # rows scored at once: bounds the memory of a distance matrix


@dataclass(frozen=True)
class Detector:
    """One way to tell strange items from ordinary ones.

    Parameters
    ----------
    fit : embeddings ``(n, d)`` and logits ``(n, c)`` of ordinary items, to the arrays that `score` needs; raises
        `DataError` (``novelty.no_items``, ``novelty.not_finite``)
    score : those arrays, embeddings ``(m, d)`` and logits ``(m, c)``, to ``(m,)`` float64; higher is stranger
    uses : what it looks at, "embeddings", "logits" or "both"
    summary : one line for reports
    work : those arrays, d and c, to multiplications for one item; memory is what the arrays hold

    Examples
    --------
    >>> from passmuster.metrics.novelty import detectors
    >>> rng = np.random.default_rng(0)
    >>> ordinary, logits = rng.normal(5.0, 1.0, (200, 3)), rng.normal(size=(200, 2))
    >>> knn = detectors["knn.v1"]
    >>> arrays = knn.fit(ordinary, logits)
    >>> usual, strange = knn.score(arrays, np.array([[5.0, 5.0, 5.0], [-5.0, 5.0, 5.0]]), np.zeros((2, 2)))
    >>> bool(strange > usual)
    True
    """

    fit: Callable[[np.ndarray, np.ndarray], Arrays]
    score: Callable[[Mapping[str, np.ndarray], np.ndarray, np.ndarray], np.ndarray]
    uses: str
    summary: str
    work: Work

    @property
    def needs_embeddings(self) -> bool:
        return self.uses != "logits"

    @property
    def needs_exclusive_classes(self) -> bool:
        """Whether it reads logits as those of classes that exclude each other."""
        return self.uses != "embeddings"


def checked(rows: np.ndarray, what: str) -> np.ndarray:
    """`rows` (n, d), which are not empty and finite; an error otherwise."""
    rows = np.asarray(rows)
    if rows.ndim != 2 or not rows.shape[0] or not rows.shape[1]:
        raise DataError(
            "novelty.no_items", f"a novelty detector needs {what} of ordinary items, (n, d)", value=rows.shape
        )
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise DataError("novelty.not_finite", f"the {what} of an ordinary item are not finite", where=f"row {bad}")
    return rows


def rowwise(score: Callable[..., np.ndarray], *sides: np.ndarray) -> np.ndarray:
    """`score` of rows of every side in blocks, in float64; infinity where a row is not finite."""
    wide = [np.asarray(side, dtype=np.float64) for side in sides]
    found = np.full(len(wide[0]), np.inf)
    finite = np.ones(len(found), dtype=bool)
    for side in wide:
        finite &= np.isfinite(side).all(axis=1) if side.size else False
    if finite.all():
        for start in range(0, len(found), BLOCK):
            rows = slice(start, start + BLOCK)
            found[rows] = score(*(side[rows] for side in wide))
        return found
    good = np.flatnonzero(finite)
    for start in range(0, len(good), BLOCK):
        block = good[start : start + BLOCK]
        found[block] = score(*(side[block] for side in wide))
    return found


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, in float64; a row of zeros stays so."""
    rows = np.asarray(rows, dtype=np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def log_sum_exp(rows: np.ndarray) -> np.ndarray:
    """Of each row, (n,)."""
    top = rows.max(axis=1)
    return np.asarray(top + np.log(np.exp(rows - top[:, None]).sum(axis=1)))
