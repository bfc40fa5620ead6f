"""The bundle: a folder that holds everything needed to answer, named by what it contains.

``manifest.json`` lists the payload files with their SHA-256; the payload digest is the SHA-256 of the canonical
manifest without ``run``, so that the same weights from another run are the same bundle. Report, card, checkpoint,
verdict and signature are added beside the payload later and change nothing of it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import shutil
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.config import Policy
from passmuster.core.config_file import parse_config
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.disk import took_no_more, write_whole
from passmuster.core.errors import DataError, IntegrityError, NotFoundError, ResourceError, UsageError
from passmuster.runtime.engine import HTTP, EngineChoice

SCHEMA = 1
MANIFEST = "manifest.json"
GRAPH, ENDPOINT = "graphs/model.onnx", "endpoint.json"
BESIDE_MODEL = ("preprocess.json", "head.json", "guard.npz", "reference.json", "policy.toml")
PAYLOAD_FILES = (GRAPH, *BESIDE_MODEL)  # a bundle that asks an endpoint has that file in the graph's place
SIDE_FILES = ("report.json", "report.html", "card.md", "checkpoint.json", "verdict.dsse.json", "signature.dsse.json")
MAX_MANIFEST_BYTES = 4 * 2**20
CHANGED = "muster verify names all that is wrong, muster status the way on"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself. `files` maps payload paths to their SHA-256. There is no time in it."""

    modality: str
    classes: tuple[str, ...]
    snapshot: str
    run: str
    rung: str
    head: str
    engine: EngineChoice
    encoder_key: str
    files: Mapping[str, str]
    schema: int = SCHEMA

    def digest(self) -> str:
        """The payload digest."""
        return sha256_hex(canonical_json({k: v for k, v in to_plain(self).items() if k != "run"}))


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle whose payload files were all read and found to be what the manifest says."""

    path: Path
    digest: str
    manifest: Manifest
    graph: bytes
    preprocess: Mapping[str, Any]
    head: Mapping[str, Any]
    guard: Mapping[str, np.ndarray]
    reference: Mapping[str, Any]
    policy: Policy


def write_bundle(
    parent: Path,
    *,
    modality: str,
    classes: tuple[str, ...],
    snapshot: str,
    run: str,
    rung: str,
    head: Mapping[str, Any],
    engine: EngineChoice,
    encoder_key: str,
    graph: bytes,
    preprocess: Mapping[str, Any],
    assets: Mapping[str, bytes],
    guard: Mapping[str, np.ndarray],
    reference: Mapping[str, Any],
    policy_toml: str,
) -> tuple[str, Path]:
    """Write a bundle into ``parent/<first 16 digits of its digest>``; all of it appears at once, or nothing.

    `graph` is what the engine runs: an ONNX model or, of the engine ``http``, how an endpoint is asked. `head` must
    name its kind under ``"kind"`` (or ``"name"``); the rest of it is free. A bundle of the same digest that
    is there already is kept; files of it that are gone or were changed are written again, as they are known here.

    Returns
    -------
    digest, path

    Raises
    ------
    ResourceError
        ``disk.full`` or ``bundle.write``; nothing is left behind.
    UsageError
        ``bundle.asset`` for an asset name that is no plain file name.
    """
    for name in assets:
        if name in (MANIFEST, ENDPOINT, *PAYLOAD_FILES, *SIDE_FILES) or not _is_plain_name(name):
            raise UsageError("bundle.asset", "an asset needs a plain file name of its own", value=name)
    contents: dict[str, bytes] = {
        model_file(engine): graph,
        "preprocess.json": canonical_json(to_plain(preprocess)),
        "head.json": canonical_json(to_plain(head)),
        "guard.npz": _npz(guard),
        "reference.json": canonical_json(to_plain(reference)),
        "policy.toml": policy_toml.encode(),
        **assets,
    }
    manifest = Manifest(
        modality=modality,
        classes=tuple(classes),
        snapshot=snapshot,
        run=run,
        rung=rung,
        head=str(head.get("kind") or head.get("name") or ""),
        engine=engine,
        encoder_key=encoder_key,
        files={name: sha256_hex(data) for name, data in contents.items()},
    )
    digest = manifest.digest()
    path = parent / digest[:16]
    with _disk_errors(path):
        parent.mkdir(parents=True, exist_ok=True)
        whole = {**contents, MANIFEST: canonical_json(to_plain(manifest))}
        if not path.exists():
            _write_folder(path, whole)
        else:
            _write_again(path, whole, digest)
    return open_bundle(path).digest, path


def open_bundle(path: Path) -> LoadedBundle:
    """Read a bundle and check every payload file against its digest.

    Raises
    ------
    NotFoundError
        ``bundle.none`` when the folder holds no manifest.
    IntegrityError
        ``bundle.changed``, ``bundle.missing_file``, ``bundle.path``, ``bundle.schema`` or ``bundle.manifest``; names
        the file.
    """
    manifest = read_manifest(path)
    contents: dict[str, bytes] = {}
    for name, digest in manifest.files.items():
        contents[name] = _read_file(path, name)
        if sha256_hex(contents[name]) != digest:
            raise IntegrityError(
                "bundle.changed",
                "a file of the bundle is not what its digest says",
                value=name,
                where=path,
                next=CHANGED,
            )
    model = model_file(manifest.engine)
    if missing := [name for name in (model, *BESIDE_MODEL) if name not in contents]:
        raise IntegrityError("bundle.manifest", "the manifest leaves out a file", value=missing[0], where=path)
    with _content_errors(path):
        return LoadedBundle(
            path=path,
            digest=manifest.digest(),
            manifest=manifest,
            graph=contents[model],
            preprocess=json.loads(contents["preprocess.json"]),
            head=json.loads(contents["head.json"]),
            guard=_read_npz(contents["guard.npz"]),
            reference=json.loads(contents["reference.json"]),
            policy=_policy(contents["policy.toml"].decode(), path / "policy.toml"),
        )


def model_file(engine: EngineChoice) -> str:
    """The payload file that the engine runs."""
    return ENDPOINT if engine.name == HTTP else GRAPH


def read_manifest(path: Path) -> Manifest:
    """The manifest alone; its files are not looked at."""
    if not (path / MANIFEST).is_file():
        raise NotFoundError("bundle.none", "this folder holds no bundle", where=path, next=CHANGED)
    data = _read_file(path, MANIFEST, limit=MAX_MANIFEST_BYTES)
    try:
        raw = json.loads(data)
    except ValueError as error:
        raise IntegrityError(
            "bundle.manifest", f"the manifest is not JSON: {error}", where=path / MANIFEST, next=CHANGED
        ) from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else None
        raise IntegrityError(
            "bundle.schema",
            "the bundle was written by another version",
            value=found,
            limit=SCHEMA,
            where=path / MANIFEST,
        )
    if canonical_json(raw) != data:
        raise IntegrityError("bundle.manifest", "the manifest was changed", where=path / MANIFEST, next=CHANGED)
    try:
        manifest = from_plain(Manifest, raw, where=MANIFEST)
    except DataError as error:
        raise IntegrityError("bundle.manifest", str(error), where=path / MANIFEST) from error
    for name in manifest.files:
        _refuse_path(path, name)
    return manifest


def payload_digest(path: Path) -> str:
    """The payload digest that the manifest in `path` stands for."""
    return read_manifest(path).digest()


def encoder_key(graph: bytes, engine: EngineChoice, preprocess: Mapping[str, Any], assets: Mapping[str, bytes]) -> str:
    """Under what embeddings are cached: 32 digits over graph, engine, preprocessing and its files."""
    parts = {
        "graph": sha256_hex(graph),
        "engine": to_plain(engine),
        "preprocess": to_plain(preprocess),
        "assets": {name: sha256_hex(data) for name, data in assets.items()},
    }
    return sha256_hex(canonical_json(parts))[:32]


def _is_plain_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\:\0") and not name.startswith(".")


def _refuse_path(folder: Path, name: str) -> None:
    """A file of a bundle lies inside it, is named in the plain way, and is reached through no link."""
    parts = PurePosixPath(name).parts
    plain = bool(parts) and "/".join(parts) == name and all(_is_plain_name(part) for part in parts)
    linked = plain and any((folder.joinpath(*parts[: i + 1])).is_symlink() for i in range(len(parts)))
    if not plain or linked:
        raise IntegrityError(
            "bundle.path",
            "a file of the bundle is reached through a link" if linked else "no path for a file of a bundle",
            value=name,
            where=folder,
        )


def _read_file(folder: Path, name: str, limit: int | None = None) -> bytes:
    _refuse_path(folder, name)
    path = folder / name
    try:
        if limit is not None and path.stat().st_size > limit:
            raise IntegrityError(
                "bundle.manifest", "the file is too large", value=path.stat().st_size, limit=limit, where=path
            )
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise IntegrityError(
            "bundle.missing_file", "a file of the bundle is not there", value=name, where=folder, next=CHANGED
        ) from error


def _policy(text: str, where: Path) -> Policy:
    raw = tomllib.loads(text)
    return parse_config({"policy": raw.get("policy", raw)}, where=str(where)).policy


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(arrays[name]) for name in sorted(arrays)})
    return buffer.getvalue()


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write into a folder beside `path`, force it to disk, and rename."""
    temporary = path.parent / f".{path.name}-{secrets.token_hex(4)}"
    try:
        folders = {temporary, *((temporary / name).parent for name in contents)}
        for folder in sorted(folders):
            folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            with (temporary / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for folder in folders:
            _sync_folder(folder)
        try:
            temporary.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else another writer was first, with the same bytes
                raise
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_again(path: Path, contents: Mapping[str, bytes], digest: str) -> None:
    """Put back the files of a bundle that are not what they were; one that is whole is not touched.

    Its manifest may name another run: that is no part of the digest, and stays.
    """
    with contextlib.suppress(IntegrityError, NotFoundError, DataError):
        if open_bundle(path).digest == digest:
            return
    for name, data in contents.items():
        _refuse_path(path, name)
        with contextlib.suppress(IntegrityError, NotFoundError, DataError):
            if name == MANIFEST and read_manifest(path).digest() == digest:
                continue
        if not (path / name).is_file() or (path / name).read_bytes() != data:
            (path / name).parent.mkdir(exist_ok=True)
            write_whole(path / name, data)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = took_no_more(error)
        raise ResourceError(
            "disk.full" if full else "bundle.write",
            f"the bundle could not be written: {error.strerror}; nothing of it was kept",
            where=path,
            next="free some disk and repeat the command" if full else None,
        ) from error


@contextlib.contextmanager
def _content_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise IntegrityError("bundle.content", f"the bundle cannot be read: {error}", where=path) from error
