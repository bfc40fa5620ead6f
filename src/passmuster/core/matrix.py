"""Rows of numbers that may lie in memory or on disk: what embeddings of a million items are to those who read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

BLOCK_ROWS = 8_192


class Matrix(Protocol):
    """A numpy array (n, d), or anything that gives its rows as one: by a slice, or by an array of positions."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray: ...


def blocks_of(matrix: Matrix, rows: int = BLOCK_ROWS) -> Iterator[np.ndarray]:
    """The rows in their order, so many at a time.

    >>> [len(block) for block in blocks_of(np.zeros((5, 2)), 2)]
    [2, 2, 1]
    """
    for start in range(0, len(matrix), rows):
        yield matrix[start : start + rows]


def mean_and_square(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each column (d,), and of its squares (d,), in float64; without any copy of the whole.

    >>> mean, square = mean_and_square(np.array([[1.0], [3.0]]))
    >>> mean.tolist(), square.tolist()
    ([2.0], [5.0])
    """
    total, squares = np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1])
    for block in blocks_of(matrix):
        exact = block.astype(np.float64)
        total += exact.sum(axis=0)
        squares += np.einsum("nd,nd->d", exact, exact)
    n = max(1, len(matrix))
    return total / n, squares / n
