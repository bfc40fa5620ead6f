"""What the ledger's events say there must be, beside what the catalog's tables hold.

The events are proven by their chain; a row that was changed, added or deleted without an event is found here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from passmuster.core.digests import sha256_hex
from passmuster.core.records import Event
from passmuster.store import schema

MADE = ("train.done", "import.done")  # events that say that a bundle is there


def readable_events(db: Connection) -> list[Event]:
    """Every event whose payload can be read, in order; the chain's own check names the others."""
    found = []
    for row in db.execute(select(schema.events).order_by(schema.events.c.seq)):
        try:
            payload = json.loads(row.payload)
        except ValueError:
            continue
        if isinstance(payload, dict):
            found.append(Event(row.seq, row.at, row.kind, row.actor, payload, row.previous, row.hash))
    return found


def wrong_channels(db: Connection, events: Sequence[Event]) -> Iterator[str]:
    """Channels that do not point where the last event that moved them says, or not in that mode."""
    said = {row["name"]: row for event in events for row in event.payload.get("channels", ())}
    yield from differences("channel", said, rows_of(db, schema.channels, "name"))


def wrong_openings(db: Connection, events: Sequence[Event]) -> Iterator[str]:
    """Openings of the seal that the ledger has and the catalog has not, or the other way round: looks at the test."""
    unseen = {event.payload.get("opening") for event in events if event.kind == "test.unseen"}
    said = {
        event.payload.get("opening"): {
            "n": event.payload.get("opening"),
            **{name: event.payload.get(name) for name in ("snapshot", "purpose", "counted", "at", "policy")},
        }
        for event in events
        if event.kind == "test.open"
    }
    for number in unseen & set(said):
        said[number]["counted"] = 0
    yield from differences("opening of the test", said, rows_of(db, schema.seal_openings, "n"))


def wrong_incidents(db: Connection, events: Sequence[Event]) -> Iterator[str]:
    """Incidents whose record is not the one that the last event about them has the digest of."""
    said = {
        e.payload["incident"]: {"record": e.payload["record"]}
        for e in events
        if {"incident", "record"} <= set(e.payload)
    }
    there = {}
    for name, row in rows_of(db, schema.incidents, "id").items():
        there[name] = {"record": sha256_hex(row["record"].encode())}
        record = json.loads(row["record"]) if there[name] == said.get(name) else row
        if (record["opened"], record["closed"]) != (row["opened"], row["closed"]):
            yield f"incident {name}: its times are not those of its record"
    yield from differences("incident", said, there)


def wrong_papers(db: Connection, events: Sequence[Event]) -> Iterator[str]:
    """Releases, verdicts, reports and bundles that are not those of the ledger."""
    signed = {event.payload.get("release"): event.payload for event in events if event.kind == "release.sign"}
    overrides = {
        event.payload.get("release"): event.payload["override"]
        for event in events
        if event.kind == "release.approve" and event.payload.get("override")
    }
    said = {
        name: {"bundle": p.get("bundle"), "verdict": p.get("verdict"), "override": overrides.get(name, "")}
        for name, p in signed.items()
    }
    there = {
        name: {key: row[key] for key in ("bundle", "verdict", "override")}
        for name, row in rows_of(db, schema.releases, "id").items()
    }
    yield from differences("release", said, there)
    verdict = schema.verdicts.c
    kept = Counter(tuple(row) for row in db.execute(select(verdict.bundle, verdict.report, verdict.outcome)))
    told = Counter((p["bundle"], p["report"], p["verdict"]) for p in signed.values() if "report" in p)
    for (bundle, _, outcome), n in (told - kept).items():
        yield f"verdict {outcome} on bundle {bundle[:16]}: the ledger has {n} more than the catalog"
    reports = (e.payload.get("report") for e in events if e.kind in ("evaluate.done", "release.sign"))
    yield from gone(db, schema.reports, "report", reports)
    bundles = (e.payload.get("bundle") for e in events if e.kind in (*MADE, "release.sign"))
    yield from gone(db, schema.bundles, "bundle", bundles)
    kept_of = rows_of(db, schema.bundles, "digest")
    for payload in (event.payload for event in events if event.kind in MADE and event.payload.get("snapshot")):
        row = kept_of.get(payload.get("bundle"))
        if row is not None and row["snapshot"] != payload["snapshot"]:
            yield f"bundle {row['digest'][:16]}: the ledger says that it learnt from another dataset version"


def gone(db: Connection, table: Table, noun: str, said: Iterator[Any]) -> Iterator[str]:
    """Digests that events name and a table lacks."""
    there = set(db.execute(select(table.c.digest)).scalars())
    for digest in dict.fromkeys(said):
        if digest and digest not in there:
            yield f"{noun} {digest[:16]}: the ledger has it, the catalog has not"


def rows_of(db: Connection, table: Table, key: str) -> dict[Any, dict[str, Any]]:
    """A table's rows by one column."""
    return {row[key]: dict(row) for row in db.execute(select(table)).mappings()}


def differences(
    noun: str, said: Mapping[Any, Mapping[str, Any]], there: Mapping[Any, Mapping[str, Any]]
) -> Iterator[str]:
    """Rows that are missing, that nothing speaks of, or that differ, and in what."""
    for name, row in said.items():
        if name not in there:
            yield f"{noun} {name}: the ledger has it, the catalog has not"
        elif changed := [column for column in row if row[column] != there[name].get(column)]:
            yield f"{noun} {name}: the record is not what the ledger says: {', '.join(changed)}"
    for name in there:
        if name not in said:
            yield f"{noun} {name}: the catalog has it, and no event of the ledger speaks of it"
