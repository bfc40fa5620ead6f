"""Cleaning: it shows before it removes, keeps what anything needs, and what it removed is made again when asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from passmuster.core.errors import ResourceError
from passmuster.flows.clean import clean, find_leftovers
from passmuster.flows.labelling import suggest
from passmuster.flows.verify import verify
from passmuster.stages.evaluate import evaluate
from passmuster.stages.govern import add
from passmuster.stages.train import train
from passmuster.store import ledger
from passmuster.store.store import Store
from train_case import new_project, write_texts

KILLED_ADD = """
    import os, signal, sys
    from pathlib import Path
    from passmuster.stages.govern import add
    from passmuster.store.blobs import Blobs
    from passmuster.store.store import Store

    put = Blobs.put_many
    def then_die(self, contents):
        put(self, contents)
        os.kill(os.getpid(), signal.SIGKILL)

    Blobs.put_many = then_die
    add(Store.open(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def killed_add(store: Store, path: Path) -> None:
    """An add that is killed when its contents are in the blob store, and its items are not in the catalog."""
    path.write_text("id,text\n" + "".join(f"k{i},text number {i} that nobody will refer to\n" for i in range(50)))
    command = [sys.executable, "-c", textwrap.dedent(KILLED_ADD), str(store.folder), str(path)]
    ended = subprocess.run(command, env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_contents_of_a_killed_add_go_with_the_next(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))
    n = store.blobs.count()
    killed_add(store, tmp_path / "more.csv")
    assert store.blobs.count() == n + 50
    (left,) = find_leftovers(store)
    assert (left.kind, left.n) == ("contents", 50)
    (tmp_path / "one.csv").write_text("id,text\nx,one more text\n")
    add(store, tmp_path / "one.csv")
    assert store.blobs.count() == n + 1
    assert find_leftovers(store) == []
    result = add(store, tmp_path / "more.csv")  # and what was lost comes in like anything else
    assert result.n_kept == 50
    assert verify(store).whole


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_contents_of_a_killed_add_go_with_clean(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))
    n = store.blobs.count()
    killed_add(store, tmp_path / "more.csv")
    assert [one.kind for one in clean(store)] == ["contents"]
    assert store.blobs.count() == n
    assert clean(store) == []


def test_what_training_left_is_shown_removed_and_not_missed(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="training needs the extra `train`")
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90))
    old, new = train(store, seed=1), train(store, seed=2)
    before = {one.kind: one for one in find_leftovers(store)}
    assert set(before) == {"embeddings", "runs"}
    assert (before["embeddings"].n, before["runs"].n) == (1, 3)  # both runs' rungs, and the old one's encoder
    on_disk = sum(f.stat().st_size for path in before["runs"].paths for f in [path, *path.rglob("*")] if f.is_file())
    assert before["runs"].n_bytes == on_disk > 0

    assert clean(store) == list(before.values())
    assert find_leftovers(store) == []
    assert (store.runs_folder / new.run / "encoder.safetensors").is_file()
    for run in (old.run, new.run):
        assert {"args.json", "cost.json", "rungs.json", "metrics.jsonl"} <= {
            path.name for path in (store.runs_folder / run).iterdir()
        }
    with store.read() as db:
        (event,) = ledger.read(db, kind="store.clean")
    assert json.loads(json.dumps(event.payload))["removed"]["runs"]["n"] == 3
    assert verify(store).whole
    assert evaluate(store, old.bundle).report.bundle == old.bundle
    assert len(suggest(store, n=3, role="train")) == 3


def test_a_training_that_may_go_on_keeps_its_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="training needs the extra `train`")
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90))

    def full(*args: object, **options: object) -> None:
        raise ResourceError("disk.full", "no space")

    with monkeypatch.context() as patched:
        patched.setattr("passmuster.stages.train.stage.finish", full)
        with pytest.raises(ResourceError):
            train(store, seed=1)
    assert find_leftovers(store) == []
    assert train(store, seed=1).resumed


def test_nothing_is_removed_under_a_training(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))
    with store.lock("train"), pytest.raises(ResourceError) as held:
        clean(store)
    assert held.value.code == "lock.held"
