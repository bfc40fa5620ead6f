"""The seal: training never sees the test, and every opening of it is recorded and counted."""

from __future__ import annotations

from sqlalchemy import select

import release_case as case
from passmuster.core.records import Label
from passmuster.store import ledger, schema
from passmuster.store.items import add_labels, read_items
from passmuster.store.seal import open_test, training_view
from passmuster.store.store import Store


def test_the_training_view_holds_no_test_item_and_no_test_label(new_store) -> None:
    store: Store = new_store()
    snapshot = case.add_data(store)
    view = training_view(store, snapshot)
    assert {item.id.split("-")[0] for item in (*view.pool, *view.reference)} == {"train"}
    assert set(view.labels) == {item.key for item in view.pool}
    assert {label.role for label in view.labels.values()} == {"train"}


def test_a_training_label_on_a_test_item_stays_outside(new_store) -> None:
    store: Store = new_store()
    snapshot = case.add_data(store)
    with store.read() as db:
        test_item = next(item for item in read_items(db) if item.id == "test-0")
    with store.act("label.add") as act:
        add_labels(act.db, [Label(test_item.key, "no", "ana", case.now(), "train")])
    from dataclasses import replace

    assert test_item.key not in training_view(store, replace(snapshot, labels_read=1000)).labels


def test_labels_after_the_snapshot_are_not_in_its_view(new_store) -> None:
    store: Store = new_store()
    snapshot = case.add_data(store)
    key = training_view(store, snapshot).pool[0].key
    with store.act("label.add") as act:
        add_labels(act.db, [Label(key, "no", "ana", case.now(), "train")])
    assert training_view(store, snapshot).labels[key].label == "yes"


def test_an_opening_is_an_event_and_counts(new_store) -> None:
    store: Store = new_store()
    snapshot = case.add_data(store)
    looks = [open_test(store, snapshot, purpose).look for purpose in ("evaluate", "leakage-check", "evaluate")]
    assert looks == [1, 1, 2]
    with store.read() as db:
        opened = list(ledger.read(db, kind="test.open"))
        rows = list(db.execute(select(schema.seal_openings)))
    assert [event.payload["purpose"] for event in opened] == ["evaluate", "leakage-check", "evaluate"]
    assert [row.counted for row in rows] == [1, 0, 1]
    assert {row.policy for row in rows} == {store.config.policy.digest()}


def test_an_opening_shows_the_test_and_its_latest_labels(new_store) -> None:
    store: Store = new_store()
    snapshot = case.add_data(store, n_test=10, n_test_labels=4)
    view = open_test(store, snapshot, "evaluate")
    assert len(view.items) == 10
    assert len(view.labels) == 4
    case.label_test(store, view.items[4:7])
    assert len(open_test(store, snapshot, "evaluate").labels) == 7
    assert {label.role for label in view.labels.values()} == {"test"}
