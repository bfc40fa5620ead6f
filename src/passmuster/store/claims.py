"""Which item which process is asking about, so that two people who label at once are not asked the same.

Nothing here is a record: a claim ends with the process that made it, however it ends (docs/why/004), and losing all of
them costs no more than an item asked twice.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from passmuster.core.disk import took_no_more
from passmuster.core.errors import IntegrityError, ResourceError
from passmuster.store.blobs import disk_failed
from passmuster.store.locks import is_held

STALE_S = 3600.0  # a lock file as old as this, held by nobody, is of a process that was killed
_SCHEMA = "CREATE TABLE IF NOT EXISTS claims (item TEXT PRIMARY KEY, session TEXT NOT NULL) WITHOUT ROWID"


class Claims:
    """The claims of one session, in a folder that all sessions of the project share. Not for several threads at once.

    Raises
    ------
    ResourceError
        ``disk.full``; ``claims.write`` when the folder takes nothing for another reason.
    IntegrityError
        ``claims.damaged``, of every method.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> ana, ben = Claims(folder), Claims(folder)
    >>> ana.take("a"), ben.take("a"), ben.take("b"), ana.others()
    (True, False, True, {'b'})
    >>> ana.close()
    >>> ben.take("a")
    True
    >>> ben.close()
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._session = folder, secrets.token_hex(8)
        self._path = folder / "claims.db"
        with _named_errors(self._path), contextlib.ExitStack() as opened:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._remove_stale()
            lock = self._lock(self._session)
            opened.callback(lock.unlink, missing_ok=True)
            self._alive = sqlite3.connect(lock, timeout=0, isolation_level=None, check_same_thread=False)
            opened.callback(self._alive.close)
            self._alive.execute("BEGIN EXCLUSIVE")
            self._db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            opened.callback(self._db.close)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")  # a claim need not survive a power cut
            self._db.execute(_SCHEMA)
            opened.pop_all()  # all is well: `close` closes them

    def take(self, item: str) -> bool:
        """Claim an item; False when another process that is alive has it."""
        with _named_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                found = self._db.execute("SELECT session FROM claims WHERE item = ?", (item,)).fetchone()
                free = found is None or found[0] == self._session or not self._is_alive(found[0])
                if free:
                    self._db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (item, self._session))
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
        return free

    def give_back(self, items: Collection[str]) -> None:
        """Claim these no longer."""
        with _named_errors(self._path):
            rows = [(item, self._session) for item in items]
            self._db.executemany("DELETE FROM claims WHERE item = ? AND session = ?", rows)

    def others(self) -> set[str]:
        """What other processes that are alive have claimed."""
        with _named_errors(self._path):
            query = "SELECT item, session FROM claims WHERE session != ?"
            rows = self._db.execute(query, (self._session,)).fetchall()
        alive = {session for session in {session for _, session in rows} if self._is_alive(session)}
        return {item for item, session in rows if session in alive}

    def close(self) -> None:
        """Give everything back."""
        try:
            with contextlib.suppress(sqlite3.Error):  # if the disk is full: what is not alive has no claims
                self._db.execute("DELETE FROM claims WHERE session = ?", (self._session,))
        finally:
            self._db.close()
            self._alive.close()
            self._lock(self._session).unlink(missing_ok=True)

    def _lock(self, session: str) -> Path:
        return self._folder / f"{session}.lock.db"

    def _is_alive(self, session: str) -> bool:
        return is_held(self._lock(session))

    def _remove_stale(self) -> None:
        for path in self._folder.glob("*.lock.db"):
            with contextlib.suppress(OSError):  # another process removed it just now
                if time.time() - path.stat().st_mtime > STALE_S and not is_held(path):
                    path.unlink()


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        full = disk_failed(str(error)) or took_no_more(error)
        raise ResourceError(
            "disk.full" if full else "claims.write",
            f"it could not be noted which item is being asked: {error}",
            where=path,
            next="free some disk, then muster label" if full else None,
        ) from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError(
            "claims.damaged", f"the note of which item is being asked is damaged: {error}", where=path,
            next="end every muster label and remove this file: it holds nothing that is needed later",
        ) from error  # fmt: skip
