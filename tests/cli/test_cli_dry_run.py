"""`--dry-run` promises to change nothing, whatever the verb: the whole project is the same afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import import_case
import release_case as case
from command_case import muster
from passmuster.cli.app import VERBS
from passmuster.store import ledger
from passmuster.store.store import Store

# Words that give each verb something to do in a project with an evaluated bundle.
WORDS: dict[str, tuple[str, ...]] = {
    "init": (),
    "add": ("more.csv",),
    "label": ("labels.csv",),
    "train": ("--time", "60s"),
    "release": (),
    "serve": ("--port", "0"),
    "watch": (),
    "status": (),
    "check": (),
    "import": ("model.onnx", "--preprocess", "strings", "--labels", "no,yes"),
    "evaluate": (),
    "approve": (),
    "predict": ("a text",),
    "rollback": ("--reason", "x"),
    "incidents": (),
    "clean": ("--yes",),
    "verify": (),
    "doctor": (),
    "drill": ("gates",),
    "diff": (),
    "audit": (),
    "cost": (),
    "demo": (),
}
MORE_OF_LABEL = [("--export", "out.csv"), ("--serve",), ("--plan", "12"), ("--forecast",)]


def state(folder: Path, store: Store) -> tuple[object, ...]:
    """Every event and every file; SQLite's own side files and locks do not count."""
    with store.read() as db:
        events = [event.hash for event in ledger.read(db)]
        labels = db.exec_driver_sql("SELECT count(*) FROM labels").scalar()
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith((".db", "-wal", "-shm"))
    }
    return events, labels, files


@pytest.fixture
def project(new_store) -> Store:
    store: Store = case.ready(new_store()).store
    (store.folder / "labels.csv").write_text("id,label\ntrain-1,no\n")
    import_case.save(import_case.string_model(), store.folder / "model.onnx")
    (store.folder / "more.csv").write_text("id,text,label\nx1,a new text,yes\n")
    return store


def test_every_verb_is_tried_here() -> None:
    assert set(WORDS) == set(VERBS)


@pytest.mark.parametrize(
    ("verb", "words"), [*WORDS.items(), *(("label", words) for words in MORE_OF_LABEL)], ids=lambda v: str(v)
)
def test_a_dry_run_changes_nothing(
    verb: str, words: tuple[str, ...], project: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(project.folder, project)
    monkeypatch.chdir(project.folder)
    done = muster(project.folder, verb, *words, "--dry-run")
    assert "Traceback" not in done.stderr, done.stderr
    assert state(project.folder, project) == before


def test_serving_nothing_is_an_error_in_a_dry_run_too(project: Store) -> None:
    done = muster(project.folder, "serve", "--dry-run")
    assert (done.returncode, "points at no release" in done.stderr) == (8, True)
