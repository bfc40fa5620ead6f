"""Embedding matrices, computed once per graph, engine and preprocessing, and read by everything after.

One SQLite index names the row of each item content, in the order of the rows, so that it grows at its end only: ordered
by content, a million rows would write each of its pages hundreds of times. Rows lie in a flat float32 file that is only
ever appended to, so a killed process leaves at most some unreferenced rows. Processes that fill one cache append one
after the other: whoever holds the index's write lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from io import FileIO
from itertools import pairwise
from pathlib import Path

import numpy as np

from passmuster.core.errors import IntegrityError
from passmuster.core.matrix import Matrix
from passmuster.core.progress import Progress, Silent

BLOCK_ROWS = 1_024
IN_MEMORY_BYTES = 256 * 2**20  # of one matrix
LOCK_TIMEOUT_S = 30.0
REMEDY = "remove .muster/embeddings: what is needed is computed again"


class EmbeddingCache:
    """Rows of width `d` for one key (see `cache_key` in runtime); `root` is the project's embedding folder."""

    def __init__(self, root: Path, key: str) -> None:
        self.folder = root / key
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(
        self,
        blobs: Sequence[str],
        compute: Callable[[Sequence[int]], np.ndarray],
        *,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Embeddings ``(n, d)`` float32 of the items whose content digests are `blobs`.

        `compute` receives positions into `blobs` that are not cached yet, at most `BLOCK_ROWS` at a time, and returns
        ``(len(positions), d)``.
        """
        return self._read(self._filled(blobs, compute, progress))

    def open(
        self,
        blobs: Sequence[str],
        compute: Callable[[Sequence[int]], np.ndarray],
        *,
        progress: Progress | None = None,
    ) -> Matrix:
        """What `get` gives; beyond `IN_MEMORY_BYTES` the rows stay on disk and are read as they are asked for."""
        rows = self._filled(blobs, compute, progress)
        if not len(rows) or 4 * len(rows) * int((self.folder / "width").read_text()) <= IN_MEMORY_BYTES:
            return self._read(rows)
        return Rows(self.folder / "matrix.f32", int((self.folder / "width").read_text()), rows)

    def _filled(
        self, blobs: Sequence[str], compute: Callable[[Sequence[int]], np.ndarray], progress: Progress | None
    ) -> np.ndarray:
        """The row (n,) of each content, those that were missing computed."""
        db = sqlite3.connect(self.folder / "rows.db", timeout=LOCK_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("CREATE TABLE IF NOT EXISTS rows (row INTEGER PRIMARY KEY, blob TEXT NOT NULL)")
            known = dict(db.execute("SELECT blob, row FROM rows"))
            first: dict[str, int] = {}
            for position, blob in enumerate(blobs):
                if blob not in known:
                    first.setdefault(blob, position)
            missing = list(first.values())
            blocks = [missing[i : i + BLOCK_ROWS] for i in range(0, len(missing), BLOCK_ROWS)]
            for block in (progress or Silent()).track(blocks, "embedding", total=len(blocks)):
                self._append(db, [blobs[i] for i in block], np.asarray(compute(block), dtype=np.float32), known)
            return np.fromiter((known[blob] for blob in blobs), np.int64, len(blobs))
        finally:
            db.close()

    def cached(self, blobs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Positions (m,) in `blobs` of the contents that are cached, and their embeddings (m, d); computes nothing."""
        if not (self.folder / "rows.db").is_file():
            return np.zeros(0, np.int64), self._read(np.zeros(0, np.int64))
        db = sqlite3.connect(self.folder / "rows.db", timeout=30)
        try:
            known = dict(db.execute("SELECT blob, row FROM rows"))
        finally:
            db.close()
        found = [i for i, blob in enumerate(blobs) if blob in known]
        return np.array(found, dtype=np.int64), self._read(np.array([known[blobs[i]] for i in found], dtype=np.int64))

    def _append(self, db: sqlite3.Connection, blobs: list[str], rows: np.ndarray, known: dict[str, int]) -> None:
        """Add rows and their places, both under the index's write lock: while it is held, the end of the file stays.

        The rows are on the disk before the index names them. `db` commits only what is said here.
        """
        row_bytes = 4 * rows.shape[1]
        db.execute("BEGIN IMMEDIATE")
        try:
            if not (self.folder / "width").exists():  # before the index names a row, so no reader sees it half written
                (self.folder / "width").write_text(str(rows.shape[1]))
            with (self.folder / "matrix.f32").open("ab") as file:
                torn = file.tell() % row_bytes  # a killed writer may have left part of a row
                if torn:
                    file.truncate(file.tell() - torn)
                    file.seek(0, 2)
                start = file.tell() // row_bytes
                file.write(np.ascontiguousarray(rows).tobytes())
            new = {blob: start + i for i, blob in enumerate(blobs)}
            db.executemany("INSERT OR REPLACE INTO rows (blob, row) VALUES (?, ?)", new.items())
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        known.update(new)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            width = self.folder / "width"
            return np.zeros((0, int(width.read_text()) if width.exists() else 0), dtype=np.float32)
        return Rows(self.folder / "matrix.f32", int((self.folder / "width").read_text()), rows)[:]

    def _matrix(self) -> np.memmap:
        """Every whole row ``(n, d)``; another process may be in the middle of the next."""
        path, width = self.folder / "matrix.f32", int((self.folder / "width").read_text())
        return np.memmap(path, dtype=np.float32, mode="r+", shape=(path.stat().st_size // (4 * width), width))

    def forget(self, blobs: Sequence[str]) -> int:
        """Overwrite with zeros the rows of these contents and drop them from the index; returns how many there were."""
        db = sqlite3.connect(self.folder / "rows.db", timeout=LOCK_TIMEOUT_S)
        try:
            unwanted = set(blobs)
            found = [(row, blob) for row, blob in db.execute("SELECT row, blob FROM rows") if blob in unwanted]
            if found:
                matrix = self._matrix()
                matrix[[row for row, _ in found]] = 0.0
                matrix.flush()
                with db:
                    db.executemany("DELETE FROM rows WHERE row = ?", [(row,) for row, _ in found])
            return len({blob for _, blob in found})
        finally:
            db.close()


class Rows:
    """Some rows of a flat float32 file, as a `core.matrix.Matrix`: read, not mapped, so that they leave memory again.

    Parameters
    ----------
    path : the file
    width : numbers in a row
    rows : (n,) int64, which rows of the file these are
    """

    def __init__(self, path: Path, width: int, rows: np.ndarray) -> None:
        self._path, self._width, self._rows = path, width, rows

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self._rows), self._width

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, positions: slice | np.ndarray, /) -> np.ndarray:
        """Rows ``(m, width)`` float32: those of the file that follow each other are read at once."""
        wanted = self._rows[positions]
        order = np.argsort(wanted, kind="stable")
        found = np.empty((len(wanted), self._width), np.float32)
        edges = np.flatnonzero(np.diff(wanted[order], prepend=-2, append=-2) != 1)  # a row asked for twice is a run
        in_file = np.empty_like(found) if (order[1:] < order[:-1]).any() else found
        with self._path.open("rb", buffering=0) as file:
            for start, end in pairwise(edges.tolist()):
                file.seek(4 * self._width * int(wanted[order[start]]))
                _read_into(file, in_file[start:end].view(np.uint8).reshape(-1).data)
        if in_file is not found:
            found[order] = in_file
        return found


def _read_into(file: FileIO, part: memoryview) -> None:
    """Fill `part`; one read may give less than it was asked for."""
    while len(part):
        n_bytes = file.readinto(part)
        if not n_bytes:
            raise IntegrityError("embeddings.cut_off", "the file of embeddings ends early", next=REMEDY)
        part = part[n_bytes:]
