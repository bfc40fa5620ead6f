"""The catalog under bad luck: kill -9 in mid-act, damaged bytes, another version, two writers, locks of the dead."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from passmuster.core.errors import IntegrityError, NotFoundError, ResourceError
from passmuster.store import ledger
from passmuster.store.store import Store

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9: not tried here")

WRITER = """
import os, sys
from pathlib import Path
from passmuster.store.store import Store
store = Store.open(Path(sys.argv[1]))
for i in range(10_000):
    with store.act("label.add") as act:
        act.db.exec_driver_sql("INSERT INTO meta VALUES (?, 'x')", (f"row-{sys.argv[3]}-{i}",))
        act.payload["n"] = i
        if i == int(sys.argv[2]):
            print("in the middle", flush=True)
            sys.stdin.read()
    print(i, flush=True)
"""

LOCKER = """
import sys
from pathlib import Path
from passmuster.store.store import Store
with Store.open(Path(sys.argv[1])).lock("train"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def start(program: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def kill(process: subprocess.Popen[str]) -> str:
    """Kill at once and return what it had said and not been read."""
    process.kill()
    said = process.stdout.read() if process.stdout else ""
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    return said


def count_rows_and_events(store: Store) -> tuple[int, int]:
    with store.read() as db:
        rows = db.exec_driver_sql("SELECT count(*) FROM meta WHERE key LIKE 'row-%'").scalar()
        assert ledger.problems(db, []) == []
        return int(rows or 0), sum(event.kind == "label.add" for event in ledger.read(db))


@needs_kill
def test_a_killed_act_leaves_neither_rows_nor_event(new_store) -> None:
    store: Store = new_store()
    writer = start(WRITER, str(store.folder), "3", "a")
    for line in writer.stdout or ():
        if line.startswith("in the middle"):
            break
    kill(writer)
    assert count_rows_and_events(store) == (3, 3)
    with store.act("label.add"):
        pass  # the dead hold no lock


@needs_kill
def test_killed_anywhere_rows_and_events_agree_and_nothing_acknowledged_is_lost(new_store) -> None:
    store: Store = new_store()
    for round_ in range(4):
        before, _ = count_rows_and_events(store)
        writer = start(WRITER, str(store.folder), "-1", str(round_))
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(5)]
        time.sleep(0.013 * round_)
        said += kill(writer).splitlines()
        acknowledged = len([line for line in said if line.strip().isdigit()])
        n_rows, n_events = count_rows_and_events(store)
        assert n_rows == n_events
        assert n_rows - before in (acknowledged, acknowledged + 1)  # one may have been kept and not yet told


def scribble(path: Path, start_at: int, n: int = 4096) -> None:
    with path.open("r+b") as file:
        file.seek(start_at)
        file.write(b"\xa5" * n)


@pytest.fixture
def closed(new_store) -> Path:
    """The folder of a project with some history, its catalog in one file."""
    store: Store = new_store()
    for i in range(200):
        with store.act("label.add") as act:
            act.payload["n"] = i
    store.close()
    db = sqlite3.connect(store.root / "catalog.db")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return store.folder


@pytest.mark.parametrize("start_at", [0, 4096, 8192, 40960])
def test_a_damaged_catalog_is_told_and_not_opened(closed: Path, start_at: int) -> None:
    scribble(closed / ".muster" / "catalog.db", start_at)
    with pytest.raises(IntegrityError) as caught:
        Store.open(closed)
    assert caught.value.code == "catalog.damaged"
    assert caught.value.exit_code == 9


def test_a_truncated_catalog_is_told(closed: Path) -> None:
    path = closed / ".muster" / "catalog.db"
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(IntegrityError):
        Store.open(closed)


def test_an_empty_catalog_is_told(closed: Path) -> None:
    (closed / ".muster" / "catalog.db").write_bytes(b"")
    with pytest.raises(IntegrityError):
        Store.open(closed)


def test_a_catalog_of_another_version_is_told(closed: Path) -> None:
    db = sqlite3.connect(closed / ".muster" / "catalog.db")
    with db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    db.close()
    with pytest.raises(IntegrityError) as caught:
        Store.open(closed)
    assert caught.value.code == "catalog.version"


def test_a_project_without_a_store_is_told(closed: Path) -> None:
    (closed / ".muster" / "catalog.db").unlink()
    with pytest.raises(NotFoundError) as caught:
        Store.open(closed)
    assert caught.value.next == "muster init"


def test_two_of_a_kind_do_not_run_at_once(new_store) -> None:
    store: Store = new_store()
    with store.lock("train"):
        with pytest.raises(ResourceError) as caught, store.lock("train"):
            pass
        with store.lock("release"):
            pass  # another kind goes on
    assert caught.value.code == "lock.held"
    with store.lock("train"):
        pass


@needs_kill
def test_a_lock_is_released_by_kill_9(new_store) -> None:
    store: Store = new_store()
    locker = start(LOCKER, str(store.folder))
    assert locker.stdout is not None
    assert locker.stdout.readline() == "locked\n"
    with pytest.raises(ResourceError), store.lock("train"):
        pass
    kill(locker)
    with store.lock("train"):
        pass


def test_creating_again_opens_unchanged(new_store) -> None:
    store: Store = new_store()
    with store.act("label.add"):
        pass
    again = Store.create(store.folder)
    with again.read() as db:
        assert [event.kind for event in ledger.read(db)] == ["project.init", "label.add"]


def test_a_bundle_is_found_wherever_the_project_lies(new_store) -> None:
    store: Store = new_store()
    for path in (".muster/bundles/abc", "bundles/abc", "/elsewhere/.muster/bundles/abc"):
        assert store.bundle_folder(path) == store.root / "bundles" / "abc"


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_ledger_is_not_begun_anew_over_what_an_earlier_one_spoke_of(new_store, how: str) -> None:
    store: Store = new_store()
    store.blobs.put_many([b"a text"])
    (store.bundles_folder / "0123456789abcdef").mkdir(parents=True)
    store.close()
    for path in store.root.glob("catalog.db*"):
        path.unlink()
    if how == "emptied":
        (store.root / "catalog.db").touch()
    before = sorted(store.root.rglob("*"))
    with pytest.raises(IntegrityError) as caught:
        Store.create(store.folder)
    assert caught.value.code == "catalog.gone"
    assert caught.value.value == "1 blobs, 1 bundles"
    assert "backup" in str(caught.value.next)
    with pytest.raises(IntegrityError) as caught:
        Store.open(store.folder)
    assert "backup" in str(caught.value.next)
    assert [path for path in sorted(store.root.rglob("*")) if "-wal" not in path.name and "-shm" not in path.name] == [
        path for path in before if "-wal" not in path.name and "-shm" not in path.name
    ]


def test_making_a_store_that_was_killed_on_its_way_goes_on(new_store) -> None:
    store: Store = new_store()
    store.close()
    for path in store.root.glob("catalog.db*"):
        path.unlink()
    (store.root / "catalog.db").touch()  # keys and an empty blob store are there, and nothing else
    key = (store.keys_folder / "digest.key").read_bytes()
    again = Store.create(store.folder)
    assert (again.keys_folder / "digest.key").read_bytes() == key
    with again.read() as db:
        assert [event.kind for event in ledger.read(db)] == ["project.init"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no user ids")
def test_a_user_without_a_name_acts_under_a_number(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)  # as under `docker run --user 1234567`
    assert new_store().actor == "uid-1234567"
