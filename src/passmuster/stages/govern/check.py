"""Run every check again over the latest snapshot, and say what is seen now."""

from __future__ import annotations

from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Finding
from passmuster.modality.find import modalities
from passmuster.stages.govern.inspect import disagreements, find_copies, inspect_items, inspect_labels
from passmuster.store.items import read_items, read_labels
from passmuster.store.seal import open_test
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store


def check(store: Store, *, progress: Progress | None = None) -> list[Finding]:
    """Findings in the latest snapshot, computed anew with the present configuration; nothing is changed.

    The test is opened for a leakage check, which is recorded and does not count as reuse.

    Raises
    ------
    NotFoundError
        ``snapshot.none`` before the first add.
    """
    progress = progress or Silent()
    modality = modalities[store.config.project.modality]
    with store.read() as db:
        snapshot = read_snapshot(db)
        placement = read_placement(db, snapshot)
        everything = read_items(db)
        labels = {key: label.label for key, label in read_labels(db).items()}
        contradicting = disagreements(db)
    if snapshot.n_items.get("test"):
        open_test(store, snapshot, "leakage-check")
    items = [item for item in everything if item.key in placement]
    splits = [placement[item.key][0] for item in items]
    quarantined = [item for item in everything if item.status == "quarantined"]
    copies = find_copies(store, modality, items, progress)
    found = inspect_items(store, modality, items, splits, copies, quarantined, progress)
    return found + inspect_labels(items, splits, labels, store.config, found) + contradicting
