"""Single answers: kept at once, undone by another fact, pinned later, safe from kill -9 and from two people at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from passmuster.core.errors import DataError, NotFoundError
from passmuster.flows.verify import verify
from passmuster.stages.govern import Answer, add, answer, check, n_unpinned, pin, skip, skipped, withdraw
from passmuster.store import ledger
from passmuster.store.items import read_items, read_labels, standing_labels
from passmuster.store.seal import open_test, training_view
from passmuster.store.snapshots import read_findings, read_snapshot
from passmuster.store.store import Store

# Labels every item named on stdin "a", one call each, and acknowledges each on stdout once it has returned.
LABELLER = """
import sys
from pathlib import Path
from passmuster.stages.govern import Answer, answer
from passmuster.store.store import Store
folder, who, label = sys.argv[1:]
store = Store.open(Path(folder))
for line in sys.stdin:
    answer(store, [Answer(line.strip(), label)], who=who)
    print(line.strip(), flush=True)
"""


@pytest.fixture
def store(new_store, tmp_path: Path) -> Store:
    """A text project of 60 items without labels; r0 to r19 are the given test."""
    made = new_store("text")
    rows = [f"r{i},number {i} is a text of its own kind {i * 37},{'test' if i < 20 else 'train'}" for i in range(60)]
    (tmp_path / "t.csv").write_text("id,text,split\n" + "\n".join(rows) + "\n")
    add(made, tmp_path / "t.csv")
    return made


def keys(store: Store) -> list[str]:
    with store.read() as db:
        return [item.key for item in training_view(store, read_snapshot(db)).pool]


def sealed(store: Store) -> list[str]:
    with store.read() as db:
        return [item.key for item in read_items(db) if item.given_split == "test"]


def now_read(store: Store) -> dict[str, str]:
    with store.read() as db:
        return {key: label.label for key, label in read_labels(db).items()}


def kinds(store: Store) -> list[str]:
    with store.read() as db:
        return [event.kind for event in ledger.read(db)]


def test_an_answer_is_a_fact_and_an_event_and_makes_no_version(store: Store) -> None:
    with store.read() as db:
        before = read_snapshot(db)
    n_events = len(kinds(store))
    key = keys(store)[0]
    assert answer(store, [Answer(key, " a ")], who="ana").n_new == 1
    assert now_read(store) == {key: "a"}
    assert kinds(store)[n_events:] == ["label.answer"]
    with store.read() as db:
        assert read_snapshot(db) == before
    assert len(training_view(store, before).labels) == 0  # what was pinned stays what it was
    assert verify(store).whole


def test_saying_it_again_adds_no_fact_but_another_word_does(store: Store) -> None:
    key = keys(store)[0]
    answer(store, [Answer(key, "a")], who="ana")
    assert answer(store, [Answer(key, "a")], who="ana").n_new == 0
    assert answer(store, [Answer(key, "b")], who="ana").n_new == 1
    with store.read() as db:
        assert [fact.label for fact in standing_labels(db)[key]] == ["a", "b"]


def test_undo_is_another_fact_after_which_the_earlier_label_stands(store: Store) -> None:
    key = keys(store)[0]
    answer(store, [Answer(key, "a")], who="ana")
    answer(store, [Answer(key, "b")], who="ben")
    answer(store, [Answer(key, "c")], who="ana")
    left = withdraw(store, key, who="ana")
    assert left is not None
    assert (left.label, left.who) == ("b", "ben")
    left = withdraw(store, key, who="ben")
    assert left is not None
    assert left.label == "a"
    assert withdraw(store, key, who="ana") is None
    assert now_read(store) == {}
    with pytest.raises(NotFoundError) as caught:
        withdraw(store, key, who="ana")
    assert caught.value.code == "label.nothing_to_undo"
    with store.read() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM labels").scalar() == 6
    assert verify(store).whole


def test_undo_takes_back_ones_own_word_whoever_spoke_last(store: Store) -> None:
    one, two = keys(store)[:2]
    for key in (one, two):
        answer(store, [Answer(key, "a")], who="ana")
        answer(store, [Answer(key, "b")], who="ben")
    withdraw(store, one, who="ana")
    withdraw(store, two, who="ben")
    assert now_read(store) == {one: "b", two: "a"}


def test_pinning_makes_one_version_of_all_answers_and_only_when_something_differs(store: Store) -> None:
    assert pin(store) is None
    names = keys(store)
    for i, key in enumerate(names[:6]):
        answer(store, [Answer(key, "ab"[i % 2])])
    withdraw(store, names[5])
    assert n_unpinned(store) == 5
    pinned = pin(store)
    assert pinned is not None
    assert pinned.n == 5
    assert pinned.snapshot.n_labels == {"train": 5}
    assert len(training_view(store, pinned.snapshot).labels) == 5
    assert n_unpinned(store) == 0
    answer(store, [Answer(names[7], "a")])
    withdraw(store, names[7])
    assert pin(store) is None  # answered and taken back: nothing differs
    withdraw(store, names[0])  # a pinned label can be taken back too
    again = pin(store)
    assert again is not None
    assert again.snapshot.n_labels == {"train": 4}
    assert len(training_view(store, pinned.snapshot).labels) == 5  # the version before keeps its own
    assert verify(store).whole


def test_adding_data_pins_what_was_answered(store: Store, tmp_path: Path) -> None:
    answer(store, [Answer(keys(store)[0], "a")])
    (tmp_path / "more.csv").write_text("id,text\nx1,one more text altogether\n")
    assert add(store, tmp_path / "more.csv").n_labels == {"train": 1}
    assert n_unpinned(store) == 0
    assert verify(store).whole


def test_test_answers_keep_their_weight_and_need_no_pin(store: Store) -> None:
    key = sealed(store)[0]
    answer(store, [Answer(key, "a", "test", 2.5)])
    assert n_unpinned(store) == 0
    with store.read() as db:
        snapshot = read_snapshot(db)
    assert open_test(store, snapshot, "evaluate").labels[key].weight == 2.5


@pytest.mark.parametrize(
    ("role", "label", "code"),
    [
        ("train", "", "label.name"),
        ("train", "   ", "label.name"),
        ("train", "x" * 1_000, "label.name"),
        ("train", "a\x1b[2J", "label.name"),
        ("test", "a", "label.not_in_test"),
    ],
)
def test_answers_that_are_refused(store: Store, role: str, label: str, code: str) -> None:
    names = keys(store)
    with pytest.raises(DataError) as caught:
        answer(store, [Answer(names[0], "a"), Answer(names[1], label, role)])  # type: ignore[arg-type]
    assert caught.value.code == code
    assert now_read(store) == {}


def test_items_that_are_sealed_or_gone_are_refused(store: Store) -> None:
    with pytest.raises(DataError, match="sealed"):
        answer(store, [Answer(sealed(store)[0], "a")])
    with pytest.raises(NotFoundError) as caught:
        answer(store, [Answer("f" * 32, "a")])
    assert caught.value.code == "label.unknown_item"


def test_skips_are_each_persons_own_and_can_be_taken_back(store: Store) -> None:
    one, two = keys(store)[:2]
    skip(store, one, who="ana")
    skip(store, two, who="ana")
    skip(store, two, who="ana", back=True)
    with store.read() as db:
        assert skipped(db, "ana") == {one}
        assert skipped(db, "ben") == set()


def test_verify_sees_an_answer_that_was_changed_before_it_was_pinned(store: Store) -> None:
    answer(store, [Answer(keys(store)[0], "a")])
    with store.note() as db:
        db.exec_driver_sql("UPDATE labels SET label = 'b'")
    assert any("(label.answer) are not those" in problem for problem in verify(store).problems)


def test_two_processes_at_once_lose_nothing_and_contradictions_are_told(store: Store) -> None:
    names = keys(store)
    people = {"ana": ("a", names[:20]), "ben": ("b", names[10:30])}
    running = []
    for who, (label, items) in people.items():
        command = [sys.executable, "-c", LABELLER, str(store.folder), who, label]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin
        process.stdin.write("\n".join(items) + "\n")
        process.stdin.close()
        running.append((process, items))
    for process, items in running:
        assert process.stdout
        assert process.stdout.read().split() == items
        assert process.wait() == 0
        process.stdout.close()
    with store.read() as db:
        said = {key: {fact.who: fact.label for fact in facts} for key, facts in standing_labels(db).items()}
    assert len(said) == 30
    assert all(said[key] == {"ana": "a", "ben": "b"} for key in names[10:20])
    third = answer(store, [Answer(names[10], "c")], who="cy")
    assert third.others == {names[10]: {"ana": "a", "ben": "b"}}
    pinned = pin(store)
    assert pinned is not None
    (finding,) = [f for f in pinned.findings if f.kind == "label_disagreement"]
    assert len(finding.items) == 10
    assert "ana: a" in finding.title
    with store.read() as db:
        assert "label_disagreement" in [f.kind for f in read_findings(db, pinned.snapshot.digest)]
    assert "label_disagreement" in [f.kind for f in check(store)]
    assert verify(store).whole


def test_after_kill_9_every_acknowledged_answer_is_there(store: Store) -> None:
    names = keys(store)
    acknowledged: list[str] = []
    for start in range(0, 30, 10):
        command = [sys.executable, "-c", LABELLER, str(store.folder), "ana", "a"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n".join(names[start : start + 10]) + "\n")
        process.stdin.flush()
        acknowledged += [process.stdout.readline().strip() for _ in range(4)]
        time.sleep(0.001 * start)  # strike at different moments of an act
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        acknowledged += process.stdout.read().split()
        process.stdin.close()
        process.stdout.close()
    assert len(acknowledged) >= 12
    assert set(acknowledged) <= set(now_read(store))
    assert n_unpinned(store) >= len(acknowledged)
    assert pin(store) is not None
    assert verify(store).whole


def test_a_training_pins_what_a_killed_session_left(tmp_path: Path) -> None:
    from passmuster.flows.project import Project
    from train_case import new_project, write_texts

    made = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60, n_test=9))
    with made.read() as db:
        latest = read_snapshot(db)
    view = training_view(made, latest)
    answer(made, [Answer(next(item.key for item in view.pool if item.key not in view.labels), "tea")])
    trained = Project(made).train(time="60s")
    assert trained.n_labels == len(view.labels) + 1
    assert trained.snapshot != latest.digest
