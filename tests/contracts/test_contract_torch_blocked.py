"""What serves, watches, shows help or looks runs without torch, scikit-learn and onnx: their import is made to fail."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from browser_case import label_server
from label_case import dark_and_light
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.signature import check_signature
from passmuster.store import keys
from passmuster.store.store import Store
from serving_case import kept, pictures, png, project, release, serving, sign

BLOCKED = ("torch", "sklearn", "onnx", "safetensors", "transformers")
HOOK = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is blocked in this test")

sys.meta_path.insert(0, Refuse())
"""
LIGHT = pictures(2)[1]


@pytest.fixture(autouse=True)
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python started in a test runs the hook first."""
    folder = tmp_path / "hook"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )


@pytest.fixture
def store(new_store) -> Store:
    made = project(new_store)
    (made.folder / "light.png").write_bytes(base64.b64decode(png(LIGHT)))
    return made


def muster(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "passmuster", "-C", str(folder), "--json", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_block_blocks() -> None:
    for name in BLOCKED:
        done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, text=True, check=False)
        assert "is blocked in this test" in done.stderr


def test_help_of_the_command_and_of_every_verb(tmp_path: Path) -> None:
    from passmuster.cli.app import VERBS

    script = (
        "import sys\n"
        "from passmuster.cli.app import app\n"
        "assert 'numpy' not in sys.modules, 'help waits for numpy'\n"
        "assert 'rich' not in sys.modules, 'help waits for rich'\n"
        f"for words in [['--help']] + [[verb, '--help'] for verb in {list(VERBS)!r}]:\n"
        "    try:\n"
        "        app(words)\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, words\n"
        "assert 'numpy' not in sys.modules, 'help waits for numpy'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage:") == len(VERBS) + 1


def test_serving_and_following_a_move(store: Store) -> None:
    from passmuster.store.releases import point_channel

    second = release(store, "r2", scale=-20.0)
    with serving(store) as server, server.client() as client:
        body = client.post("/v1/predict", json={"item": png(LIGHT)}).json()
        assert body["label"] == "light"
        assert client.post("/v1/feedback", json={"id": body["id"], "label": "light"}).status_code == 200
        with store.act("channel.move") as act:
            point_channel(act, "live", second)
        answers = (client.post("/v1/predict", json={"item": png(LIGHT)}).json() for _ in range(2_000))
        assert next(a for a in answers if a["release"] == "r2")["label"] == "dark"
        assert server.stop() == 0
    assert body["id"] in kept(store)


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "light.png"),
        ("verify",),
        ("watch", "--once"),
        ("incidents",),
        ("doctor",),
        ("check",),
        ("cost",),
        ("cost", "--all"),
        ("rollback", "--reason", "drill"),
        ("approve", "--channel", "canary"),
    ],
    ids=lambda words: words[0],
)
def test_the_commands_that_need_no_learning(store: Store, words: tuple[str, ...]) -> None:
    words = tuple(str(store.folder / w) if w.endswith(".png") else w for w in words)
    done = muster(store.folder, *words)
    told = json.loads(done.stdout)
    # Some of them have nothing to do in this project and say so; none may fail for want of a library.
    assert "blocked" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2, 3, 4, 8, 9), done.stderr
    assert told["ok"] == (done.returncode == 0)
    if words[0] in ("predict", "watch", "incidents", "doctor"):
        assert done.returncode == 0, done.stdout


def test_labelling_in_the_browser_with_guesses(new_store, tmp_path: Path) -> None:
    store = dark_and_light(new_store("image"), tmp_path)
    with label_server(store.folder, "--for", "train", "--n", "5") as server, httpx.Client(timeout=60) as client:
        body: dict = {"place": "tab", "held": []}
        while client.post(server.url + "state", json=body).json()["choosing"]:
            pass
        items = client.post(server.url + "next", json=body).json()["items"]
        assert {item["guess"] for item in items} <= {"dark", "light"}
        answer = client.post(server.url + "answer", json={**body, "keys": [items[0]["key"]], "label": "dark"})
        assert answer.status_code == 200
        assert server.stop() == 0


def test_a_new_project_takes_in_files(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    rows = "\n".join(
        f"{kind} number {i} of the letters we got,{kind if i < 20 else ''}"
        for i in range(30)
        for kind in ("praise", "blame")
    )
    folder.mkdir()
    (tmp_path / "letters.csv").write_text(f"text,label\n{rows}\n")
    todo = ("label", "--export", str(tmp_path / "todo.csv"), "--n", "5")
    for words in (("init", "--modality", "text"), ("add", str(tmp_path / "letters.csv")), ("check",), todo):
        done = muster(folder, *words)
        assert "blocked" not in done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_to_label_next_is_chosen_without_them(store: Store, new_store: Callable[..., Store]) -> None:
    """With a model its own encoder embeds; before there is one, items come at random where the extra is missing."""
    photos = store.folder / "photos"
    photos.mkdir()
    for i, image in enumerate(pictures(30)):
        (photos / f"{i:02d}.png").write_bytes(base64.b64decode(png(image)))
    bare = new_store("text")
    (bare.folder / "notes.csv").write_text("text\n" + "".join(f"note number {i} of many\n" for i in range(30)))
    script = (
        "import sys; from pathlib import Path\n"
        "from passmuster.flows.labelling import suggest\n"
        "from passmuster.stages.govern import add\n"
        "from passmuster.store.store import Store\n"
        "for folder, data in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    store = Store.open(Path(folder))\n"
        "    add(store, Path(data))\n"
        "    print(sorted({s.why for s in suggest(store, n=3, role='train')}))\n"
        f"print([n for n in {BLOCKED!r} if n in sys.modules])\n"
    )
    words = [str(store.folder), str(photos), str(bare.folder), str(bare.folder / "notes.csv")]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["['typical of a group without a label']", "['drawn at random']", "[]"], (
        done.stderr
    )


def test_a_signature_is_checked_without_them(store: Store) -> None:
    """The parts that decide what may be served, in a process of their own."""
    with store.read() as db:
        from passmuster.store.releases import read_release

        path = store.bundle_folder(read_release(db, "r1").path)
    sign(store, path)
    check_signature(open_bundle(path), keys.public_key(store.keys_folder))
    script = (
        "import sys; from pathlib import Path\n"
        "from passmuster.runtime.bundle import open_bundle\n"
        "from passmuster.runtime.predictor import Predictor\n"
        f"Predictor(open_bundle(Path({str(path)!r})))\n"
        f"print([n for n in {BLOCKED!r} if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
