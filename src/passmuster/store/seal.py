"""The seal: training reads through `training_view`, which has no test items; `open_test` is the one door to the test.

Each opening is a ledger event. Openings whose purpose is an evaluation count as reuse of the test set; the purposes
that cannot leak a score into a model are named here and do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, insert, select

from passmuster.core.clock import now
from passmuster.core.records import Item, Label, Snapshot
from passmuster.store.items import read_labels
from passmuster.store.schema import seal_openings
from passmuster.store.snapshots import read_split
from passmuster.store.store import Store

Purpose = Literal["evaluate", "leakage-check", "choose-test-labels", "prediction-powered"]
COUNTED: frozenset[Purpose] = frozenset({"evaluate"})


@dataclass(frozen=True)
class TrainingView:
    """What learning may see: the pool, its training labels, and the items held out for the guard."""

    snapshot: Snapshot
    pool: tuple[Item, ...]
    labels: dict[str, Label]  # by item key; only items of the pool
    reference: tuple[Item, ...]


@dataclass(frozen=True)
class TestView:
    """The opened test split. `look` is the number of counted openings so far, this one included."""

    snapshot: Snapshot
    items: tuple[Item, ...]
    labels: dict[str, Label]
    look: int


def training_view(store: Store, snapshot: Snapshot) -> TrainingView:
    """Everything training may read of `snapshot`; the labels are those the snapshot pinned."""
    with store.read() as db:
        pool = read_split(db, snapshot, "train")
        reference = read_split(db, snapshot, "reference")
        labels = read_labels(db, role="train", first=snapshot.labels_read)
    inside = {item.key for item in pool}
    return TrainingView(snapshot, tuple(pool), {k: v for k, v in labels.items() if k in inside}, tuple(reference))


def open_test(store: Store, snapshot: Snapshot, purpose: Purpose) -> TestView:
    """Open the test split for one named purpose; the opening is recorded before anything is returned.

    Test labels are the latest known, not the snapshot's: evidence may grow without making a new data-set version.
    """
    with store.act("test.open") as act:
        opening = {
            "snapshot": snapshot.digest, "purpose": purpose, "counted": int(purpose in COUNTED), "at": now(),
            "policy": store.config.policy.digest(),
        }  # fmt: skip
        n = act.db.execute(insert(seal_openings).values(**opening)).lastrowid
        look = act.db.execute(
            select(func.sum(seal_openings.c.counted)).where(seal_openings.c.snapshot == snapshot.digest)
        ).scalar_one()
        act.payload.update(opening=n, look=int(look), **opening)
        split = read_split(act.db, snapshot, "test")
        labels = read_labels(act.db, role="test")
    inside = {item.key for item in split}
    return TestView(snapshot, tuple(split), {k: v for k, v in labels.items() if k in inside}, int(look))
