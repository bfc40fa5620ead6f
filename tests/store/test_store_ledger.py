"""The ledger: any change, drop or reordering of events is found, and a cut tail against any checkpoint."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from passmuster.store import ledger
from passmuster.store.store import Store


@pytest.fixture
def store(new_store) -> Store:
    """A project with ten events."""
    made: Store = new_store()
    for i in range(9):
        with made.act("label.add", actor="ana") as act:
            act.payload.update(n=i, what={"b": [1.5, None], "a": "é"})
    return made


def edit(store: Store, *statements: str) -> None:
    db = sqlite3.connect(store.root / "catalog.db")
    with db:
        for statement in statements:
            db.execute(statement)
    db.close()


def problems(store: Store, points: list[dict[str, object]] | None = None) -> list[str]:
    with store.read() as db:
        return ledger.problems(db, points or [])


def point(store: Store) -> dict[str, object]:
    with store.read() as db:
        return ledger.checkpoint(db)


def test_a_whole_chain_has_no_problem(store: Store) -> None:
    assert problems(store, [point(store)]) == []


def test_the_first_event_follows_the_genesis(store: Store) -> None:
    with store.read() as db:
        chain = list(ledger.read(db))
    assert [event.seq for event in chain] == list(range(1, 11))
    assert chain[0].previous == ledger.GENESIS
    assert all(b.previous == a.hash for a, b in pairwise(chain))


@pytest.mark.parametrize(
    "change",
    [
        "SET actor = 'bob'",
        "SET at = '2020-01-01T00:00:00.000000+00:00'",
        "SET kind = 'label.drop'",
        "SET payload = replace(payload, '1.5', '1.6')",
        "SET payload = replace(payload, '{', '{ ')",
        "SET payload = replace(payload, '}}', ',\"c\":1}}')",
        "SET payload = 'no json'",
        "SET payload = 'NaN'",
        "SET payload = x'00'",
        "SET hash = replace(hash, substr(hash, 1, 1), 'z')",
        "SET previous = hash",
    ],
)
def test_any_change_of_an_event_is_found_and_named(store: Store, change: str) -> None:
    edit(store, f"UPDATE events {change} WHERE seq = 5")
    found = problems(store)
    assert any("event 5 " in problem for problem in found), found


def test_a_dropped_event_is_found_and_named(store: Store) -> None:
    edit(store, "DELETE FROM events WHERE seq = 5")
    assert any("event 5 is missing" in problem for problem in problems(store))


def test_a_dropped_event_is_found_when_the_rest_moves_up(store: Store) -> None:
    edit(store, "DELETE FROM events WHERE seq = 5", "UPDATE events SET seq = seq - 1 WHERE seq > 5")
    assert any("event 5 " in problem for problem in problems(store))


def test_a_dropped_beginning_is_found(store: Store) -> None:
    edit(store, "DELETE FROM events WHERE seq < 4")
    assert any("event 1 is missing" in problem for problem in problems(store))


def test_two_events_in_another_order_are_found(store: Store) -> None:
    edit(
        store,
        "UPDATE events SET seq = 100 WHERE seq = 5",
        "UPDATE events SET seq = 5 WHERE seq = 6",
        "UPDATE events SET seq = 6 WHERE seq = 100",
    )
    assert any("event 5 " in problem for problem in problems(store))


def test_a_cut_tail_is_found_against_a_checkpoint_only(store: Store) -> None:
    end = point(store)
    edit(store, "DELETE FROM events WHERE seq > 7")
    assert problems(store) == []
    assert problems(store, [end]) == [
        "the ledger does not reach the checkpoint at event 10: its tail was cut or replaced"
    ]


def rewrite(store: Store) -> None:
    """Drop the last events and write others, each with the right hash."""
    edit(store, "DELETE FROM events WHERE seq > 7")
    for _ in range(5):
        with store.act("label.add"):
            pass


def test_a_replaced_tail_is_found_against_a_checkpoint(store: Store) -> None:
    end = point(store)
    rewrite(store)
    assert problems(store) == []
    assert problems(store, [end])


def test_an_older_checkpoint_does_not_object_to_a_longer_chain(store: Store) -> None:
    early = point(store)
    with store.act("label.add"):
        pass
    assert problems(store, [early, point(store), {"seq": 0, "hash": ledger.GENESIS}]) == []


def test_reading_goes_on_after_an_event_and_by_kind(store: Store) -> None:
    with store.read() as db:
        assert [event.seq for event in ledger.read(db, after=8)] == [9, 10]
        assert [event.kind for event in ledger.read(db, kind="project.init")] == ["project.init"]


def half_done(store: Store, n: float) -> None:
    """An act that writes a row and then fails: by itself, or because its event has no JSON form."""
    with store.act("label.add") as act:
        act.db.exec_driver_sql("INSERT INTO meta VALUES ('half', 'done')")
        act.payload["share"] = 1 / n
        if n == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("n", "error"), [(1.0, KeyboardInterrupt), (0.0, ZeroDivisionError), (float("nan"), ValueError)]
)
def test_an_act_that_fails_leaves_neither_rows_nor_event(store: Store, n: float, error: type[BaseException]) -> None:
    before = point(store)
    with pytest.raises(error):
        half_done(store, n)
    assert point(store) == before
    with store.read() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM meta WHERE key = 'half'").scalar() == 0


def test_events_of_two_stores_on_one_project_make_one_chain(store: Store) -> None:
    other = Store.open(Path(store.folder))
    for i in range(6):
        with (store, other)[i % 2].act("label.add"):
            pass
    assert problems(store, [point(other)]) == []
    assert point(store)["seq"] == 16
