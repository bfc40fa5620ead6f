"""Traffic: what was asked and answered, kept in segments of its own, one line of segments per server process.

A record that `TrafficWriter.append` returned for is on disk: kill -9 and a power cut do not lose it. Threads of one
process commit together. When a segment has grown to its size, the next begins; old ones are only read
(`passmuster.store.traffic_reader`), and lose their inputs when retention has passed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from passmuster.core.errors import MusterError, ResourceError, UsageError
from passmuster.store.traffic_segments import (
    SCHEMA,
    TRIAL,
    Record,
    Row,
    has_begun,
    named_errors,
    open_segment,
    parse_name,
    segment_names,
    to_row,
)

SEGMENT_BYTES = 64 * 2**20
TRIAL_BYTES = 65_536  # more than a small record, so that the disk has room for more than one


class TrafficWriter:
    """Appends records durably; any number of threads may call `append`, and their records share commits.

    Parameters
    ----------
    folder : Path
        The project's traffic folder.
    worker : str
        Name of this line of segments: letters, digits and ``_``. One writer at a time may hold it.
    segment_bytes : int
        Size at which the next segment begins.

    Raises
    ------
    ResourceError
        ``traffic.worker_taken`` when another process writes under this name.

    Examples
    --------
    >>> import tempfile
    >>> from passmuster.core.records import FeedbackRecord
    >>> from passmuster.store.traffic_reader import TrafficReader
    >>> folder = Path(tempfile.mkdtemp())
    >>> writer = TrafficWriter(folder, "w0")
    >>> writer.append([FeedbackRecord("p1", "spam", "ana", "2026-01-01T00:00:00+00:00")])
    >>> writer.close()
    >>> TrafficReader(folder).read("", 10)[0]
    [FeedbackRecord(prediction='p1', label='spam', who='ana', at='2026-01-01T00:00:00+00:00')]
    """

    def __init__(self, folder: Path, worker: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        if not worker.replace("_", "").isalnum():
            raise UsageError("traffic.worker", "a worker's name has letters, digits and _ only", value=worker)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.worker, self._segment_bytes = folder, worker, segment_bytes
        self._lock_db = _hold(folder / f"{worker}.lock")
        numbers = [number for name, number in map(parse_name, segment_names(folder)) if name == worker]
        self._number = max(numbers, default=1)
        self._db: sqlite3.Connection | None = None
        self._pending: list[_Ticket] = []
        self._pending_lock, self._commit_lock = threading.Lock(), threading.Lock()

    def append(self, records: Sequence[Record]) -> None:
        """Write records, in order; returns when they are on disk. All of them are kept, or none.

        Raises
        ------
        ResourceError
            ``disk.full`` or ``traffic.write``; none of these records was kept, and a later call may succeed.
        IntegrityError
            ``traffic.damaged``, naming the segment.
        """
        if not records:
            return
        ticket = _Ticket([to_row(record) for record in records])
        with self._pending_lock:
            self._pending.append(ticket)
        with self._commit_lock:  # whoever comes first commits for all who wait
            if not ticket.done:
                with self._pending_lock:
                    batch, self._pending = self._pending, []
                self._commit_all(batch)
        if ticket.error is not None:
            raise ticket.error

    def try_disk(self) -> None:
        """Find out whether the disk takes records: write one and take it back, in a transaction of its own.

        Raises
        ------
        ResourceError, IntegrityError
            As `append`.
        """
        with self._commit_lock, named_errors(self._path):
            self._commit([(TRIAL, "", "", b"", bytes(TRIAL_BYTES))])
            assert self._db is not None
            self._db.execute(f"DELETE FROM records WHERE kind = {TRIAL}")

    def _commit_all(self, batch: list[_Ticket]) -> None:
        error: BaseException | None = None
        try:
            with named_errors(self._path):
                self._commit([row for ticket in batch for row in ticket.rows])
        except MusterError as problem:
            error = problem
        except BaseException as problem:
            error = problem
            raise
        finally:
            for ticket in batch:
                ticket.done, ticket.error = True, error

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.worker}-{self._number:06d}.db"

    def _commit(self, rows: list[Row]) -> None:
        db = self._segment()
        try:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO records (kind, id, at, record, input) VALUES (?, ?, ?, ?, ?)", rows)
            db.execute("COMMIT")
        except BaseException:
            # A new connection recovers the log from what is on disk, whatever the failed one still holds.
            self._db = None
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                db.close()
            raise

    def _segment(self) -> sqlite3.Connection:
        """The connection to the present segment, or to the next when this one has its size."""
        if self._db is not None:
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            if pages * self._db.execute("PRAGMA page_size").fetchone()[0] < self._segment_bytes:
                return self._db
            self._db.close()
            self._db, self._number = None, self._number + 1
        self._db = open_segment(self._path)
        self._db.executescript(SCHEMA)
        return self._db

    def close(self) -> None:
        """Close the segment and give the worker's name back."""
        with self._commit_lock:
            if self._db is not None:
                self._db.close()
                self._db = None
            self._lock_db.close()


def expire_inputs(folder: Path, *, keep_days: float, now: str) -> int:
    """Overwrite the inputs of predictions older than `keep_days` at the time `now` (ISO); returns how many."""
    before = (datetime.fromisoformat(now) - timedelta(days=keep_days)).isoformat(timespec="microseconds")
    n_expired = 0
    for name in segment_names(folder):
        path = folder / f"{name}.db"
        with named_errors(path):
            db = open_segment(path)
            try:
                if not has_begun(db):
                    continue
                while n := db.execute(
                    "UPDATE records SET input = NULL WHERE n IN"
                    " (SELECT n FROM records WHERE input IS NOT NULL AND at < ? LIMIT 1000)",
                    (before,),
                ).rowcount:
                    n_expired += n
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                db.close()
    return n_expired


class _Ticket:
    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.done = False
        self.error: BaseException | None = None


def _hold(path: Path) -> sqlite3.Connection:
    """A lock that ends with the process, however it ends."""
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        db.close()
        if "locked" not in str(error):  # nobody holds it: the disk is full, or it cannot be written
            with named_errors(path):
                raise
        raise ResourceError(
            "traffic.worker_taken", "another process writes traffic under this name", value=path.stem, where=path
        ) from error
    return db
