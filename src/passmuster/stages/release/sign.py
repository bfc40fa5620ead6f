"""Signing: report, card, verdict, ledger checkpoint and signature are written beside a bundle's payload, in one act."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from passmuster.core.clock import now
from passmuster.core.codec import to_plain
from passmuster.core.config import Policy
from passmuster.core.digests import canonical_json, file_sha256_hex, sha256_hex
from passmuster.core.disk import took_no_more
from passmuster.core.errors import IntegrityError, MusterError, NotFoundError, ResourceError
from passmuster.core.packages import running_packages
from passmuster.core.records import Bundle, Finding, Release, Report, Snapshot, Verdict
from passmuster.runtime.bundle import LoadedBundle, open_bundle
from passmuster.runtime.signature import SIGNATURE
from passmuster.stages.release import signature as signed
from passmuster.stages.release.card import model_card
from passmuster.store import dsse, keys, ledger
from passmuster.store.releases import (
    add_release,
    add_verdict,
    read_bundle,
    read_releases,
    read_report,
    read_verdict,
)
from passmuster.store.snapshots import read_findings, read_snapshot
from passmuster.store.store import Store


def sign(store: Store, verdict: Verdict) -> Release:
    """Sign a bundle with its verdict, HOLD and INSUFFICIENT too, and record the release.

    The signature is an in-toto statement with the SHA-256 of every other file of the folder. Signing again what is
    signed already under the same report, policy and outcome changes nothing and returns that release.

    Raises
    ------
    IntegrityError
        ``bundle.*`` when the payload is not what its manifest and the catalog say.
    ResourceError
        ``disk.full``, ``release.write``; the files and the catalog are as before.
    """
    with store.read() as db:
        bundle = read_bundle(db, verdict.bundle)
        found = read_report(db, verdict.bundle)
        snapshot = read_snapshot(db, bundle.snapshot)
        findings = read_findings(db, snapshot.digest)
    if found is None or found[0] != verdict.report:
        raise NotFoundError("report.none", "the verdict's report is not the bundle's latest", next="muster release")
    loaded = open_bundle(store.bundle_folder(bundle.path))
    if loaded.digest != bundle.digest:
        raise IntegrityError(
            "bundle.digest", "the folder holds another bundle", value=loaded.digest, limit=bundle.digest,
            where=loaded.path, next="restore it from a backup",
        )  # fmt: skip
    if (release := already_signed(store, verdict, loaded.path)) is not None:
        return release
    return write_release(store, verdict, bundle, loaded, found[1], snapshot, findings)


def already_signed(store: Store, verdict: Verdict, path: Path) -> Release | None:
    """The release of the same verdict on the same evidence, if its folder is whole."""
    with store.read() as db:
        last = read_verdict(db, verdict.bundle)
        release = next((r for r in read_releases(db) if r.bundle == verdict.bundle), None)
    if release is None or last is None or replace(last[0], created=verdict.created) != verdict:
        return None
    try:
        predicate = signed.check_signed(path, keys.public_key(store.keys_folder)).predicate
    except MusterError:
        return None  # it will be signed anew
    return release if predicate.get("release") == release.id else None


def write_release(
    store: Store,
    verdict: Verdict,
    bundle: Bundle,
    loaded: LoadedBundle,
    report: Report,
    snapshot: Snapshot,
    findings: list[Finding],
) -> Release:
    """The act: rows, event and files together. The files are renamed into place just before the commit."""
    from passmuster.metrics.gates.thresholds import thresholds  # scipy, which approving does not need

    with store.act("release.sign") as act, written(loaded.path) as new:
        n_releases = len(read_releases(act.db))
        release = Release(
            id=f"r{n_releases + 1:04d}-{bundle.digest[:8]}",
            bundle=bundle.digest,
            verdict=verdict.outcome,
            path=bundle.path,
            created=now(),
        )
        checkpoint = ledger.checkpoint(act.db)
        envelope = dsse.make_envelope(store.keys_folder, signed.VERDICT_TYPE, canonical_json(to_plain(verdict)))
        new[signed.REPORT] = canonical_json(to_plain(report))
        new[signed.VERDICT] = envelope.encode()
        new[signed.CHECKPOINT] = dsse.make_envelope(
            store.keys_folder, signed.CHECKPOINT_TYPE, canonical_json(checkpoint)
        ).encode()
        new[signed.CARD] = model_card(release, verdict, report, snapshot, findings, loaded.manifest).encode()
        predicate = {
            "release": release.id,
            "bundle": bundle.digest,
            "snapshot": bundle.snapshot,
            "verdict": verdict.outcome,
            "policy": verdict.policy,
            "gates_policy": gates_digest(store.config.policy),
            "created": release.created,
            "packages": running_packages(),
        }
        subjects = {**digests_of(loaded.path), **{name: sha256_hex(data) for name, data in new.items()}}
        statement = dsse.make_statement(store.keys_folder, subjects, signed.PREDICATE_TYPE, predicate)
        new[SIGNATURE] = statement.encode()
        add_verdict(act.db, verdict, envelope)
        add_release(act.db, release)
        act.payload.update(
            release=release.id, bundle=bundle.digest, snapshot=bundle.snapshot, report=verdict.report,
            verdict=verdict.outcome, policy=verdict.policy, look=verdict.look, signature=sha256_hex(statement.encode()),
            thresholds=thresholds(store.config.policy, verdict.gates), gates_policy=gates_digest(store.config.policy),
        )  # fmt: skip
    return release


def gates_digest(policy: Policy) -> str:
    """SHA-256 of what decides a verdict: the gates and how errors are shared."""
    plain = to_plain(policy)
    return sha256_hex(canonical_json({key: plain[key] for key in ("alpha", "max_looks", "gates")}))


def digests_of(path: Path) -> dict[str, str]:
    """SHA-256 of every file of the folder, the signature left out."""
    return {name: file_sha256_hex(path / name) for name in signed.every_file(path) if name != SIGNATURE}


@contextlib.contextmanager
def written(folder: Path) -> Iterator[dict[str, bytes]]:
    """Collect files by name, then write them all: to disk under other names first, so that a full disk changes nothing.

    The signature is renamed last. A process killed between two renames leaves a folder whose signature does not fit,
    which `muster release` signs anew.
    """
    new: dict[str, bytes] = {}
    yield new
    temporary = {name: folder / f".muster-{name}" for name in new}
    try:
        for name, data in new.items():
            write_through(temporary[name], data)
        for name in sorted(new, key=lambda n: n == SIGNATURE):
            os.replace(temporary[name], folder / name)
    except OSError as error:
        full = took_no_more(error)
        raise ResourceError(
            "disk.full" if full else "release.write",
            f"the release could not be written: {error.strerror}; nothing was signed",
            where=folder,
            next="free some disk and repeat the command" if full else "look at the folder's rights",
        ) from error
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def write_through(path: Path, data: bytes) -> None:
    """Write and force to disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
