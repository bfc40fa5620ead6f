"""`muster serve` and `muster predict` as typed."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from passmuster.cli.app import app, hoist_globals
from passmuster.core.errors import DataError, IntegrityError, MusterError, NotFoundError
from passmuster.store.store import Store
from serving_case import pictures, png, project, serving, strange, write


@pytest.fixture
def store(new_store) -> Store:
    return project(new_store)


def muster(*words: str, stdin: str = "") -> str:
    """What a command prints on stdout; its error is raised."""
    done = CliRunner().invoke(app, hoist_globals(list(words)), input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def answers(*words: str, stdin: str = "") -> list[dict[str, Any]]:
    return json.loads(muster("--json", *words, stdin=stdin))["data"]["predictions"]


def save(folder: Path, name: str, pixels: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(png(pixels)))
    return path


def test_files_and_folders_are_predicted(store: Store, tmp_path: Path) -> None:
    dark, light = pictures(2)
    files = [save(tmp_path / "in", "a.png", dark), save(tmp_path / "in", "deep/b.png", light)]
    save(tmp_path / "in", "c.txt", light)  # not an image by its name
    odd = save(tmp_path, "odd.png", strange())
    found = answers("-C", str(store.folder), "predict", str(tmp_path / "in"), str(odd))
    assert [(a["item"], a["label"], a["abstained"]) for a in found] == [
        (str(files[0]), "dark", False),
        (str(files[1]), "light", False),
        (str(odd), found[2]["label"], True),
    ]
    assert found[2]["reasons"] == ["novel"]
    text = muster("-C", str(store.folder), "predict", str(files[0]), str(odd)).splitlines()
    assert text[0].split("\t")[0::2] == ["dark", "ok"]
    assert "withheld: novel" in text[1]
    assert text[-1].startswith("Next: muster")


def test_a_bundle_is_named_by_digest_or_folder(store: Store, tmp_path: Path) -> None:
    light = save(tmp_path, "light.png", pictures(2)[1])
    swapped = write(tmp_path / "elsewhere", scale=-20.0)
    assert answers("-C", str(store.folder), "predict", str(light), "--bundle", str(swapped))[0]["label"] == "dark"
    with store.read() as db:
        from passmuster.store.releases import read_bundle

        digest = read_bundle(db).digest
    assert answers("-C", str(store.folder), "predict", str(light), "--bundle", digest[:8])[0]["label"] == "light"


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (("no-such.png",), NotFoundError, "predict.no_file"),
        (("{folder}/broken.png",), DataError, "item."),
        (("{folder}/broken.png", "--channel", "canary"), NotFoundError, "channel.none"),
        (("{folder}/broken.png", "--bundle", "ffff"), NotFoundError, "bundle.none"),
        (("{folder}/empty",), MusterError, "predict.no_items"),
    ],
)
def test_what_cannot_be_predicted_is_told(
    store: Store, tmp_path: Path, words: tuple[str, ...], kind: type[MusterError], code: str
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing more")
    (tmp_path / "empty").mkdir()
    with pytest.raises(kind) as caught:
        muster("-C", str(store.folder), "predict", *(w.format(folder=tmp_path) for w in words))
    assert caught.value.code.startswith(code)
    if "broken" in words[0] and code == "item.":
        assert "broken.png" in str(caught.value)


def test_an_unsigned_release_is_not_predicted_from_by_channel(store: Store, tmp_path: Path) -> None:
    light = save(tmp_path, "light.png", pictures(2)[1])
    for signature in store.bundles_folder.rglob("signature.dsse.json"):
        signature.unlink()
    with pytest.raises(IntegrityError, match="not signed"):
        muster("-C", str(store.folder), "predict", str(light))


def test_serve_tells_its_address_first_and_as_json(store: Store) -> None:
    with serving(store) as server:
        assert server.url.startswith("http://127.0.0.1:")
    command = [sys.executable, "-m", "passmuster", "-C", str(store.folder), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first, second = process.stdout.readline(), process.stdout.readline()
        process.terminate()
        process.wait(30)
    assert first.startswith("serving r1 (live) on http://127.0.0.1:")
    assert second == "Next: muster watch\n"
    assert process.returncode == 0


def test_a_dry_run_opens_nothing(store: Store) -> None:
    assert "would serve" in muster("-C", str(store.folder), "--dry-run", "serve")
    assert not store.traffic_folder.exists() or not list(store.traffic_folder.iterdir())
