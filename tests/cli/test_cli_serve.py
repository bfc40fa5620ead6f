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
from passmuster.store.releases import read_release
from passmuster.store.store import Store
from serving_case import forked, pictures, png, point, project, serving, strange, write


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


def told_by(store: Store, *words: str) -> list[str]:
    """What a server says of approvals when it starts."""
    with forked(store, *words) as server:
        return server.told["approvals"]


def test_serve_says_what_it_serves_provisionally(store: Store) -> None:
    with store.read() as db:
        live = read_release(db, "r1")
    assert told_by(store) == []
    point(store, "live", live, mode="provisional", share=0.4, expires="2100-01-01T00:00:00+00:00")
    assert told_by(store) == [
        "r1 on live is provisional until 2100-01-01: 40 % of requests get an answer, the rest is withheld"
    ]
    point(store, "live", live, mode="provisional", share=0.4, expires="2020-01-01T00:00:00+00:00")
    with forked(store) as server, server.client() as client:
        (line,) = server.told["approvals"]
        body = client.post("/v1/predict", json={"item": png(pictures(1)[0])}).json()
    assert line.startswith("r1 on live was provisional until 2020-01-01: every answer is withheld")
    assert (body["abstained"], body["reasons"]) == (True, ["provisional"])


def test_an_approval_that_has_ended_is_said_and_answers_go_on(store: Store) -> None:
    with store.act("release.approve") as act:
        act.payload.update(channel="live", release="r1", approved_until="2020-01-01T00:00:00+00:00")
    with forked(store) as server, server.client() as client:
        (line,) = server.told["approvals"]
        body = client.post("/v1/predict", json={"item": png(pictures(1)[0])}).json()
    assert "the approval of r1 on live ended on 2020-01-01: answers go on" in line
    assert "muster approve r1" in line
    assert (body["label"], body["abstained"]) == ("dark", False)


def test_the_approval_line_is_printed_beside_the_address(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """For people: the same words on the lines after the address."""
    from passmuster.stages.serve import server as module

    with store.act("release.approve") as act:
        act.payload.update(channel="live", release="r1", approved_until="2020-01-01T00:00:00+00:00")
    serving_ = module.Serving("http://127.0.0.1:1", "127.0.0.1", 1, "live", "r1", "b" * 64, "w")
    monkeypatch.setattr(module, "serve", lambda store, *, on_ready, **how: on_ready(serving_))
    first, second, *_ = muster("-C", str(store.folder), "serve").splitlines()
    assert first == "serving r1 (live) on http://127.0.0.1:1"
    assert second.startswith("the approval of r1 on live ended")
