"""What the ledger and the signatures commit to, held against the rows of a catalog: data versions, answers, verdicts.

`rebuilt` holds rows against the events themselves; here events hold only digests.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Table, func, select

from passmuster.core.codec import from_plain
from passmuster.core.digests import canonical_json, merkle_root, sha256_hex
from passmuster.core.errors import MusterError
from passmuster.core.records import Event, Label, Verdict
from passmuster.flows.rebuilt import wrong_channels, wrong_incidents, wrong_openings, wrong_papers
from passmuster.stages.govern.answer import fact_leaf
from passmuster.stages.release.signature import VERDICT_TYPE
from passmuster.store import schema
from passmuster.store.dsse import open_envelope
from passmuster.store.items import read_labels


def count(db: Connection, table: Table) -> int:
    """Rows of a table."""
    return int(db.execute(select(func.count()).select_from(table)).scalar_one())


def wrong_rows(db: Connection, events: Sequence[Event]) -> list[str]:
    """Rows that are not those that the events tell of; a payload that makes no sense is a finding too."""
    wrong: list[str] = []
    for compare in (wrong_channels, wrong_openings, wrong_incidents, wrong_papers, wrong_answers):
        try:
            wrong += compare(db, events)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            wrong.append(f"{compare.__name__.removeprefix('wrong_')} cannot be compared with the ledger: {error}")
    return wrong


def wrong_snapshots(db: Connection, events: Sequence[Event]) -> list[str]:
    """Data versions whose items or labels are not those committed to.

    A forgotten item has no salt; only its place is checked.
    """
    made = {e.payload["snapshot"]: e.payload for e in events if {"snapshot", "root"} <= set(e.payload)}
    wrong = []
    for row in db.execute(select(schema.snapshots.c.digest, schema.snapshots.c.record).order_by(schema.snapshots.c.n)):
        name, leaves, keys = row.digest[:16], [], set()
        for place in placed_items(db, row.digest):
            leaf = sha256_hex(canonical_json([place.salt, place.key, place.digest, place.blob, place.split]))
            if place.salt and leaf != place.commitment:
                wrong.append(f"dataset version {name}: item {place.key[:8]} was changed or moved")
            leaves.append(place.commitment)
            keys.add(place.key)
        event = made.get(row.digest)
        if event is None:
            wrong.append(f"dataset version {name}: no event of the ledger commits to its items")
            continue
        if merkle_root(leaves) != event["root"]:
            wrong.append(f"dataset version {name}: its items are not those that the ledger commits to")
        labels_read = int(json.loads(row.record)["labels_read"])
        if "labels_root" in event and labels_root(db, keys, labels_read) != event["labels_root"]:
            wrong.append(f"dataset version {name}: its labels are not those that the ledger commits to")
    return wrong


def labels_root(db: Connection, keys: Collection[str], labels_read: int) -> str:
    """What govern commits to of the labels: the latest per item among the first so many facts, by item."""
    latest = sorted(read_labels(db, first=labels_read).items())
    facts = [[label.key, label.label, label.role] for key, label in latest if key in keys]
    return merkle_root([sha256_hex(canonical_json(fact)) for fact in facts])


def wrong_answers(db: Connection, events: Sequence[Event]) -> list[str]:
    """Answers given one at a time that are not what their event says: protected before any data version pins them."""
    wrong = []
    facts = {row.n: row for row in db.execute(select(schema.labels))}
    for event in events:
        if event.kind not in ("label.answer", "label.withdraw"):
            continue
        first, n = int(event.payload["first"]), sum(event.payload["n_labels"].values())
        rows = [facts[i] for i in range(first, first + n) if i in facts]
        said = [Label(row.key, row.label, row.who, row.at, row.role, row.weight) for row in rows]
        if merkle_root([fact_leaf(fact) for fact in said]) != event.payload["facts"]:
            wrong.append(f"the answers of event {event.seq} ({event.kind}) are not those that the ledger commits to")
    return wrong


def placed_items(db: Connection, snapshot: str) -> Iterator[Any]:
    """Key, split, salt, commitment, content digest and blob of a data version's items, in its order."""
    place, item = schema.snapshot_items.c, schema.items.c
    query = select(place.key, place.split, place.salt, place.commitment, item.digest, item.blob)
    joined = query.join_from(schema.snapshot_items, schema.items, place.key == item.key, isouter=True)
    yield from db.execute(joined.where(place.snapshot == snapshot).order_by(place.position))


def wrong_verdicts(db: Connection, key: Ed25519PublicKey) -> list[str]:
    """Verdicts whose record is not what was signed."""
    wrong = []
    for row in db.execute(select(schema.verdicts).order_by(schema.verdicts.c.n)):
        shown = f"verdict {row.n} on bundle {row.bundle[:16]}"
        try:
            payload = open_envelope(key, row.envelope, payload_type=VERDICT_TYPE)
            signed = from_plain(Verdict, json.loads(payload))
        except (MusterError, ValueError) as error:
            wrong.append(f"{shown}: {error.what if isinstance(error, MusterError) else error}")
            continue
        said = (signed.bundle, signed.report, signed.outcome)
        if row.record.encode() != payload or said != (row.bundle, row.report, row.outcome):
            wrong.append(f"{shown}: the record is not what was signed")
    return wrong


def wrong_reports(db: Connection) -> list[str]:
    """Reports that differ from their digest."""
    report = schema.reports.c
    return [
        f"report {row.digest[:16]} on bundle {row.bundle[:16]} was changed"
        for row in db.execute(select(report.digest, report.record, report.bundle))
        if sha256_hex(row.record.encode()) != row.digest
    ]
