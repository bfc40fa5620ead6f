"""The store: everything a project keeps under ``.muster/``, and the one way to change it.

A change is an *act*: one transaction that writes rows and exactly one ledger event.

    with store.act("label.add", actor="ana") as act:
        act.db.execute(...)
        act.payload["n"] = 12
"""

from __future__ import annotations

import contextlib
import getpass
import os
import sqlite3
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from passmuster.core.config import Config
from passmuster.core.config_file import read_config
from passmuster.core.digests import keyed_hex
from passmuster.core.errors import IntegrityError, MusterError, NotFoundError, ResourceError
from passmuster.store import keys, ledger, schema
from passmuster.store.blobs import Blobs, disk_failed
from passmuster.store.embeddings import EmbeddingCache
from passmuster.store.readonly import is_read_only, read_only, read_only_uri

FOLDER = ".muster"
# Pages kept in memory, taken when used. With SQLite's usual 2 MiB, pages of an index were written several times while a
# large act filled it: 300,000 items took twice the seconds.
CACHE_KIB = 65_536


@dataclass
class Act:
    """A transaction under way. What is put into `payload` becomes the event's payload; no ids, no contents."""

    db: Connection
    payload: dict[str, Any] = field(default_factory=dict)


class Store:
    """A project's store. Open with `Store.open(folder)`; `Store.create(folder)` makes a new one.

    `folder` holds ``muster.toml``; everything kept lies in ``folder/.muster``.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = folder.resolve(), config
        self.root = self.folder / FOLDER
        self.actor = os.environ.get("USER") or _user_name()
        self.read_only = is_read_only(self.root / "catalog.db")
        self.engine = _engine(self.root / "catalog.db")
        # A store that is let go of without `close` closes its connections then, not when Python happens to find them.
        weakref.finalize(self, self.engine.dispose)
        self.blobs = Blobs(self.root / "blobs.db")
        self._digest_key = keys.digest_key(self.keys_folder)

    @classmethod
    def create(cls, folder: Path) -> Store:
        """Make an empty store in a folder that has a ``muster.toml``; an existing one is opened unchanged.

        Raises
        ------
        IntegrityError
            ``catalog.gone`` when there is no catalog, though what it spoke of is there; ``catalog.damaged``.
        """
        config = read_config(folder)
        root = folder / FOLDER
        if _has_begun(root / "catalog.db"):
            return cls.open(folder)
        _refuse_orphans(root)
        root.mkdir(mode=0o700, exist_ok=True)
        keys.create_keys(root / "keys")
        Blobs.create(root / "blobs.db")
        engine = _engine(root / "catalog.db")
        schema.metadata.create_all(engine)
        engine.dispose()
        store = cls(folder, config)
        with store.act("project.init") as act:
            act.db.execute(insert(schema.meta).values(key="schema", value=str(schema.VERSION)))
            act.payload["modality"] = config.project.modality
        return store

    @classmethod
    def open(cls, folder: Path, *, overrides: dict[str, Any] | None = None) -> Store:
        """Open the store of the project in `folder`.

        Raises
        ------
        NotFoundError
            ``project.no_store``.
        IntegrityError
            ``catalog.damaged``, ``catalog.gone`` or ``catalog.version``.
        """
        config = read_config(folder, overrides)
        path = folder / FOLDER / "catalog.db"
        if not path.is_file():
            _refuse_orphans(folder / FOLDER)
            raise NotFoundError("project.no_store", "this project has no store yet", where=folder, next="muster init")
        store = cls(folder, config)
        try:
            store._check(path)
        except MusterError:
            store.close()
            raise
        return store

    def _check(self, path: Path) -> None:
        """Raise where the catalog is damaged or of another version."""
        with self.read() as db:
            damage = db.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if damage != "ok":
                raise _damaged(path, str(damage))
            version = db.execute(select(schema.meta.c.value).where(schema.meta.c.key == "schema")).scalar()
        if version != str(schema.VERSION):
            raise IntegrityError(
                "catalog.version",
                "the catalog was written by another version",
                value=version,
                limit=schema.VERSION,
                where=path,
            )

    @property
    def keys_folder(self) -> Path:
        return self.root / "keys"

    @property
    def runs_folder(self) -> Path:
        return self.root / "runs"

    @property
    def bundles_folder(self) -> Path:
        return self.root / "bundles"

    @property
    def traffic_folder(self) -> Path:
        return self.root / "traffic"

    def bundle_folder(self, path: str) -> Path:
        """Where the bundle whose record says `path` lies: by its last part, so that a project may be moved."""
        return self.bundles_folder / Path(path).name

    def embeddings(self, key: str) -> EmbeddingCache:
        """The embedding cache of one encoder key."""
        return EmbeddingCache(self.root / "embeddings", key)

    def keyed(self, data: bytes) -> str:
        """`data` keyed with the project's secret, 32 hexadecimal digits."""
        return keyed_hex(self._digest_key, data)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; sees one consistent state."""
        with _translated(self.root / "catalog.db"), self.engine.connect() as db:
            yield db

    @contextlib.contextmanager
    def act(self, kind: str, actor: str | None = None) -> Iterator[Act]:
        """One transaction with one ledger event of `kind` (``noun.verb``). An exception undoes both."""
        self._refuse_read_only()
        with _translated(self.root / "catalog.db"), self.engine.connect() as db:
            db.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                act = Act(db)
                yield act
                ledger.append(db, kind, actor or self.actor, act.payload)
                db.commit()
            except BaseException:
                db.rollback()
                raise

    @contextlib.contextmanager
    def note(self) -> Iterator[Connection]:
        """One transaction that is no act: how far a reader has read, and what it makes of it. It leaves no event."""
        self._refuse_read_only()
        with _translated(self.root / "catalog.db"), self.engine.connect() as db:
            db.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield db
                db.commit()
            except BaseException:
                db.rollback()
                raise

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock that the operating system releases when the process dies, however it dies.

        Raises
        ------
        ResourceError
            ``lock.held`` when another process has it.
        """
        self._refuse_read_only()
        path = self.root / f"{name}.lock.db"
        db = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            try:
                db.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):  # nobody holds it: the disk is full, or it cannot be written
                    raise _disk_full(path, str(error)) from error
                raise ResourceError(
                    "lock.held",
                    f"another {name} is under way in this project",
                    where=path,
                    next=f"wait for it, then muster {name}",
                ) from error
            yield
        finally:
            db.close()

    def _refuse_read_only(self) -> None:
        if self.read_only:
            raise read_only(self.root / "catalog.db")

    def shorten_log(self) -> None:
        """Give the disk back what the catalog's write-ahead log took, if nobody is reading in it."""
        with _translated(self.root / "catalog.db"), self.engine.connect() as db:
            db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the database."""
        self.engine.dispose()


def _has_begun(path: Path) -> bool:
    """Whether a catalog was ever begun here: not when there is none, nor where `create` was killed on its way."""
    if not path.is_file():
        return False
    with contextlib.closing(sqlite3.connect(path)) as db:
        try:
            if db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('meta', 'events')").fetchone()[0] < 2:
                return False
            return any(db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in ("meta", "events"))
        except sqlite3.DatabaseError as error:
            raise _damaged(path, str(error)) from error


def _refuse_orphans(root: Path) -> None:
    """A ledger is not begun anew over what an earlier one spoke of."""
    counts = {
        "blobs": Blobs(root / "blobs.db").count(),
        "bundles": len(list((root / "bundles").glob("[!.]*"))),
        "runs": len(list((root / "runs").glob("[!.]*"))),
        "traffic segments": len(list((root / "traffic").glob("*.db"))),
    }
    there = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
    if there:
        raise IntegrityError(
            "catalog.gone", "the catalog with the ledger is gone or empty, though what it speaks of is there",
            value=there, where=root / "catalog.db", next="restore .muster/catalog.db from a backup, then muster verify",
        )  # fmt: skip


def _user_name() -> str:
    """The user's name, or ``uid-12345`` where the system knows only a number, as in a container run under any user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # which one depends on Python's version and on the system
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"


def _engine(path: Path) -> Engine:
    if is_read_only(path):
        uri = read_only_uri(path)
        return create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=NullPool)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun by `act`
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        except sqlite3.DatabaseError as error:
            connection.close()
            if disk_failed(str(error)):
                raise _disk_full(path, str(error)) from error
            raise _damaged(path, str(error)) from error

    return engine


def _disk_full(path: Path, detail: str) -> ResourceError:
    return ResourceError(
        "disk.full",
        f"the disk took no more ({detail}); nothing was changed",
        where=path,
        next="free some disk and repeat the command",
    )


def _damaged(path: Path, detail: str) -> IntegrityError:
    return IntegrityError(
        "catalog.damaged",
        f"the catalog is damaged: {detail}",
        where=path,
        next="restore .muster/ from a backup, then muster verify",
    )


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        text = str(error.orig)
        if disk_failed(text):
            raise _disk_full(path, text) from error
        if "unable to open" in text or "readonly database" in text:
            raise read_only(path) from error
        if "locked" in text:
            raise ResourceError("catalog.busy", "the catalog is locked by another process", where=path) from error
        if "no such table" in text or "no such column" in text:
            raise _damaged(path, text) from error
        raise MusterError("catalog.error", text, where=path) from error
    except DatabaseError as error:
        if "malformed" in str(error.orig) or "not a database" in str(error.orig):
            raise _damaged(path, str(error.orig)) from error
        raise
