"""What a project keeps that nothing needs any more, how much it is, and to remove it.

Kept whatever happens: items, labels and their contents, data-set versions, bundles, reports, verdicts, traffic,
incidents and the ledger; every account and measurement of a run; and what the latest bundle, a released one, or a
training that was stopped and may go on would have to make again.

    contents    bytes that no item refers to: an add was killed
    embeddings  caches of encoders of which no such bundle is left; made again when they are asked for
    runs        encoders, graphs and checkpoints of rungs, after their training has ended
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from passmuster.core.errors import NotFoundError
from passmuster.core.records import Bundle
from passmuster.runtime.bundle import read_manifest
from passmuster.store.items import read_items
from passmuster.store.releases import read_bundles, read_releases, read_runs
from passmuster.store.store import Store


@dataclass(frozen=True)
class Leftover:
    """One kind of what is not needed: how many there are and how much they take. `paths` are removed whole."""

    kind: str
    what: str
    n: int
    n_bytes: int
    paths: tuple[Path, ...] = ()


def find_leftovers(store: Store) -> list[Leftover]:
    """What `clean` would remove, kinds with nothing to remove left out; changes nothing."""
    with store.read() as db:
        contents = {item.blob for item in read_items(db)}
        bundles = read_bundles(db)
        released = {release.bundle for release in read_releases(db)}
        runs = read_runs(db)
    kept = [bundle for i, bundle in enumerate(bundles) if i == 0 or bundle.digest in released]
    resumable = {str(run["id"]) for run in runs if run["status"] == "running"}
    n, n_bytes = store.blobs.unreferenced(contents)
    caches = [] if resumable else _caches(store, kept, cold=not bundles)
    checkpoints = _checkpoints(store, {bundle.run for bundle in kept}, resumable)
    found = [
        Leftover("contents", "contents that no item refers to", n, n_bytes),
        _leftover("embeddings", "embedding caches that no kept bundle uses", caches),
        _leftover("runs", "encoders and checkpoints of trainings that have ended", checkpoints),
    ]
    return [leftover for leftover in found if leftover.n]


def clean(store: Store) -> list[Leftover]:
    """Remove what is not needed, in one recorded act; returns what it was.

    Raises
    ------
    ResourceError
        ``lock.held`` while something is being added or trained.
    """
    with store.lock("train"), store.lock("add"):
        found = find_leftovers(store)
        if not found:
            return []
        with store.act("store.clean") as act:  # said before it is done: what is removed is not needed either way
            act.payload["removed"] = {one.kind: {"n": one.n, "n_bytes": one.n_bytes} for one in found}
        for leftover in found:
            if leftover.kind == "contents":
                with store.read() as db:
                    store.blobs.keep_only({item.blob for item in read_items(db)})
            for path in leftover.paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        store.shorten_log()
        return found


def _caches(store: Store, kept: list[Bundle], *, cold: bool) -> list[Path]:
    """Embedding folders of encoders that no kept bundle names; before the first bundle, choosing needs its own."""
    if cold:
        return []
    needed = {f"answers-{bundle.digest[:32]}" for bundle in kept}
    for bundle in kept:
        with contextlib.suppress(NotFoundError):  # its folder is elsewhere
            needed.add(read_manifest(store.bundle_folder(bundle.path)).encoder_key)
    return [path for path in _inside(store.root / "embeddings") if path.name not in needed]


def _checkpoints(store: Store, kept: Collection[str], resumable: Collection[str]) -> list[Path]:
    """What only a resume reads; and of runs without a kept bundle the encoder, too."""
    found = []
    for run in _inside(store.runs_folder):
        if run.name in resumable:
            continue
        candidates = [run / "rungs"] + ([] if run.name in kept else [run / "encoder.safetensors"])
        found += [path for path in candidates if path.exists()]
    return found


def _inside(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.iterdir())) if folder.is_dir() else iter(())


def _leftover(kind: str, what: str, paths: list[Path]) -> Leftover:
    return Leftover(kind, what, len(paths), sum(map(_size, paths)), tuple(paths))


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
