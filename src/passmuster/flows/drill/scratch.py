"""A copy of a project to spoil: its catalog copied, its contents read through, all of it gone afterwards.

Nothing is ever written into the project itself: its database is read under SQLite's read-only mode, its contents are
read through a second layer that takes what is new, and its bundles are copied when they are needed.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from passmuster.core.config_file import FILE_NAME, render_config
from passmuster.core.records import Bundle
from passmuster.store.blobs import Blobs
from passmuster.store.readonly import read_only_uri
from passmuster.store.store import FOLDER, Store

KEPT_OF_RUNS = ("parity.npz", "learnt.txt", "rungs.json", "cost.json")


class Layered(Blobs):
    """Contents of its own over those of another project, which are only read."""

    def __init__(self, own: Path, below: Path) -> None:
        super().__init__(own)
        self._below = Blobs(below, read_only=True)

    def get_many(self, digests: Sequence[str]) -> Iterator[bytes]:
        """As `Blobs.get_many`, from above where it is there."""
        with closing(self._connect()) as db:
            own = {name for (name,) in db.execute("SELECT digest FROM blobs")}
        if not own.intersection(digests):
            yield from self._below.get_many(digests)
            return
        above = super().get_many([name for name in digests if name in own])
        below = self._below.get_many([name for name in digests if name not in own])
        for name in digests:
            yield next(above if name in own else below)


@contextmanager
def scratch_copy(store: Store, bundles: Iterable[Bundle] = ()) -> Iterator[Store]:
    """A store of its own with the same catalog, contents and configuration, and copies of `bundles` with their runs.

    It cannot sign: the project's signing key stays where it is.
    """
    with tempfile.TemporaryDirectory(prefix="muster-drill-", ignore_cleanup_errors=True) as name:
        copy = fill(Path(name), store, bundles)
        try:
            yield copy
        finally:
            copy.close()


def fill(folder: Path, store: Store, bundles: Iterable[Bundle]) -> Store:
    """Make the copy in an empty folder."""
    config = replace(store.config, train=replace(store.config.train, encoders=()))
    (folder / FILE_NAME).write_text(render_config(config), encoding="utf-8")
    copy_named(store, folder)
    root = folder / FOLDER
    (root / "keys").mkdir(parents=True, mode=0o700)
    for name in ("digest.key", "signing.pub.pem"):
        shutil.copyfile(store.keys_folder / name, root / "keys" / name)
    copy_catalog(store, root / "catalog.db")
    Blobs.create(root / "blobs.db")
    copy = Store.open(folder)
    copy.blobs = Layered(root / "blobs.db", store.root / "blobs.db")
    for bundle in bundles:
        copy_bundle(store, copy, bundle)
    return copy


def copy_named(store: Store, folder: Path) -> None:
    """The files that ``[evaluate]`` names, as far as they are there: tests of behaviour, own functions that spoil."""
    own = {name.partition(":")[0] for name in store.config.evaluate.corruptions if ":" in name}
    for name in own | {store.config.evaluate.behaviour} - {""}:
        source, target = (store.folder / name).resolve(), folder / name
        if source.is_relative_to(store.folder.resolve()) and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def copy_catalog(store: Store, target: Path) -> None:
    """The project's catalog as it is now."""
    source = sqlite3.connect(read_only_uri(store.root / "catalog.db"), uri=True)
    with closing(source), closing(sqlite3.connect(target)) as copy, copy:
        source.backup(copy)


def copy_bundle(store: Store, copy: Store, bundle: Bundle) -> None:
    """A bundle's folder, and of its run what evaluation reads."""
    source = store.bundle_folder(bundle.path)
    shutil.copytree(source, copy.bundle_folder(bundle.path), dirs_exist_ok=True)
    for name in KEPT_OF_RUNS:
        path = store.runs_folder / bundle.run / name
        if bundle.run and path.is_file():
            (copy.runs_folder / bundle.run).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy.runs_folder / bundle.run / name)
