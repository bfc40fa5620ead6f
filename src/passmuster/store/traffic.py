"""Traffic: what was asked and answered, kept in segments of its own, one line of segments per server process.

A segment is an SQLite file ``<worker>-<number>.db`` (write-ahead log, ``synchronous=FULL``). A record that `append`
returned for is on disk: kill -9 and a power cut do not lose it. Threads of one process commit together. When a segment
has grown to its size, the next begins; old ones are only read, and lose their inputs when retention has passed.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import sqlite3
import threading
from collections.abc import Collection, Generator, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from passmuster.core.errors import IntegrityError, MusterError, ResourceError, UsageError
from passmuster.core.records import FeedbackRecord, TrafficRecord
from passmuster.store.readonly import is_read_only, read_only_uri

Record = TrafficRecord | FeedbackRecord

SEGMENT_BYTES = 64 * 2**20
_PREDICTION, _FEEDBACK, _TRIAL = 0, 1, 2
_TRIAL_BYTES = 65_536  # more than a small record, so that the disk has room for more than one
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
  n INTEGER PRIMARY KEY AUTOINCREMENT,  -- commit order
  kind INTEGER NOT NULL,
  id TEXT NOT NULL,                     -- of the prediction, for feedback too
  at TEXT NOT NULL,
  record BLOB NOT NULL,                 -- JSON, without the input
  input BLOB
);
CREATE INDEX IF NOT EXISTS records_id ON records (id, kind);
CREATE INDEX IF NOT EXISTS records_feedback ON records (n) WHERE kind = 1;
CREATE INDEX IF NOT EXISTS records_input ON records (at) WHERE input IS NOT NULL;
"""
_Row = tuple[int, str, str, bytes, bytes | None]


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
        numbers = [number for name, number in map(_parse, _segments(folder)) if name == worker]
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
        ticket = _Ticket([_to_row(record) for record in records])
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
        with self._commit_lock, _named_errors(self._path):
            self._commit([(_TRIAL, "", "", b"", bytes(_TRIAL_BYTES))])
            assert self._db is not None
            self._db.execute(f"DELETE FROM records WHERE kind = {_TRIAL}")

    def _commit_all(self, batch: list[_Ticket]) -> None:
        error: BaseException | None = None
        try:
            with _named_errors(self._path):
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

    def _commit(self, rows: list[_Row]) -> None:
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
        self._db = _open_segment(self._path)
        self._db.executescript(_SCHEMA)
        return self._db

    def close(self) -> None:
        """Close the segment and give the worker's name back."""
        with self._commit_lock:
            if self._db is not None:
                self._db.close()
                self._db = None
            self._lock_db.close()


class TrafficReader:
    """Reads what writers have committed, in any process, while they write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, cursor: str, limit: int, *, inputs: bool = False) -> tuple[list[Record], str]:
        """At most `limit` records after `cursor` ("" is the start), and the cursor after them.

        `input` of a prediction is None unless `inputs` is asked for: it may be large, and few readers look at it.

        Within a segment they come in commit order, none skipped and none twice, if each call gets the cursor of the one
        before; between segments the earlier time comes first.

        Raises
        ------
        IntegrityError
            ``traffic.damaged``, naming the segment; ``traffic.cursor`` for a cursor that is not one.
        """
        after = _parse_cursor(cursor)
        found: list[Record] = []
        with contextlib.ExitStack() as open_streams:
            streams = [
                open_streams.enter_context(contextlib.closing(self._stream(name, after.get(name, 0), inputs)))
                for name in _segments(self.folder)
            ]
            merged = heapq.merge(*streams, key=lambda entry: entry[:2])
            for _, name, (n, kind, _at, record, data) in itertools.islice(merged, limit):
                found.append(self._record(name, kind, record, data))
                after[name] = n
        return found, json.dumps(after, sort_keys=True)

    def _stream(self, name: str, after: int, inputs: bool) -> Generator[tuple[str, str, Any], None, None]:
        """A segment's rows in commit order, read as they are taken, each with the time by which segments are merged."""
        latest = ""
        query = f"SELECT n, kind, at, record, {_input(inputs)} FROM records WHERE n > ? AND kind != {_TRIAL} ORDER BY n"
        for row in self._rows(name, query, [(after,)]):
            latest = max(latest, row[2])  # a clock may step back; the commit order holds all the same
            yield latest, name, row

    def prediction(self, id: str) -> TrafficRecord | None:
        """The prediction of that id with its input, or None."""
        return self.predictions([id], inputs=True).get(id)

    def predictions(self, ids: Collection[str], *, inputs: bool = False) -> dict[str, TrafficRecord]:
        """Those of `ids` that exist, with their inputs if asked for; latest segments are searched first."""
        query = f"SELECT id, record, {_input(inputs)} FROM records WHERE id = ? AND kind = {_PREDICTION}"
        return {id: self._prediction(name, *row) for id, (name, row) in self._by_id(query, ids).items()}

    def recent(self, n: int, labelled_only: bool = True) -> list[tuple[TrafficRecord, str]]:
        """The latest `n` predictions, latest first, each with its latest feedback label ("" when it has none).

        With `labelled_only`, only predictions that have feedback. Inputs are left out: `predictions` gives them.
        """
        labels = self.labels()
        times: list[tuple[str, str]] = []
        if labelled_only:
            query = f"SELECT id, at FROM records WHERE id = ? AND kind = {_PREDICTION}"
            times += [(row[0], id) for id, (_, row) in self._by_id(query, labels).items()]
        else:
            query = f"SELECT at, id FROM records WHERE kind = {_PREDICTION} ORDER BY n DESC LIMIT ?"
            for name in _segments(self.folder):
                times += self._rows(name, query, [(n,)])
        latest = [id for _, id in heapq.nlargest(n, times)]
        records = self.predictions(latest)
        return [(records[id], labels.get(id, "")) for id in latest]

    def _by_id(self, query: str, ids: Collection[str]) -> dict[str, tuple[str, Sequence[Any]]]:
        """For those of `ids` that exist: the segment, and what `query` selects there after the id."""
        missing, found = set(ids), {}
        for name in reversed(_segments(self.folder)):
            if not missing:
                break
            for id, *row in self._rows(name, query, [(id,) for id in missing]):
                found[id] = (name, row)
            missing -= found.keys()
        return found

    def labels(self) -> dict[str, str]:
        """Prediction id to its latest feedback label, all segments together."""
        latest: dict[str, tuple[str, str]] = {}
        for name in _segments(self.folder):
            query = f"SELECT record FROM records WHERE kind = {_FEEDBACK} ORDER BY n"
            for (record,) in self._rows(name, query, [()]):
                feedback = self._feedback(name, record)
                if feedback.at >= latest.get(feedback.prediction, ("", ""))[0]:
                    latest[feedback.prediction] = (feedback.at, feedback.label)
        return {prediction: label for prediction, (_, label) in latest.items()}

    def _rows(self, name: str, query: str, parameters: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """What `query` finds in one segment for each of `parameters`; nothing in one that has just been created."""
        path = self.folder / f"{name}.db"
        address, is_uri = (read_only_uri(path), True) if is_read_only(path) else (str(path), False)
        with (
            _named_errors(path),
            contextlib.closing(sqlite3.connect(address, timeout=30, isolation_level=None, uri=is_uri)) as db,
        ):
            db.execute("PRAGMA query_only=ON")
            if not _has_begun(db):
                return
            for values in parameters:
                yield from db.execute(query, values)

    def _record(self, name: str, kind: int, record: bytes, data: bytes | None) -> Record:
        return self._feedback(name, record) if kind == _FEEDBACK else self._prediction(name, record, data)

    def _feedback(self, name: str, record: bytes) -> FeedbackRecord:
        with _named_errors(self.folder / f"{name}.db"):
            return msgspec.json.decode(record, type=FeedbackRecord)

    def _prediction(self, name: str, record: bytes, data: bytes | None) -> TrafficRecord:
        with _named_errors(self.folder / f"{name}.db"):
            plain = msgspec.json.decode(record)
            return TrafficRecord(**{**plain, "reasons": tuple(plain["reasons"])}, input=data)


def expire_inputs(folder: Path, *, keep_days: float, now: str) -> int:
    """Overwrite the inputs of predictions older than `keep_days` at the time `now` (ISO); returns how many."""
    before = (datetime.fromisoformat(now) - timedelta(days=keep_days)).isoformat(timespec="microseconds")
    n_expired = 0
    for name in _segments(folder):
        path = folder / f"{name}.db"
        with _named_errors(path):
            db = _open_segment(path)
            try:
                if not _has_begun(db):
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
    def __init__(self, rows: list[_Row]) -> None:
        self.rows = rows
        self.done = False
        self.error: BaseException | None = None


def _to_row(record: Record) -> _Row:
    if isinstance(record, FeedbackRecord):
        return _FEEDBACK, record.prediction, record.at, msgspec.json.encode(record), None
    plain = {name: getattr(record, name) for name in _PREDICTION_FIELDS}
    return _PREDICTION, record.id, record.at, msgspec.json.encode(plain), record.input


_PREDICTION_FIELDS = tuple(name for name in TrafficRecord.__dataclass_fields__ if name != "input")


def _input(wanted: bool) -> str:
    return "input" if wanted else "NULL"


def _has_begun(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone() is not None


def _segments(folder: Path) -> list[str]:
    """Names of the segments there are, without suffix, sorted."""
    return sorted(path.stem for path in folder.glob("*-??????.db"))


def _parse(name: str) -> tuple[str, int]:
    worker, _, number = name.rpartition("-")
    return worker, int(number)


def _parse_cursor(cursor: str) -> dict[str, int]:
    try:
        after = msgspec.json.decode(cursor, type=dict[str, int]) if cursor else {}
    except msgspec.DecodeError as error:
        raise IntegrityError("traffic.cursor", "this is no traffic cursor", value=cursor[:80]) from error
    return after


def _open_segment(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA secure_delete=ON")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _hold(path: Path) -> sqlite3.Connection:
    """A lock that ends with the process, however it ends."""
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        db.close()
        raise ResourceError(
            "traffic.worker_taken", "another process writes traffic under this name", value=path.stem, where=path
        ) from error
    return db


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        full = "full" in str(error)
        raise ResourceError(
            "disk.full" if full else "traffic.write",
            f"traffic could not be kept: {error}",
            where=path,
            next="free some disk; nothing that was acknowledged is lost" if full else None,
        ) from error
    except (sqlite3.DatabaseError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise IntegrityError(
            "traffic.damaged",
            f"a traffic segment is damaged: {error}",
            where=path,
            next="restore it from a backup, or move it away and say so in the incident",
        ) from error
