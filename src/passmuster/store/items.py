"""Items and labels in the catalog: what came in, and what people said about it. Both only ever grow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from passmuster.core.records import Item, Label, Role
from passmuster.store.schema import items, labels

KEYS_AT_ONCE = 900  # in one question: SQLite takes 999 parameters at least
ROWS_AT_ONCE = 8_192  # written by one statement: a million rows as parameters would be a gigabyte
WITHDRAWN = ""  # the label of a fact that takes an earlier one back; no class has an empty name

item_columns = (
    items.c.key, items.c.id, items.c.digest, items.c.blob, items.c.n_bytes, items.c.source, items.c.status,
    items.c.reason, items.c.given_split, items.c.subject, items.c.at, items.c.groups,
)  # fmt: skip


def add_items(db: Connection, new: Sequence[Item]) -> None:
    """Append items; the caller has made sure that keys are new."""
    for start in range(0, len(new), ROWS_AT_ONCE):
        rows = [
            {**{f: getattr(i, f) for f in Item.__dataclass_fields__}, "groups": json.dumps(dict(i.groups))}
            for i in new[start : start + ROWS_AT_ONCE]
        ]
        db.execute(insert(items), rows)


def set_groups(db: Connection, groups: Mapping[str, Mapping[str, str]]) -> None:
    """Write what items say in their group columns, by item key."""
    for key, said in groups.items():
        db.execute(update(items).where(items.c.key == key).values(groups=json.dumps(dict(said))))


def drop_quarantined(db: Connection, keys: Sequence[str]) -> None:
    """Remove quarantined items that come again mended; they were never part of a snapshot."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        db.execute(
            delete(items).where(items.c.key.in_(keys[start : start + KEYS_AT_ONCE]), items.c.status == "quarantined")
        )


def read_items(db: Connection, *, status: str | None = None, keys: Sequence[str] | None = None) -> list[Item]:
    """Items in order of arrival, or those named by `keys`, in that order."""
    if keys is not None:
        found: dict[str, Item] = {}
        for start in range(0, len(keys), KEYS_AT_ONCE):
            block = keys[start : start + KEYS_AT_ONCE]
            for row in db.execute(select(*item_columns).where(items.c.key.in_(block))):
                found[row.key] = item_of(row)
        return [found[k] for k in keys if k in found]
    query = select(*item_columns).order_by(items.c.n)
    return [item_of(row) for row in db.execute(query.where(items.c.status == status) if status else query)]


def known_keys(db: Connection) -> dict[str, str]:
    """Key to content digest of every item, quarantined ones included."""
    return {row.key: row.digest for row in db.execute(select(items.c.key, items.c.digest))}


def item_of(row: Row[*tuple[Any, ...]]) -> Item:
    """The item of a row of `item_columns`."""
    return Item(**{**row._asdict(), "groups": json.loads(row.groups)})


def add_labels(db: Connection, new: Iterable[Label]) -> int:
    """Append label facts; returns how many."""
    rows = [{f: getattr(label, f) for f in Label.__dataclass_fields__} for label in new]
    if rows:
        db.execute(insert(labels), rows)
    return len(rows)


def n_label_facts(db: Connection) -> int:
    """How many label facts have been recorded so far; a snapshot pins this number."""
    return db.execute(select(func.count()).select_from(labels)).scalar_one()


def read_labels(db: Connection, *, role: Role | None = None, first: int | None = None) -> dict[str, Label]:
    """The latest label per item key, of one role, among the `first` facts ever recorded (all when None).

    A withdrawn label reads as if it had not been said; see `standing_labels`.
    """
    return {key: facts[-1] for key, facts in standing_labels(db, role=role, first=first).items()}


def standing_labels(
    db: Connection, *, role: Role | None = None, first: int | None = None, keys: Sequence[str] | None = None
) -> dict[str, list[Label]]:
    """Per item key, every label that stands, oldest first; items without one are left out.

    A fact with the label `WITHDRAWN` takes back the latest standing one of the same person, item and role. What others
    said, and what that person had said before, stands again: an undo, though facts are only ever added.
    """
    told = labels.c
    query = select(told.key, told.label, told.who, told.at, told.role, told.weight).order_by(told.n)
    if keys is not None:
        query = query.where(told.key.in_(keys))
    if first is not None:
        query = query.limit(first)
    if first is None and role is not None:
        query = query.where(told.role == role)
    standing: dict[str, list[Label]] = {}
    for key, label, who, at, told_as, weight in db.execute(query):  # by place: by name takes twice as long
        if role is not None and told_as != role:
            continue
        facts = standing.setdefault(key, [])
        if label != WITHDRAWN:
            facts.append(Label(key, label, who, at, told_as, weight))
            continue
        own = [i for i, fact in enumerate(facts) if (fact.who, fact.role) == (who, told_as)]
        if own:
            del facts[own[-1]]
        if not facts:
            del standing[key]
    return standing
