"""`muster label` typed at, on a real terminal, and what it says where there is none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from passmuster.flows.verify import verify
from passmuster.stages.govern import add, n_unpinned
from passmuster.store.items import read_labels
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store
from terminal_case import terminal


@pytest.fixture
def store(new_store, tmp_path: Path) -> Store:
    """30 texts, six of them labelled ham or spam; five are the given test."""
    made = new_store("text")
    rows = [
        f"r{i},number {i} of the letters \x1b[2J that came {i * 3511},{['ham', 'spam'][i % 2] if 4 < i < 11 else ''},"
        f"{'test' if i < 5 else 'train'}"
        for i in range(30)
    ]
    (tmp_path / "t.csv").write_text("id,text,label,split\n" + "\n".join(rows) + "\n")
    add(made, tmp_path / "t.csv")
    return made


def labels(store: Store) -> list[tuple[str, str]]:
    with store.read() as db:
        return [(label.label, label.who) for label in read_labels(db).values()]


def test_a_whole_session_typed(store: Store) -> None:
    before = len(labels(store))
    with terminal(store.folder, "label", "--n", "4", "--for", "train", "--who", "ana") as typed:
        seen = typed.until("label> ")
        assert "1 ham" in seen
        assert "2 spam" in seen
        assert "1 of 4 · for learning" in seen
        assert "\x1b[2J" not in seen
        assert "\\x1b[2J" in seen  # shown, not sent to the terminal
        typed.type("2")
        assert "saved: spam" in typed.until("label> ")
        typed.type("7")
        assert "there is no class '7'" in typed.until("label> ")
        typed.type("hma")
        assert "did you mean ham?" in typed.until("label> ")
        typed.type("ha")
        assert "saved: ham" in typed.until("label> ")
        typed.type("u")
        assert "taken back: ham" in typed.until("label> ")
        typed.type("s")
        assert "2 of 4" in typed.until("label> ")
        typed.type("n")
        typed.until("name of the new class> ")
        typed.type("x" * 1_000)
        assert "too long" in typed.until("label> ")
        typed.type("n")
        typed.until("name of the new class> ")
        typed.type("question")
        assert "saved: question" in typed.until("label> ")
        typed.type("q")
        told = typed.end()
    assert typed.process.returncode == 0
    assert "labelled 2 items" in told
    assert told.rstrip().endswith("Next: muster train")
    assert sorted(labels(store)[before:]) == [("question", "ana"), ("spam", "ana")]
    with store.read() as db:
        assert "question" in read_snapshot(db).classes
    assert n_unpinned(store) == 0
    assert verify(store).whole


def test_it_ends_by_itself_and_the_end_of_input_is_a_quit(store: Store) -> None:
    with terminal(store.folder, "--json", "label", "--n", "2", "--for", "test") as typed:
        assert "for the test" in typed.until("label> ")
        typed.type("1")
        typed.until("label> ")
        typed.type("2")
        told = json.loads(typed.end())
    assert told["data"]["n_done"] == 2
    assert told["data"]["n_labels"]["test"] == 2
    with terminal(store.folder, "label") as typed:
        typed.until("label> ")
        typed.type("\x04")
        assert "labelled 0 items" in typed.end()


def test_after_kill_9_what_was_saved_is_there_and_the_next_session_pins_it(store: Store) -> None:
    before = len(labels(store))
    with terminal(store.folder, "label", "--for", "train") as typed:
        typed.until("label> ")
        for _ in range(3):
            typed.type("1")
            assert "saved: ham" in typed.until("label> ")
        os.kill(typed.process.pid, signal.SIGKILL)
    assert len(labels(store)) == before + 3
    assert n_unpinned(store) == 3
    with terminal(store.folder, "label", "--for", "train") as typed:
        assert "pinned 3 items" in typed.until("label> ")
    assert n_unpinned(store) == 0


@pytest.mark.parametrize("flags", [["label"], ["--no-input", "label"]])
def test_without_a_terminal_it_names_the_other_ways(store: Store, flags: list[str]) -> None:
    command = [sys.executable, "-m", "passmuster", "-C", str(store.folder), *flags]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    assert "--export" in done.stderr
    assert "--serve" in done.stderr


def test_when_nothing_waits_it_says_so(store: Store) -> None:
    with terminal(store.folder, "label", "--for", "test", "--n", "9") as typed:
        for _ in range(5):
            typed.until("label> ")
            typed.type("1")
        assert "labelled 5 items" in typed.end()
    with terminal(store.folder, "label", "--for", "test") as typed:
        typed.until("test item")
        typed.end()
    assert typed.process.returncode in (3, 8)  # bad data or not found: whoever chooses says it
