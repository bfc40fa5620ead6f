"""Which test items to label next. The minimal way: all equally likely, with the weight that this implies."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from passmuster.core.errors import DataError, NotFoundError
from passmuster.core.progress import Progress
from passmuster.core.records import Item
from passmuster.store.seal import open_test
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store


def choose_evidence(
    store: Store, *, n: int, skip: Collection[str], rng: np.random.Generator, progress: Progress | None = None
) -> list[tuple[Item, float]]:
    """Up to `n` test items without a label, each with the inverse of the probability with which it was drawn.

    Opens the seal for "choose-test-labels", which is recorded and does not count as reuse. `skip` are item keys.

    Raises
    ------
    NotFoundError
        ``label.no_test`` when no items are sealed for the test.
    DataError
        ``label.none_left`` when there is nothing left to draw.
    """
    with store.read() as db:
        snapshot = read_snapshot(db)
    if not snapshot.n_items.get("test"):
        raise NotFoundError("label.no_test", "no items are sealed for the test", next="muster add PATH")
    view = open_test(store, snapshot, "choose-test-labels")
    waiting = [item for item in view.items if item.key not in view.labels and item.key not in skip]
    if not waiting:
        raise DataError("label.none_left", "every test item has a label or was passed over", next="muster release")
    n = min(n, len(waiting))
    chosen = rng.choice(len(waiting), size=n, replace=False)
    return [(waiting[int(i)], len(waiting) / n) for i in chosen]
