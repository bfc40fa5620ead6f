"""Which test items to label next. The minimal way: all equally likely, with the weight that this implies."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from passmuster.core.records import Item
from passmuster.store.seal import open_test
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store


def choose_evidence(
    store: Store, *, n: int, skip: Collection[str], rng: np.random.Generator
) -> list[tuple[Item, float]]:
    """Up to `n` test items without a label, each with the inverse of the probability with which it was drawn.

    Opens the seal for "choose-test-labels", which is recorded and does not count as reuse. `skip` are item keys.
    """
    with store.read() as db:
        snapshot = read_snapshot(db)
    if not snapshot.n_items.get("test"):
        return []
    view = open_test(store, snapshot, "choose-test-labels")
    waiting = [item for item in view.items if item.key not in view.labels and item.key not in skip]
    n = min(n, len(waiting))
    chosen = rng.choice(len(waiting), size=n, replace=False)
    return [(waiting[int(i)], len(waiting) / n) for i in chosen]
