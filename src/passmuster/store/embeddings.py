"""Embedding matrices, computed once per graph, engine and preprocessing, and read by everything after.

One SQLite index names the row of each item content; rows lie in a flat float32 file that is only ever appended to, so a
killed process leaves at most some unreferenced rows. Processes that fill one cache append one after the other: whoever
holds the index's write lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from passmuster.core.progress import Progress, Silent

BLOCK_ROWS = 1_024
LOCK_TIMEOUT_S = 30.0


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
        db = sqlite3.connect(self.folder / "rows.db", timeout=LOCK_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("CREATE TABLE IF NOT EXISTS rows (blob TEXT PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID")
            known = dict(db.execute("SELECT blob, row FROM rows"))
            first: dict[str, int] = {}
            for position, blob in enumerate(blobs):
                if blob not in known:
                    first.setdefault(blob, position)
            missing = list(first.values())
            blocks = [missing[i : i + BLOCK_ROWS] for i in range(0, len(missing), BLOCK_ROWS)]
            for block in (progress or Silent()).track(blocks, "embedding", total=len(blocks)):
                self._append(db, [blobs[i] for i in block], np.asarray(compute(block), dtype=np.float32), known)
            return self._read([known[blob] for blob in blobs])
        finally:
            db.close()

    def cached(self, blobs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Positions (m,) in `blobs` of the contents that are cached, and their embeddings (m, d); computes nothing."""
        if not (self.folder / "rows.db").is_file():
            return np.zeros(0, np.int64), self._read([])
        db = sqlite3.connect(self.folder / "rows.db", timeout=30)
        try:
            known = dict(db.execute("SELECT blob, row FROM rows"))
        finally:
            db.close()
        found = [i for i, blob in enumerate(blobs) if blob in known]
        return np.array(found, dtype=np.int64), self._read([known[blobs[i]] for i in found])

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
            db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", new.items())
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        known.update(new)

    def _read(self, rows: list[int]) -> np.ndarray:
        if not rows:
            width = self.folder / "width"
            return np.zeros((0, int(width.read_text()) if width.exists() else 0), dtype=np.float32)
        return np.asarray(self._matrix("r")[rows])

    def _matrix(self, mode: Literal["r", "r+"]) -> np.memmap:
        """Every whole row ``(n, d)``; another process may be in the middle of the next."""
        path, width = self.folder / "matrix.f32", int((self.folder / "width").read_text())
        return np.memmap(path, dtype=np.float32, mode=mode, shape=(path.stat().st_size // (4 * width), width))

    def forget(self, blobs: Sequence[str]) -> int:
        """Overwrite with zeros the rows of these contents and drop them from the index; returns how many there were."""
        db = sqlite3.connect(self.folder / "rows.db", timeout=LOCK_TIMEOUT_S)
        try:
            found = [
                (blob, row[0])
                for blob in blobs
                if (row := db.execute("SELECT row FROM rows WHERE blob = ?", (blob,)).fetchone())
            ]
            if found:
                matrix = self._matrix("r+")
                matrix[[row for _, row in found]] = 0.0
                matrix.flush()
                with db:
                    db.executemany("DELETE FROM rows WHERE blob = ?", [(b,) for b, _ in found])
            return len(found)
        finally:
            db.close()
