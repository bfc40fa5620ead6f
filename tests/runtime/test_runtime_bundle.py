"""A bundle is what its digest says, or it does not open."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.config import Config, GuardPolicy, Policy
from passmuster.core.config_file import render_config
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.errors import IntegrityError, NotFoundError, ResourceError, UsageError
from passmuster.runtime.bundle import PAYLOAD_FILES, encoder_key, open_bundle, payload_digest, write_bundle
from passmuster.runtime.engine import EngineChoice
from serving_case import graph, write


def minimal(parent: Path, **changed: object) -> tuple[str, Path]:
    """A bundle with little in it."""
    arguments: dict[str, object] = {
        "modality": "text", "classes": ("a", "b"), "snapshot": "s", "run": "r", "rung": "x.v1", "head": {"kind": "h"},
        "engine": EngineChoice(), "encoder_key": "k", "graph": b"g", "preprocess": {"steps": []},
        "assets": {"words.txt": b"w"}, "guard": {"b": np.ones(2), "a": np.zeros(1)}, "reference": {},
        "policy_toml": render_config(Config()),
    }  # fmt: skip
    return write_bundle(parent, **{**arguments, **changed})  # type: ignore[arg-type]


def test_what_is_written_is_what_is_opened(tmp_path: Path) -> None:
    policy = Policy(guard=GuardPolicy(min_confidence=0.7))
    path = write(tmp_path / "new" / "folder", policy=policy)
    bundle = open_bundle(path)
    assert path.name == bundle.digest[:16] == payload_digest(path)[:16]
    assert bundle.graph == graph()
    assert bundle.manifest.classes == ("dark", "light")
    assert bundle.manifest.head == "logistic.v1"
    assert bundle.policy == policy
    assert set(PAYLOAD_FILES) == set(bundle.manifest.files)
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]


def test_the_digest_is_of_the_payload_not_of_the_run_or_the_hour(tmp_path: Path) -> None:
    first, path = minimal(tmp_path / "a", run="run-1")
    second, _ = minimal(tmp_path / "b", run="run-2")
    assert first == second
    assert minimal(tmp_path / "c", graph=b"other")[0] != first
    assert minimal(tmp_path / "d", assets={"words.txt": b"v"})[0] != first
    with zipfile.ZipFile(path / "guard.npz") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert archive.namelist() == ["a.npy", "b.npy"]


def test_the_same_bundle_again_is_kept(tmp_path: Path) -> None:
    _, path = minimal(tmp_path)
    (path / "report.json").write_text("{}")
    before = (path / "manifest.json").stat().st_ino
    assert minimal(tmp_path)[1] == path
    assert (path / "report.json").exists()
    assert (path / "manifest.json").stat().st_ino == before


@pytest.mark.parametrize("name", [*PAYLOAD_FILES, "words.txt", "manifest.json"])
@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_the_same_bundle_again_mends_what_is_broken_and_nothing_else(tmp_path: Path, name: str, harm: str) -> None:
    digest, path = minimal(tmp_path)
    (path / "report.json").write_text("{}")
    kept = (path / "manifest.json").read_bytes()
    if harm == "gone":
        (path / name).unlink()
    else:
        (path / name).write_bytes(b"other")
    assert minimal(tmp_path, run="run-2")[0] == digest
    assert open_bundle(path).digest == digest
    assert (path / "report.json").read_text() == "{}"
    if name != "manifest.json":
        assert (path / "manifest.json").read_bytes() == kept, "another run is no other bundle"
    assert not [p for p in path.rglob("*") if p.name.startswith(".")]


@pytest.mark.parametrize("name", [*PAYLOAD_FILES, "words.txt"])
def test_a_changed_byte_is_found_and_named(tmp_path: Path, name: str) -> None:
    _, path = minimal(tmp_path)
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=name) as caught:
        open_bundle(path)
    assert caught.value.code == "bundle.changed"


@pytest.mark.parametrize("name", PAYLOAD_FILES)
def test_a_missing_file_is_found_and_named(tmp_path: Path, name: str) -> None:
    _, path = minimal(tmp_path)
    (path / name).unlink()
    with pytest.raises(IntegrityError, match=name) as caught:
        open_bundle(path)
    assert caught.value.code == "bundle.missing_file"


def test_a_manifest_that_leaves_out_a_payload_file_is_refused(tmp_path: Path) -> None:
    _, path = minimal(tmp_path)
    raw = json.loads((path / "manifest.json").read_bytes())
    del raw["files"]["guard.npz"]
    (path / "manifest.json").write_bytes(canonical_json(raw))
    with pytest.raises(IntegrityError, match=r"guard\.npz"):
        open_bundle(path)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/hostname", "a/../../outside.txt", "a//b", "./a", "c:\\x", "..", "", "a/./b"]
)
def test_a_path_out_of_the_bundle_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.txt").write_bytes(b"o")
    _, path = minimal(tmp_path / "in")
    raw = json.loads((path / "manifest.json").read_bytes())
    raw["files"][name] = sha256_hex(b"o")
    (path / "manifest.json").write_bytes(canonical_json(raw))
    with pytest.raises(IntegrityError) as caught:
        open_bundle(path)
    assert caught.value.code == "bundle.path"


@pytest.mark.parametrize("name", ["words.txt", "graphs", "manifest.json"])
def test_a_link_is_refused(tmp_path: Path, name: str) -> None:
    _, path = minimal(tmp_path)
    (path / name).rename(tmp_path / "moved")
    (path / name).symlink_to(tmp_path / "moved")
    with pytest.raises(IntegrityError, match="link") as caught:
        open_bundle(path)
    assert caught.value.code == "bundle.path"


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "head.json", "report.json", "manifest.json", ""])
def test_an_asset_needs_a_plain_name_of_its_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        minimal(tmp_path, assets={name: b"w"})
    assert caught.value.code == "bundle.asset"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{", "bundle.manifest"),
        (b"[]", "bundle.schema"),
        (b'{"schema":2}', "bundle.schema"),
        (b'{"schema":1}', "bundle.manifest"),
        (b"\xff\xfe", "bundle.manifest"),
        (b" " * (5 * 2**20), "bundle.manifest"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: bytes, code: str) -> None:
    _, path = minimal(tmp_path)
    (path / "manifest.json").write_bytes(text)
    with pytest.raises(IntegrityError) as caught:
        open_bundle(path)
    assert caught.value.code == code


def test_even_a_space_in_the_manifest_is_a_change(tmp_path: Path) -> None:
    _, path = minimal(tmp_path)
    manifest = path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match="changed"):
        open_bundle(path)


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pickle"):
        minimal(tmp_path, guard={"evil": np.array([object()])})


def test_a_folder_without_a_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        open_bundle(tmp_path)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("passmuster.runtime.bundle.os.fsync", full)
    with pytest.raises(ResourceError) as caught:
        minimal(tmp_path)
    assert caught.value.code == "disk.full"
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    minimal(tmp_path)


def test_the_encoder_key_changes_with_each_of_its_parts() -> None:
    base = (b"g", EngineChoice(), {"steps": [1]}, {"a": b"1"})
    others = [
        (b"h", *base[1:]),
        (b"g", EngineChoice(precision="int8"), *base[2:]),
        (*base[:2], {"steps": [2]}, base[3]),
        (*base[:3], {"a": b"2"}),
    ]
    keys = {encoder_key(*parts) for parts in [base, *others]}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {32}
