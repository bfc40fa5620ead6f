"""The few largest of each row, held against sorting."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.largest import largest


@pytest.mark.parametrize("n", [1, 5, 99, 100, 101, 119, 120, 121, 1_003])
@pytest.mark.parametrize("k", [1, 5])
def test_the_columns_are_those_that_sorting_finds(n: int, k: int) -> None:
    rows = np.random.default_rng(n).normal(size=(7, n)).astype(np.float32)
    k = min(k, n)
    expected = np.argsort(rows, axis=1)[:, n - k :]
    assert np.array_equal(np.sort(largest(rows, k), axis=1), np.sort(expected, axis=1))


@pytest.mark.parametrize("n", [40, 400, 1_003])
def test_of_equal_and_infinite_numbers_the_largest_are_found(n: int) -> None:
    rows = np.random.default_rng(n).integers(0, 4, size=(50, n)).astype(np.float64)
    rows[:, ::3] = -np.inf
    found = np.take_along_axis(rows, largest(rows, 6), axis=1)
    assert np.array_equal(np.sort(found, axis=1), np.sort(rows, axis=1)[:, n - 6 :])
    assert all(len(set(row)) == 6 for row in largest(rows, 6).tolist())


def test_no_rows() -> None:
    assert largest(np.empty((0, 500)), 5).shape == (0, 5)
