"""Verify: is everything what it was when it was written? The ledger, the data versions, every bundle and signature.

Works on a project, and on copies of bundle folders and catalogs that somebody hands over.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, create_engine, select
from sqlalchemy.exc import DatabaseError

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import MusterError, NotFoundError, ResourceError, UsageError
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Event
from passmuster.flows.committed import count, wrong_reports, wrong_rows, wrong_snapshots, wrong_verdicts
from passmuster.flows.rebuilt import readable_events
from passmuster.runtime.bundle import MANIFEST, payload_digest
from passmuster.runtime.signature import SIGNATURE
from passmuster.stages.release.signature import CHECKPOINT, problems_of, read_checkpoint
from passmuster.store import keys, ledger, schema
from passmuster.store.store import Store

CLOCK_SLACK_S = 60.0  # processes of one machine write their events a little out of order
SHOWN = 3  # events of a clock that was set back that are named


@dataclass
class Verification:
    """What was looked at and what is wrong. `problems` names files and events; `notes` say what could not be proven."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    n_events: int = 0
    n_bundles: int = 0
    n_signatures: int = 0
    n_snapshots: int = 0
    n_checkpoints: int = 0
    n_blobs: int = 0
    unsigned: list[str] = field(default_factory=list)  # bundles, of which the ledger may still vouch for some
    unproven: list[str] = field(default_factory=list)  # unsigned bundles that nothing vouches for

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong, and nothing was looked at of which nobody can tell."""
        return not self.problems and not self.unproven


def verify(
    store: Store | None,
    paths: Sequence[Path] = (),
    *,
    key: Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check the project of `store`, or the bundle folders and catalog files in `paths`.

    Parameters
    ----------
    store : whose key and bundles' checkpoints are used; None outside a project
    paths : copies to check instead of the project itself
    key : PEM file of the public key that must have signed; the project's own when None

    Raises
    ------
    NotFoundError
        ``verify.none`` for a path that is not there.
    UsageError
        ``verify.kind`` for one that is neither bundle nor catalog, ``verify.key`` when no key is known.
    """
    public = public_key(store, key)
    found, progress = Verification(), progress or Silent()
    folders = [path for path in paths if is_bundle(path)]
    catalogs = [path for path in paths if path not in folders]
    for path in catalogs:
        refuse_other_kinds(path)
    own = own_folders(store)
    points = checkpoints([*own, *folders], public)
    found.n_checkpoints = len(points)
    if store is not None and not paths:
        with store.read() as db:
            check_catalog(db, "", points, public, found)
            vouched = check_own_bundles(db, store, found)
            check_blobs(db, store, found, progress)
    else:
        vouched = frozenset()
    for folder in progress.track(folders if paths else own, "bundles"):
        check_bundle(folder, public, found, shown=str(folder) if paths else folder.name, vouched=vouched)
    for path in catalogs:
        with opened_copy(path) as db:
            check_catalog(db, f"{path}: ", points, public, found)
    return found


def public_key(store: Store | None, key: Path | None) -> Ed25519PublicKey:
    """The key that must have signed."""
    if key is not None:
        return keys.read_public_key(key)
    if store is None:
        raise UsageError(
            "verify.key", "outside a project the public key must be named", next="muster verify PATH --key FILE.pem"
        )
    return keys.public_key(store.keys_folder)


def is_bundle(path: Path) -> bool:
    """Whether a path is a folder that was a bundle, damaged ones included."""
    return path.is_dir() and any((path / name).exists() for name in (MANIFEST, SIGNATURE, "graphs"))


def refuse_other_kinds(path: Path) -> None:
    """What is neither a bundle nor a catalog cannot be verified."""
    if not path.exists():
        raise NotFoundError("verify.none", "there is no such file or folder", where=path)
    if path.is_dir():
        raise UsageError("verify.kind", "this folder is no bundle", where=path, next="name a bundle or a catalog.db")


def own_folders(store: Store | None) -> list[Path]:
    """The project's bundle folders, by name."""
    if store is None or not store.bundles_folder.is_dir():
        return []
    return sorted(path for path in store.bundles_folder.iterdir() if is_bundle(path) and path.name[0] != ".")


def checkpoints(folders: Sequence[Path], key: Ed25519PublicKey) -> list[Mapping[str, Any]]:
    """Every ledger checkpoint with a valid signature; broken ones are told by the check of their bundle."""
    points = []
    for folder in folders:
        if (folder / CHECKPOINT).is_file():
            try:
                points.append(read_checkpoint(folder, key))
            except MusterError:
                continue
    return sorted(points, key=lambda point: int(point["seq"]))


def check_bundle(
    folder: Path, key: Ed25519PublicKey, found: Verification, *, shown: str, vouched: Collection[str]
) -> None:
    """One bundle folder, signed or not; for payload digests in `vouched` the ledger vouches."""
    found.n_bundles += 1
    found.problems += [f"bundle {shown}: {problem}" for problem in problems_of(folder, key)]
    if (folder / SIGNATURE).is_file():
        found.n_signatures += 1
        return
    found.unsigned.append(shown)
    if digest_of(folder) in vouched:
        found.notes.append(f"bundle {shown} is not signed: only the ledger's record of its digest vouches for it")
    else:
        found.unproven.append(shown)
        found.notes.append(f"bundle {shown} is unsigned: nothing proves that it is what was made")


def digest_of(folder: Path) -> str:
    """The payload digest of a bundle folder; "" when it has none that can be read."""
    try:
        return payload_digest(folder)
    except MusterError:
        return ""


def check_catalog(
    db: Connection, prefix: str, points: list[Mapping[str, Any]], key: Ed25519PublicKey, found: Verification
) -> None:
    """The chain against its checkpoints, the data versions' commitments, and the verdicts' signatures."""
    events: list[int] = []
    try:
        events = list(db.execute(select(schema.events.c.seq)).scalars())
        found.n_events += len(events)
        wrong = ledger.problems(db, points)
        said = readable_events(db)
        found.n_snapshots += count(db, schema.snapshots)
        wrong += wrong_snapshots(db, said)
        found.n_signatures += count(db, schema.verdicts)
        wrong += wrong_verdicts(db, key)
        wrong += wrong_reports(db)
        wrong += wrong_rows(db, said)
        found.notes += [prefix + words for words in clock_set_back(said)]
    except DatabaseError as error:
        wrong = [f"the catalog is damaged: {error.orig}"]
    found.problems += [prefix + problem for problem in wrong]
    last = max(events, default=0)
    reached = max((int(point["seq"]) for point in points), default=0)
    if not points:
        found.notes.append(f"{prefix}no signed checkpoint was found: whether the ledger's tail was cut is unproven")
    elif last > reached:
        found.notes.append(f"{prefix}events {reached + 1} to {last} came after the last signed checkpoint")


def clock_set_back(events: Sequence[Event]) -> list[str]:
    """Events that are dated well before one that came earlier: whatever ends by a date can be moved that way."""
    latest: tuple[datetime, int] | None = None
    found: list[str] = []
    for event in events:
        try:
            at = datetime.fromisoformat(event.at).astimezone(UTC)
        except (ValueError, TypeError, OverflowError):  # no time that is written here: the chain's own check says so
            continue
        if latest is not None and (latest[0] - at).total_seconds() > CLOCK_SLACK_S:
            found.append(f"event {event.seq} ({event.kind}) is dated {event.at[:19]}, before event {latest[1]} was")
        if latest is None or at > latest[0]:
            latest = at, event.seq
    more = [f"so are {len(found) - SHOWN:,} events after it"] if len(found) > SHOWN else []
    return found[:SHOWN] + more


def check_blobs(db: Connection, store: Store, found: Verification, progress: Progress) -> None:
    """Every content is what its name says, and that of every kept item is there; items are bound to names by their
    commitments, so that nothing needs to be decoded."""
    item = schema.items.c
    kept = select(item.key, item.blob).where(item.status == "kept", item.blob != "")
    waiting: dict[str, list[str]] = {}
    for row in db.execute(kept):
        waiting.setdefault(row.blob, []).append(row.key)
    try:
        for name, actual in progress.track(store.blobs.each_digest(), "blobs", total=store.blobs.count()):
            found.n_blobs += 1
            owners = waiting.pop(name, [])
            if name != actual:
                whose = f" of item {owners[0][:8]}" if owners else ""
                found.problems.append(f"blob {name[:16]}{whose} was overwritten: its digest is another")
    except ResourceError:
        raise  # a full disk is no changed byte
    except MusterError as error:
        found.problems.append(f"blobs.db: {error.what}")
        return
    for name, owners in waiting.items():
        found.problems.append(f"blob {name[:16]} of item {owners[0][:8]} is gone")


def check_own_bundles(db: Connection, store: Store, found: Verification) -> frozenset[str]:
    """Bundles that the catalog knows and the disk lacks, or that are not the one recorded.

    Returns the payload digests that events of the ledger name.
    """
    for row in db.execute(select(schema.bundles)):
        bundle = Bundle(**{k: v for k, v in row._asdict().items() if k != "n"})
        folder = store.bundle_folder(bundle.path)
        if not folder.is_dir():
            found.problems.append(f"bundle {folder.name}: its folder is gone")
        elif digest_of(folder) not in ("", bundle.digest):  # one that cannot be read is told by the folder's own check
            found.problems.append(f"bundle {folder.name}: {MANIFEST} is that of another bundle")
    events = readable_events(db)
    check_signature_events(events, store, found)
    return frozenset(str(event.payload["bundle"]) for event in events if event.payload.get("bundle"))


def check_signature_events(events: Sequence[Event], store: Store, found: Verification) -> None:
    """The signature that lies in a bundle is the one that the ledger recorded last."""
    last = {str(event.payload.get("bundle")): event.payload for event in events if event.kind == "release.sign"}
    for digest, payload in last.items():
        file = store.bundle_folder(digest[:16]) / SIGNATURE
        if not file.is_file():
            found.problems.append(f"bundle {digest[:16]}: {SIGNATURE} is missing")
        elif sha256_hex(file.read_bytes()) != payload.get("signature"):
            found.problems.append(f"bundle {digest[:16]}: {SIGNATURE} is not the one that the ledger recorded")


@contextmanager
def opened_copy(path: Path) -> Iterator[Connection]:
    """A connection to a copy of a catalog file, so that looking at it changes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "catalog.db"
        for suffix in ("", "-wal"):
            if (source := Path(f"{path}{suffix}")).exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        refuse_other_files(copy, path)
        engine = create_engine(f"sqlite:///{copy}")
        try:
            with engine.connect() as db:
                yield db
        finally:
            engine.dispose()


def refuse_other_files(copy: Path, path: Path) -> None:
    """A file that is no catalog is named as such; a damaged catalog is a finding, not a usage error."""
    db = sqlite3.connect(copy)
    try:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError:
        return
    finally:
        db.close()
    if "events" not in tables:
        raise UsageError("verify.kind", "this file is no catalog", where=path, next="name a bundle or a catalog.db")
