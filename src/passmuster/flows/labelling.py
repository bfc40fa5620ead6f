"""What to label next. A stand-in that draws at random; see the branch that chooses."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.progress import Progress
from passmuster.core.records import Item, Role
from passmuster.store.items import read_labels
from passmuster.store.seal import open_test, training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store


@dataclass(frozen=True)
class Suggestion:
    """An item worth a label; `weight` is the inverse probability with which it was asked for."""

    key: str
    id: str
    role: Role
    weight: float
    why: str
    guess: str = ""
    confidence: float = math.nan


def suggest(
    store: Store,
    *,
    n: int,
    role: Role | None = None,
    skip: Collection[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Suggestion]:
    """The next `n` items worth a label, most valuable first; role None: split between learning and evidence."""
    with store.read() as db:
        snapshot = read_snapshot(db)
        known = read_labels(db)
    rng = np.random.default_rng([seed, len(known)])

    def draw(items: Sequence[Item], n: int, role: Role, why: str) -> list[Suggestion]:
        free = [item for item in items if item.key not in known and item.key not in skip]
        chosen = rng.choice(len(free), size=min(n, len(free)), replace=False) if free else []
        return [Suggestion(free[int(i)].key, free[int(i)].id, role, 1.0, why) for i in chosen]

    n_test = n if role == "test" else (n // 4 if role is None and snapshot.n_items.get("test") else 0)
    found: list[Suggestion] = []
    if n_test:
        found += draw(open_test(store, snapshot, "choose-test-labels").items, n_test, "test", "evidence")
    if role != "test":
        found += draw(training_view(store, snapshot).pool, n - len(found), "train", "drawn at random")
    return found
