"""Items of a dataset version, in its order, however many statements it takes to write and read them."""

from __future__ import annotations

from dataclasses import replace

import release_case as case
from passmuster.store.items import KEYS_AT_ONCE, ROWS_AT_ONCE, add_items, read_items
from passmuster.store.snapshots import add_snapshot, commit_items, read_placement, read_split
from passmuster.store.store import Store


def test_more_items_than_one_statement_takes_keep_their_order_and_place(new_store) -> None:
    store: Store = new_store()
    snapshot = case.add_data(store, n_train=3, n_test=2)
    n = ROWS_AT_ONCE + 5
    items = [replace(case.item(store, f"more-{i}", "0" * 64), blob=f"{i:064x}") for i in range(n)]
    backwards = items[::-1]
    splits = ["test" if i % 3 == 0 else "train" for i in range(n)]
    _, rows = commit_items([(item, split, "") for item, split in zip(backwards, splits, strict=True)])  # type: ignore[misc]
    child = replace(snapshot, digest="c" * 64, parent=snapshot.digest)
    with store.act("data.add") as act:
        add_items(act.db, items)
        add_snapshot(act.db, child, rows)
    with store.read() as db:
        assert read_items(db)[-n:] == items
        assert read_split(db, child, "test") == backwards[::3]
        whole = read_placement(db, child)
        asked = [item.key for item in items[: KEYS_AT_ONCE + 1]]
        assert read_placement(db, child, asked) == {key: whole[key] for key in asked}
        assert read_placement(db, snapshot, asked) == {}
    assert list(whole) == [item.key for item in backwards]
