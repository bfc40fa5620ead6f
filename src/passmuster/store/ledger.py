"""The ledger: every act is one event, chained by hash, written in the transaction of what it changes.

A changed, dropped or reordered event breaks the chain. A cut tail leaves a shorter chain that is whole in itself; it is
found against a checkpoint (``seq`` and ``hash``), of which every bundle carries a signed one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from passmuster.core.clock import now
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.records import Event
from passmuster.store.schema import events

GENESIS = "0" * 64


def append(db: Connection, kind: str, actor: str, payload: Mapping[str, Any]) -> Event:
    """Add one event at the end of the chain; the caller's transaction commits it."""
    last = db.execute(select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)).first()
    seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
    fields: dict[str, Any] = {
        "seq": seq,
        "at": now(),
        "kind": kind,
        "actor": actor,
        "payload": dict(payload),
        "previous": previous,
    }
    digest = sha256_hex(canonical_json(fields))
    db.execute(insert(events).values(**{**fields, "payload": canonical_json(fields["payload"]).decode()}, hash=digest))
    return Event(**fields, hash=digest)


# The kinds of events that point a channel somewhere, by a person or by the watch.
MOVES = ("release.approve", "channel.rollback", "channel.expire", "incident.open", "incident.escalate")


def read(db: Connection, *, after: int = 0, kind: str | Collection[str] | None = None) -> Iterator[Event]:
    """Events in order, from the one after `after`, optionally of one kind or of some."""
    query = select(events).where(events.c.seq > after).order_by(events.c.seq)
    kinds = [kind] if isinstance(kind, str) else kind
    for row in db.execute(query.where(events.c.kind.in_(kinds)) if kinds else query):
        yield Event(row.seq, row.at, row.kind, row.actor, json.loads(row.payload), row.previous, row.hash)


def checkpoint(db: Connection) -> dict[str, Any]:
    """The chain's present end: ``{"seq", "hash"}``; seq 0 when it is empty."""
    last = db.execute(select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)).first()
    return {"seq": last.seq, "hash": last.hash} if last else {"seq": 0, "hash": GENESIS}


def problems(db: Connection, checkpoints: list[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the chain, in plain words; empty when it is whole and reaches every checkpoint."""
    found: list[str] = []
    previous, expected, hashes = GENESIS, 1, {0: GENESIS}
    for row in db.execute(select(events).order_by(events.c.seq)):
        if row.seq != expected:
            found.append(f"event {expected} is missing: event {row.seq} follows event {expected - 1}")
        if row.previous != previous:
            found.append(f"event {row.seq} ({row.kind}) does not follow the event before it")
        if not _hash_fits(row._asdict()):
            found.append(f"event {row.seq} ({row.kind}) was changed: its hash does not match its content")
        previous, expected = row.hash, row.seq + 1
        hashes[row.seq] = row.hash
    for point in checkpoints:
        if hashes.get(point["seq"]) != point["hash"]:
            found.append(
                f"the ledger does not reach the checkpoint at event {point['seq']}: its tail was cut or replaced"
            )
    return found


def _hash_fits(row: dict[str, Any]) -> bool:
    """Whether an event's hash is that of its content, byte for byte."""
    try:
        fields = {**row, "payload": json.loads(row["payload"])}
        del fields["hash"]
        whole = canonical_json(fields["payload"]).decode() == row["payload"]  # no spaces, no second key, no NaN
        return whole and bool(sha256_hex(canonical_json(fields)) == row["hash"])
    except (ValueError, TypeError):
        return False
