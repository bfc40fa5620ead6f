"""Incidents, the durable cursors of whoever reads traffic, and whose label has been counted, in the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.records import Incident
from passmuster.store.schema import cursors, incidents, watched_labels
from passmuster.store.store import Act


def write_incident(act: Act, incident: Incident) -> None:
    """Open an incident, or write its resolution; the record's digest goes into the act's event."""
    db = act.db
    record = canonical_json(to_plain(incident)).decode()
    row = insert(incidents).values(id=incident.id, opened=incident.opened, closed=incident.closed, record=record)
    known = db.execute(select(incidents.c.id).where(incidents.c.id == incident.id)).first()
    if known:
        db.execute(
            incidents.update().where(incidents.c.id == incident.id).values(closed=incident.closed, record=record)
        )
    else:
        db.execute(row)
    act.payload.update(incident=incident.id, record=sha256_hex(record.encode()))


def read_incidents(db: Connection) -> list[Incident]:
    """Every incident, latest first."""
    records = db.execute(select(incidents.c.record).order_by(incidents.c.opened.desc())).scalars()
    return [from_plain(Incident, json.loads(record)) for record in records]


def read_cursor(db: Connection, name: str) -> tuple[str, bytes] | None:
    """Position and state kept under `name`, or None."""
    row = db.execute(select(cursors).where(cursors.c.name == name)).first()
    return (row.position, row.state) if row else None


def write_cursor(db: Connection, name: str, position: str, state: bytes) -> None:
    """Keep position and state under `name`, in the caller's transaction."""
    row = upsert(cursors).values(name=name, position=position, state=state)
    db.execute(row.on_conflict_do_update(index_elements=["name"], set_={"position": position, "state": state}))


def counted_labels(db: Connection, predictions: Sequence[str]) -> set[str]:
    """Those of `predictions` whose label has been counted already."""
    found: set[str] = set()
    for start in range(0, len(predictions), 900):
        block = predictions[start : start + 900]
        query = select(watched_labels.c.prediction).where(watched_labels.c.prediction.in_(block))
        found.update(db.execute(query).scalars())
    return found


def count_labels(db: Connection, predictions: Iterable[str]) -> None:
    """Note that the labels of these predictions have been counted, in the caller's transaction."""
    rows = [{"prediction": prediction} for prediction in predictions]
    if rows:
        db.execute(insert(watched_labels), rows)
