"""Raw bytes of items, by SHA-256, in one SQLite file: sixty thousand small images are one file, not sixty thousand.

Only `Blobs.create` makes the file: a store that was deleted is told as gone, not found empty. Deleted bytes are
overwritten (``secure_delete``), because forgetting a person is a promise.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import IntegrityError, NotFoundError, ResourceError
from passmuster.store.readonly import is_read_only, read_only_uri

N_AT_ONCE = 256  # contents removed in one transaction


def disk_failed(detail: str) -> bool:
    """Whether SQLite's words mean that the disk took no more; in WAL mode a full disk often shows as an I/O error.

    >>> disk_failed("database or disk is full"), disk_failed("disk I/O error"), disk_failed("no such table")
    (True, True, False)
    """
    return "disk is full" in detail or "disk I/O error" in detail


class Blobs:
    """Content-addressed bytes.

    Examples
    --------
    >>> import tempfile
    >>> blobs = Blobs.create(Path(tempfile.mkdtemp()) / "blobs.db")
    >>> name = blobs.put_many([b"hello"])[0]
    >>> blobs.get(name)
    b'hello'
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._reserve = path.with_suffix(".reserve")
        self._begun = path.with_suffix(".begun")  # there while contents are put in that no item refers to yet
        self._read_only = read_only or is_read_only(path)

    @classmethod
    def create(cls, path: Path) -> Blobs:
        """Make an empty blob store; one that is there stays as it is."""
        blobs = cls(path)
        with closing(blobs._connect(may_create=True)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS blobs (digest TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID")
        return blobs

    def _connect(self, *, may_create: bool = False) -> sqlite3.Connection:
        if not may_create and not self.path.is_file():
            raise IntegrityError(
                "blobs.gone", "the blob store is gone", where=self.path, next="restore it from a backup"
            )
        mode = "rwc" if may_create else "rw"
        db: sqlite3.Connection | None = None
        try:
            if self._read_only:
                return sqlite3.connect(read_only_uri(self.path), uri=True)
            db = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode={mode}", timeout=30, uri=True)
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a new file; `keep_only` gives its space back
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA secure_delete=ON")
        except sqlite3.DatabaseError as error:
            if db is not None:
                db.close()
            if disk_failed(str(error)):
                raise self._not_written(error) from error
            raise self._damaged(error) from error
        return db

    def put_many(self, contents: Iterable[bytes]) -> list[str]:
        """Store each content once; return digests in order. All or none are kept."""
        named = [(sha256_hex(data), data) for data in contents]
        in_order = sorted(named, key=lambda row: row[0])  # so that each page of the tree is written once
        db = self._connect()
        try:
            with db:
                db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", in_order)
        except sqlite3.OperationalError as error:
            raise (self._damaged if "no such table" in str(error) else self._not_written)(error) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error
        finally:
            db.close()
        return [digest for digest, _ in named]

    def _damaged(self, error: sqlite3.DatabaseError) -> IntegrityError:
        return IntegrityError(
            "blobs.damaged",
            f"the blob store cannot be read: {error}",
            where=self.path,
            next="restore it from a backup",
        )

    def _not_written(self, error: sqlite3.DatabaseError | OSError) -> ResourceError:
        return ResourceError(
            "disk.full" if isinstance(error, OSError) or disk_failed(str(error)) else "blobs.write",
            f"the blob store took no more, or had no room to be opened: {error}; what was there is as it was",
            where=self.path,
            next="free some disk and repeat the command",
        )

    def get(self, digest: str) -> bytes:
        """The bytes named `digest`."""
        return next(self.get_many([digest]))

    def get_many(self, digests: Sequence[str]) -> Iterator[bytes]:
        """The bytes of each digest, in order, streamed in blocks of 512.

        Raises
        ------
        NotFoundError
            ``blob.none`` when one is not there.
        IntegrityError
            ``blobs.damaged``.
        """
        db = self._connect()
        try:
            for start in range(0, len(digests), 512):
                block = digests[start : start + 512]
                marks = ",".join("?" * len(block))
                found = dict(db.execute(f"SELECT digest, data FROM blobs WHERE digest IN ({marks})", block))
                for digest in block:
                    if digest not in found:
                        raise NotFoundError(
                            "blob.none", "these bytes are not in the store", value=digest, where=self.path
                        )
                    yield found[digest]
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error
        finally:
            db.close()

    def count(self) -> int:
        """How many contents are kept; 0 when there is no store."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return 0
        with closing(self._connect()) as db, self._named_damage():
            return int(db.execute("SELECT count(*) FROM blobs").fetchone()[0])

    def each_digest(self) -> Iterator[tuple[str, str]]:
        """Of every content, the digest it is kept under and the SHA-256 that it has, in the file's order.

        Raises
        ------
        IntegrityError
            ``blobs.gone``, ``blobs.damaged``.
        """
        with closing(self._connect()) as db, self._named_damage():
            for digest, data in db.execute("SELECT digest, data FROM blobs"):
                yield digest, sha256_hex(data if isinstance(data, bytes) else str(data).encode())

    @contextmanager
    def _named_damage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def reserve(self, n_bytes: int) -> None:
        """Set so much disk aside (at least; it only grows), so that what is written next can be undone on a full disk.

        Raises
        ------
        ResourceError
            ``disk.full``.
        """
        try:
            with self._reserve.open("ab") as file:
                if n_bytes > file.tell():
                    _allocate(file, n_bytes)
        except OSError as error:
            self.release()
            raise self._not_written(error) from error

    def release(self) -> None:
        """Give back what `reserve` set aside."""
        self._reserve.unlink(missing_ok=True)

    def begin(self) -> bool:
        """Note that contents are put in before items refer to them; True where a process before was killed in it.

        Raises
        ------
        ResourceError
            ``disk.full``.
        """
        left = self._begun.exists()
        try:
            self._begun.touch()
        except OSError as error:
            raise self._not_written(error) from error
        return left

    def end(self) -> None:
        """Every content that was put in since `begin` is referred to, or was removed again."""
        self._begun.unlink(missing_ok=True)

    def unreferenced(self, referenced: Collection[str]) -> tuple[int, int]:
        """How many contents are not in `referenced`, and how many bytes they have."""
        with closing(self._connect()) as db, self._named_damage():
            sizes = db.execute("SELECT digest, length(data) FROM blobs")
            lost = [size for digest, size in sizes if digest not in referenced]
        return len(lost), sum(lost)

    def keep_only(self, referenced: Collection[str]) -> int:
        """Remove what is not in `referenced`, and give its space back to the disk; returns how many there were.

        Made for a full disk: it uses the room that `reserve` set aside, and freed pages are cut off instead of being
        overwritten, which would take as much again.

        Raises
        ------
        ResourceError
            ``disk.full`` when there is not even room for that.
        """
        self.release()
        try:
            with closing(self._connect()) as db:
                _shorten_log(db)
                db.execute("PRAGMA secure_delete=FAST")
                known = [digest for (digest,) in db.execute("SELECT digest FROM blobs")]
                unwanted = [(digest,) for digest in known if digest not in referenced]
                for start in range(0, len(unwanted), N_AT_ONCE):  # a long transaction would need a long log
                    with db:
                        block = unwanted[start : start + N_AT_ONCE]
                        db.executemany("DELETE FROM blobs WHERE digest = ?", block)
                    db.execute("PRAGMA incremental_vacuum").fetchall()
                    _shorten_log(db)
                _give_back(db)
        except sqlite3.OperationalError as error:
            raise self._not_written(error) from error
        return len(unwanted)

    def delete(self, digests: Iterable[str]) -> None:
        """Remove and overwrite these bytes."""
        db = self._connect()
        try:
            with db:
                db.executemany("DELETE FROM blobs WHERE digest = ?", [(d,) for d in digests])
        finally:
            db.close()


def _give_back(db: sqlite3.Connection) -> None:
    """Shrink a file whose pages could not be cut off one by one, and cut off the log."""
    n_pages, n_free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    if 2 * n_free > n_pages:  # a file from before pages could be cut off; the copy is smaller than what it frees
        db.execute("VACUUM")
    _shorten_log(db)


def _shorten_log(db: sqlite3.Connection) -> None:
    """Write the log into the file and cut it off; where the disk has no room for that, the log may still have some."""
    with contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _allocate(file: BinaryIO, n_bytes: int) -> None:
    """Make an open file `n_bytes` long, on the disk and not only in name."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    else:
        file.write(bytes(n_bytes - file.tell()))
