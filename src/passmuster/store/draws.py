"""Which test items were asked about, and with which chance: what an unbiased reading of their labels rests on.

The chances are kept here, not only in the table of labels that goes out and comes back, so that whoever labels cannot
change them and nobody has to carry them about.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, literal_column, select

from passmuster.core.clock import now
from passmuster.store.items import n_label_facts
from passmuster.store.schema import drawn_items, draws, labels


@dataclass(frozen=True)
class TestDraw:
    """One draw.

    `chances` of the items drawn, by key, in the order in which they were drawn; `held_out` were unlabelled
    and could not be drawn (shown already, or skipped); `n_population` unlabelled items could; `labels_read` label facts
    there were.
    """

    __test__ = False  # no test, whatever pytest makes of its name

    number: int
    n_population: int
    labels_read: int
    chances: Mapping[str, float]
    held_out: frozenset[str]


def add_draw(
    db: Connection, snapshot: str, n_population: int, chances: Mapping[str, float], held_out: Collection[str] = ()
) -> int:
    """Record a draw before it is shown to anyone; returns its number."""
    added = db.execute(
        insert(draws).values(snapshot=snapshot, at=now(), n_population=n_population, labels_read=n_label_facts(db))
    )
    key = added.inserted_primary_key
    assert key is not None
    number = int(key[0])
    rows = [{"draw": number, "key": item, "chance": float(chance)} for item, chance in chances.items()]
    rows += [{"draw": number, "key": item, "chance": 0.0} for item in held_out]
    if rows:
        db.execute(insert(drawn_items), rows)
    return number


def read_draws(db: Connection) -> list[TestDraw]:
    """Every draw, in order."""
    chances: dict[int, dict[str, float]] = {}
    held: dict[int, set[str]] = {}
    for row in db.execute(select(drawn_items).order_by(literal_column("rowid"))):  # as they were drawn
        if row.chance > 0:
            chances.setdefault(row.draw, {})[row.key] = row.chance
        else:
            held.setdefault(row.draw, set()).add(row.key)
    return [
        TestDraw(row.n, row.n_population, row.labels_read, chances.get(row.n, {}), frozenset(held.get(row.n, ())))
        for row in db.execute(select(draws).order_by(draws.c.n))
    ]


def first_told(db: Connection) -> dict[str, int]:
    """The number of each item's first test label among all label facts ever recorded, from 1."""
    place = func.row_number().over(order_by=labels.c.n).label("place")
    facts = select(labels.c.key, labels.c.role, place).subquery()
    query = select(facts.c.key, func.min(facts.c.place)).where(facts.c.role == "test").group_by(facts.c.key)
    return {key: int(number) for key, number in db.execute(query)}
