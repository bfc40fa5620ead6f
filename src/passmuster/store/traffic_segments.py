"""Segments of traffic: what a file of them holds, how a record lies in it, and what its errors are called.

A segment is an SQLite file ``<worker>-<number>.db`` (write-ahead log, ``synchronous=FULL``). One writer appends to it
(`passmuster.store.traffic`), anybody reads it meanwhile (`passmuster.store.traffic_reader`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from passmuster.core.errors import IntegrityError, ResourceError
from passmuster.core.records import FailureRecord, FeedbackRecord, TrafficRecord
from passmuster.store.blobs import disk_failed

Record = TrafficRecord | FeedbackRecord | FailureRecord
Row = tuple[int, str, str, bytes, bytes | None]  # kind, id, at, record, input

PREDICTION, FEEDBACK, TRIAL, FAILURE = 0, 1, 2, 3
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
  n INTEGER PRIMARY KEY AUTOINCREMENT,  -- commit order
  kind INTEGER NOT NULL,
  id TEXT NOT NULL,                     -- of the prediction, for feedback too; of the failure
  at TEXT NOT NULL,
  record BLOB NOT NULL,                 -- JSON, without the input
  input BLOB
);
CREATE INDEX IF NOT EXISTS records_id ON records (id, kind);
CREATE INDEX IF NOT EXISTS records_feedback ON records (n) WHERE kind = 1;
CREATE INDEX IF NOT EXISTS records_input ON records (at) WHERE input IS NOT NULL;
"""


def open_segment(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA secure_delete=ON")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def has_begun(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone() is not None


def segment_names(folder: Path) -> list[str]:
    """Names of the segments there are, without suffix, sorted."""
    return sorted(path.stem for path in folder.glob("*-??????.db"))


def parse_name(name: str) -> tuple[str, int]:
    worker, _, number = name.rpartition("-")
    return worker, int(number)


def to_row(record: Record) -> Row:
    if isinstance(record, FeedbackRecord):
        return FEEDBACK, record.prediction, record.at, msgspec.json.encode(record), None
    kind = FAILURE if isinstance(record, FailureRecord) else PREDICTION
    plain = {name: getattr(record, name) for name in _FIELDS[type(record)]}
    return kind, record.id, record.at, msgspec.json.encode(plain), record.input


_FIELDS = {
    kind: tuple(name for name in kind.__dataclass_fields__ if name != "input")
    for kind in (TrafficRecord, FailureRecord)
}


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        full = disk_failed(str(error))
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
