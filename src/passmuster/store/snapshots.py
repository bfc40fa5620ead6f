"""Snapshots and findings: immutable versions of the data and what the checks saw in them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, insert, select

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.digests import canonical_json, merkle_root, sha256_hex
from passmuster.core.records import Finding, Item, Snapshot, Split
from passmuster.store.items import KEYS_AT_ONCE, ROWS_AT_ONCE, item_columns, item_of
from passmuster.store.naming import the_one_named
from passmuster.store.schema import findings, items, snapshot_items, snapshots


def commit_items(placed: Sequence[tuple[Item, Split, str]]) -> tuple[str, list[dict[str, str]]]:
    """Salted commitments of ``(item, split, twins)`` and their Merkle root.

    Erasing one row's salt later leaves the root checkable and the row unreadable.
    """
    rows = []
    for item, split, twins in placed:
        salt = secrets.token_hex(16)
        leaf = sha256_hex(canonical_json([salt, item.key, item.digest, item.blob, split]))
        rows.append({"key": item.key, "split": split, "twins": twins, "salt": salt, "commitment": leaf})
    return merkle_root([r["commitment"] for r in rows]), rows


def add_snapshot(db: Connection, snapshot: Snapshot, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a snapshot and its placed items."""
    record = canonical_json(to_plain(snapshot)).decode()
    db.execute(
        insert(snapshots).values(
            digest=snapshot.digest, parent=snapshot.parent, created=snapshot.created, record=record
        )
    )
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = enumerate(rows[start : start + ROWS_AT_ONCE], start=start)
        db.execute(insert(snapshot_items), [{**row, "snapshot": snapshot.digest, "position": i} for i, row in block])


def read_snapshot(db: Connection, digest: str = "") -> Snapshot:
    """The snapshot whose digest starts with `digest`; the latest when empty.

    Raises
    ------
    NotFoundError
        ``snapshot.none``.
    UsageError
        ``snapshot.ambiguous`` when several do.
    """
    query = select(snapshots.c.record).order_by(snapshots.c.n.desc()).limit(1)
    record = db.execute(query.where(snapshots.c.digest == digest) if digest else query).scalar()
    if record is None:
        known = db.execute(select(snapshots.c.digest)).scalars()
        whole = the_one_named(digest, known, noun="snapshot", what="dataset version", next="muster add PATH")
        record = db.execute(query.where(snapshots.c.digest == whole)).scalar_one()
    return from_plain(Snapshot, json.loads(record))


def read_split(db: Connection, snapshot: Snapshot, split: Split) -> list[Item]:
    """The items of one split, in the snapshot's order. The test split is read through the seal only."""
    query = (
        select(*item_columns)
        .join(snapshot_items, snapshot_items.c.key == items.c.key)
        .where(snapshot_items.c.snapshot == snapshot.digest, snapshot_items.c.split == split)
        .order_by(snapshot_items.c.position)
    )
    return [item_of(row) for row in db.execute(query)]


def read_placement(
    db: Connection, snapshot: Snapshot, keys: Sequence[str] | None = None
) -> dict[str, tuple[Split, str]]:
    """Item key to (split, twins) of the whole snapshot, or of the items named by `keys`."""
    placed = snapshot_items.c
    query = select(placed.key, placed.split, placed.twins, placed.snapshot)
    if keys is None:
        whole = db.execute(query.where(placed.snapshot == snapshot.digest))
        return {key: (split, twins) for key, split, twins, _ in whole}
    found: dict[str, tuple[Split, str]] = {}
    for start in range(0, len(keys), KEYS_AT_ONCE):  # by key alone: asked for the snapshot too, SQLite looks through it
        block = db.execute(query.where(placed.key.in_(keys[start : start + KEYS_AT_ONCE])))
        found |= {row.key: (row.split, row.twins) for row in block if row.snapshot == snapshot.digest}
    return found


def add_findings(db: Connection, snapshot: str, new: Sequence[Finding]) -> None:
    """Write what the checks saw in a snapshot."""
    rows = [
        {
            "snapshot": snapshot,
            "kind": f.kind,
            "severity": f.severity,
            "record": canonical_json(to_plain(f)).decode(),
        }
        for f in new
    ]
    if rows:
        db.execute(insert(findings), rows)


def read_findings(db: Connection, snapshot: str) -> list[Finding]:
    """What the checks saw in a snapshot, in the order found."""
    query = select(findings.c.record).where(findings.c.snapshot == snapshot).order_by(findings.c.n)
    return [from_plain(Finding, json.loads(record)) for record in db.execute(query).scalars()]
