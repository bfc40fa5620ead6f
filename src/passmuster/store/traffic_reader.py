"""Reading traffic: what writers have committed, in any process, while they write."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from passmuster.core.errors import IntegrityError
from passmuster.core.records import FailureRecord, FeedbackRecord, TrafficRecord
from passmuster.store.readonly import is_read_only, read_only_uri
from passmuster.store.traffic_segments import (
    FAILURE,
    FEEDBACK,
    PREDICTION,
    TRIAL,
    Record,
    has_begun,
    named_errors,
    segment_names,
)

SCANNED = 5_000  # records of a segment, at most, among which `latest` looks


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
                for name in segment_names(self.folder)
            ]
            merged = heapq.merge(*streams, key=lambda entry: entry[:2])
            for _, name, (n, kind, _at, record, data) in itertools.islice(merged, limit):
                found.append(self._record(name, kind, record, data))
                after[name] = n
        return found, json.dumps(after, sort_keys=True)

    def _stream(self, name: str, after: int, inputs: bool) -> Generator[tuple[str, str, Any], None, None]:
        """A segment's rows in commit order, read as they are taken, each with the time by which segments are merged."""
        latest = ""
        query = f"SELECT n, kind, at, record, {_input(inputs)} FROM records WHERE n > ? AND kind != {TRIAL} ORDER BY n"
        for row in self._rows(name, query, [(after,)]):
            latest = max(latest, row[2])  # a clock may step back; the commit order holds all the same
            yield latest, name, row

    def prediction(self, id: str) -> TrafficRecord | None:
        """The prediction of that id with its input, or None."""
        return self.predictions([id], inputs=True).get(id)

    def predictions(self, ids: Collection[str], *, inputs: bool = False) -> dict[str, TrafficRecord]:
        """Those of `ids` that exist, with their inputs if asked for; latest segments are searched first."""
        query = f"SELECT id, record, {_input(inputs)} FROM records WHERE id = ? AND kind = {PREDICTION}"
        return {id: self._prediction(name, *row) for id, (name, row) in self._by_id(query, ids).items()}

    def failures(self, ids: Collection[str], *, inputs: bool = False) -> dict[str, FailureRecord]:
        """Those of `ids` that name an item which stayed without an answer, with their inputs if asked for."""
        query = f"SELECT id, record, {_input(inputs)} FROM records WHERE id = ? AND kind = {FAILURE}"
        return {id: self._failure(name, *row) for id, (name, row) in self._by_id(query, ids).items()}

    def recent(self, n: int, labelled_only: bool = True) -> list[tuple[TrafficRecord, str]]:
        """The latest `n` predictions, latest first, each with its latest feedback label ("" when it has none).

        With `labelled_only`, only predictions that have feedback. Inputs are left out: `predictions` gives them.
        """
        labels = self.labels()
        times: list[tuple[str, str]] = []
        if labelled_only:
            query = f"SELECT id, at FROM records WHERE id = ? AND kind = {PREDICTION}"
            times += [(row[0], id) for id, (_, row) in self._by_id(query, labels).items()]
        else:
            query = f"SELECT at, id FROM records WHERE kind = {PREDICTION} ORDER BY n DESC LIMIT ?"
            for name in segment_names(self.folder):
                times += self._rows(name, query, [(n,)])
        latest = [id for _, id in heapq.nlargest(n, times)]
        records = self.predictions(latest)
        return [(records[id], labels.get(id, "")) for id in latest]

    def latest(
        self, n: int, *, of: Callable[[TrafficRecord | FailureRecord], bool] = lambda record: True
    ) -> list[TrafficRecord | FailureRecord]:
        """The latest `n` items for which `of` holds, answered or not, latest first; without their inputs.

        Of each segment the latest `SCANNED` records are looked at, so that a rare kind costs no more than that.
        """
        kinds = f"kind IN ({PREDICTION}, {FAILURE})"
        query = f"SELECT kind, record FROM records WHERE {kinds} ORDER BY n DESC LIMIT {SCANNED}"
        found: list[TrafficRecord | FailureRecord] = []
        for name in segment_names(self.folder):
            own = 0
            for kind, record in self._rows(name, query, [()]):
                one = self._failure(name, record, None) if kind == FAILURE else self._prediction(name, record, None)
                if of(one):
                    found.append(one)
                    own += 1
                    if own == n:
                        break
        return sorted(found, key=lambda record: record.at, reverse=True)[:n]

    def _by_id(self, query: str, ids: Collection[str]) -> dict[str, tuple[str, Sequence[Any]]]:
        """For those of `ids` that exist: the segment, and what `query` selects there after the id."""
        missing, found = set(ids), {}
        for name in reversed(segment_names(self.folder)):
            if not missing:
                break
            for id, *row in self._rows(name, query, [(id,) for id in missing]):
                found[id] = (name, row)
            missing -= found.keys()
        return found

    def labels(self) -> dict[str, str]:
        """Prediction id to its latest feedback label, all segments together."""
        latest: dict[str, tuple[str, str]] = {}
        for name in segment_names(self.folder):
            query = f"SELECT record FROM records WHERE kind = {FEEDBACK} ORDER BY n"
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
            named_errors(path),
            contextlib.closing(sqlite3.connect(address, timeout=30, isolation_level=None, uri=is_uri)) as db,
        ):
            db.execute("PRAGMA query_only=ON")
            if not has_begun(db):
                return
            for values in parameters:
                yield from db.execute(query, values)

    def _record(self, name: str, kind: int, record: bytes, data: bytes | None) -> Record:
        if kind == FEEDBACK:
            return self._feedback(name, record)
        return self._failure(name, record, data) if kind == FAILURE else self._prediction(name, record, data)

    def _feedback(self, name: str, record: bytes) -> FeedbackRecord:
        with named_errors(self.folder / f"{name}.db"):
            return msgspec.json.decode(record, type=FeedbackRecord)

    def _failure(self, name: str, record: bytes, data: bytes | None) -> FailureRecord:
        with named_errors(self.folder / f"{name}.db"):
            return FailureRecord(**msgspec.json.decode(record), input=data)

    def _prediction(self, name: str, record: bytes, data: bytes | None) -> TrafficRecord:
        with named_errors(self.folder / f"{name}.db"):
            plain = msgspec.json.decode(record)
            return TrafficRecord(**{**plain, "reasons": tuple(plain["reasons"])}, input=data)


def _input(wanted: bool) -> str:
    return "input" if wanted else "NULL"


def _parse_cursor(cursor: str) -> dict[str, int]:
    try:
        after = msgspec.json.decode(cursor, type=dict[str, int]) if cursor else {}
    except msgspec.DecodeError as error:
        raise IntegrityError("traffic.cursor", "this is no traffic cursor", value=cursor[:80]) from error
    return after
