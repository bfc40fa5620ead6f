"""Rows in memory and on disk give the same numbers."""

from pathlib import Path

import numpy as np
import pytest

from passmuster.core.errors import IntegrityError
from passmuster.core.matrix import Matrix, blocks_of, mean_and_square
from passmuster.store import embeddings
from passmuster.store.embeddings import EmbeddingCache, Rows


def on_disk(folder: Path, table: np.ndarray, rows: np.ndarray) -> Matrix:
    (folder / "m.f32").write_bytes(table.astype(np.float32).tobytes())
    return Rows(folder / "m.f32", table.shape[1], rows)


def test_rows_on_disk_are_those_of_the_array(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(50, 3)).astype(np.float32)
    rows = np.array([4, 5, 6, 6, 49, 0, 1, 7])
    found = on_disk(tmp_path, table, rows)
    assert (found.shape, len(found)) == ((8, 3), 8)
    for part in (slice(None), slice(1, 5), slice(3, 3), np.array([7, 0, 0, 3]), np.zeros(0, np.int64)):
        np.testing.assert_array_equal(found[part], table[rows][part])


def test_means_do_not_depend_on_where_the_rows_lie(tmp_path: Path) -> None:
    table = np.random.default_rng(1).normal(3.0, 2.0, size=(20_000, 2)).astype(np.float32)
    mean, square = mean_and_square(on_disk(tmp_path, table, np.arange(20_000)))
    np.testing.assert_allclose(mean, table.mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(square - mean**2, table.var(axis=0, dtype=np.float64), rtol=1e-6)
    assert sum(len(block) for block in blocks_of(table)) == 20_000


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="ends early"):
        on_disk(tmp_path, np.ones((3, 2)), np.array([2, 3]))[:]


def test_a_large_matrix_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, table = [f"{i:064x}" for i in range(10)], np.arange(20, dtype=np.float32).reshape(10, 2)
    cache = EmbeddingCache(tmp_path, "k")
    small = cache.open(blobs, lambda positions: table[list(positions)])
    monkeypatch.setattr(embeddings, "IN_MEMORY_BYTES", 79)
    large = cache.open(blobs, lambda positions: table[list(positions)])
    assert isinstance(small, np.ndarray)
    assert isinstance(large, Rows)
    np.testing.assert_array_equal(large[:], small)


def test_what_is_forgotten_is_zero_and_unknown(tmp_path: Path) -> None:
    blobs, table = ["a", "b", "c"], np.ones((3, 2), np.float32)
    cache = EmbeddingCache(tmp_path, "k")
    cache.get(blobs, lambda positions: table[list(positions)])
    assert cache.forget(["b", "z"]) == 1
    assert cache.cached(blobs)[0].tolist() == [0, 2]
    assert np.fromfile(tmp_path / "k" / "matrix.f32", np.float32).tolist() == [1, 1, 0, 0, 1, 1]
