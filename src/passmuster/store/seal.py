"""The seal: training reads through `training_view`, which has no test items; `open_test` is the one door to the test.

Each opening is a ledger event. Openings whose purpose is an evaluation count as reuse of the test set; the purposes
that cannot leak a score into a model are named here and do not count. `count_looks` is the one count of looks: reports,
verdicts and cards all show it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, func, insert, select, update

from passmuster.core.clock import now
from passmuster.core.records import Item, Label, Snapshot, Split
from passmuster.store.items import read_labels
from passmuster.store.schema import labels, seal_openings, snapshot_items
from passmuster.store.snapshots import read_split
from passmuster.store.store import Store

Purpose = Literal["evaluate", "leakage-check", "choose-test-labels", "prediction-powered", "compare-answers", "drill"]
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
    """The opened test split at the time `at`. `look` is how often its labels were looked at, this time included.

    `opening` is the number under which it is recorded.
    """

    snapshot: Snapshot
    items: tuple[Item, ...]
    labels: dict[str, Label]
    look: int
    at: str
    opening: int


def training_view(store: Store, snapshot: Snapshot) -> TrainingView:
    """Everything training may read of `snapshot`; the labels are those the snapshot pinned."""
    with store.read() as db:
        pool = read_split(db, snapshot, "train")
        reference = read_split(db, snapshot, "reference")
        known = read_labels(db, role="train", first=snapshot.labels_read)
    inside = {item.key for item in pool}
    return TrainingView(snapshot, tuple(pool), {k: v for k, v in known.items() if k in inside}, tuple(reference))


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
        look = whole_looks(count_looks(act.db, snapshot.digest, str(opening["at"])))
        act.payload.update(opening=n, look=look, **opening)
        split = read_split(act.db, snapshot, "test")
        known = read_labels(act.db, role="test")
    inside = {item.key for item in split}
    return TestView(
        snapshot, tuple(split), {k: v for k, v in known.items() if k in inside}, look, str(opening["at"]), int(n)
    )


def take_back(store: Store, opening: int, why: str) -> None:
    """An opening counts no longer, because it ended before there was a number to see; the ledger keeps both."""
    with store.act("test.unseen") as act:
        act.payload.update(opening=opening, why=why)
        act.db.execute(update(seal_openings).where(seal_openings.c.n == opening).values(counted=0))


def count_looks(db: Connection, snapshot: str, until: str) -> float:
    """Looks, up to the time `until`, at the test labels that a dataset version had then; 0 before the first.

    Each counted opening of the seal counts as the share of those labels that it could see. So fresh labels make old
    looks count less, and neither a new dataset version around the same labels nor a corrected label changes anything.
    """
    known = read_labels(db, role="test")
    first = select(labels.c.key, func.min(labels.c.at)).where(labels.c.role == "test").group_by(labels.c.key)
    told = {key: at for key, at in db.execute(first) if key in known and at <= until}
    evidence = {key: told[key] for key in keys_of(db, snapshot, "test") if key in told}
    inside: dict[str, list[str]] = {}  # by dataset version: when each label that it shares with the evidence was given
    total = 0.0
    counted = select(seal_openings).where(seal_openings.c.counted > 0, seal_openings.c.at <= until)
    for opening in db.execute(counted):
        if opening.snapshot not in inside:
            inside[opening.snapshot] = [
                evidence[key] for key in keys_of(db, opening.snapshot, "test") if key in evidence
            ]
        n_seen = sum(at <= opening.at for at in inside[opening.snapshot])
        total += n_seen / len(evidence) if evidence else 1.0
    return total


def whole_looks(n_looks: float) -> int:
    """Looks as a number to show, rounded up.

    >>> whole_looks(0.0), whole_looks(2.0), whole_looks(2.1)
    (0, 2, 3)
    """
    return math.ceil(n_looks - 1e-9)


def keys_of(db: Connection, snapshot: str, split: Split) -> list[str]:
    """Which items are in a split of a dataset version: keys alone, so that of the test no seal is opened."""
    item = snapshot_items.c
    return list(db.execute(select(item.key).where(item.snapshot == snapshot, item.split == split)).scalars())
