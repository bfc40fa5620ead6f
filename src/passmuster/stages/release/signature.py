"""Whether a signed bundle is what was signed: every byte, every signature, and that they speak of each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from passmuster.core.codec import from_plain
from passmuster.core.digests import file_sha256_hex
from passmuster.core.errors import IntegrityError, MusterError
from passmuster.core.records import Verdict
from passmuster.runtime.bundle import SIDE_FILES, read_manifest
from passmuster.runtime.signature import SIGNATURE
from passmuster.store.dsse import open_envelope, open_statement

REPORT, CARD, CHECKPOINT = "report.json", "card.md", "checkpoint.json"
VERDICT = "verdict.dsse.json"
VERDICT_TYPE = "application/vnd.passmuster.verdict.v1+json"
CHECKPOINT_TYPE = "application/vnd.passmuster.checkpoint.v1+json"
PREDICATE_TYPE = "urn:passmuster:release.v1"


@dataclass(frozen=True)
class Signed:
    """What a bundle's signature says, once everything under it was found whole."""

    predicate: Mapping[str, Any]
    verdict: Verdict
    checkpoint: Mapping[str, Any]


def check_signed(path: Path, key: Ed25519PublicKey) -> Signed:
    """Read a signed bundle and check all of it.

    Raises
    ------
    IntegrityError
        ``signature.none`` when it was never signed, ``signature.*`` when a signature does not fit, ``release.changed``
        when a file is not what was signed; names the files.
    """
    signature = path / SIGNATURE
    if not signature.is_file():
        raise IntegrityError(
            "signature.none", "the bundle is not signed", where=path, next=f"muster release {path.name}"
        )
    files, predicate = open_statement(key, read_text(signature), where=signature)
    if changed := changed_files(path, files):
        raise IntegrityError(
            "release.changed",
            "; ".join(changed),
            where=path,
            next=way_to_restore(path, files),
        )
    verdict = read_verdict_file(path, key)
    checkpoint = read_checkpoint(path, key)
    if mismatch := mismatches(path, predicate, verdict):
        raise IntegrityError("release.mismatch", "; ".join(mismatch), where=path)
    return Signed(predicate, verdict, checkpoint)


def way_to_restore(path: Path, files: Mapping[str, str]) -> str:
    """What to do about a changed folder: what a release writes it can write again, the model itself it cannot."""
    kept = {name: digest for name, digest in files.items() if name not in SIDE_FILES}
    if changed_files(path, kept, extra_is_wrong=False):
        return "restore the folder from a backup; meanwhile muster rollback puts an earlier release live, or none"
    return f"restore the folder from a backup, or muster release {path.name}"


def problems_of(path: Path, key: Ed25519PublicKey) -> list[str]:
    """Everything that is wrong with a bundle, signed or not, in plain words; empty when it is whole."""
    found = []
    try:
        manifest = read_manifest(path)
        found += changed_files(path, manifest.files, extra_is_wrong=False)
    except MusterError as error:
        found.append(error.what)
    if not (path / SIGNATURE).is_file():
        if left := [name for name in (VERDICT, CHECKPOINT, REPORT, CARD) if (path / name).exists()]:
            found.append(f"{SIGNATURE} is missing, though {left[0]} is there")
        return found
    try:
        check_signed(path, key)
    except MusterError as error:
        where = f"{Path(str(error.where)).name}: " if error.code.startswith("signature.") else ""
        found += [part for part in f"{where}{error.what}".split("; ") if part not in found]
    return found


def read_checkpoint(path: Path, key: Ed25519PublicKey) -> Mapping[str, Any]:
    """The ledger checkpoint that a bundle carries, its signature checked."""
    file = path / CHECKPOINT
    point = json.loads(open_envelope(key, read_text(file), payload_type=CHECKPOINT_TYPE, where=file))
    return {"seq": int(point["seq"]), "hash": str(point["hash"])}


def read_verdict_file(path: Path, key: Ed25519PublicKey) -> Verdict:
    """The verdict that a bundle carries, its signature checked."""
    file = path / VERDICT
    payload = open_envelope(key, read_text(file), payload_type=VERDICT_TYPE, where=file)
    return from_plain(Verdict, json.loads(payload), where=VERDICT)


def changed_files(path: Path, files: Mapping[str, str], *, extra_is_wrong: bool = True) -> list[str]:
    """Files that are missing, changed, links, or were not there when it was signed."""
    found = []
    for name, digest in sorted(files.items()):
        file = path / name
        if file.is_symlink() or not file.is_file():
            found.append(f"{name} is missing")
        elif file_sha256_hex(file) != digest:
            found.append(f"{name} was changed: its digest is not the recorded one")
    if extra_is_wrong:
        known = {*files, SIGNATURE}
        found += [f"{name} was added and is not signed" for name in every_file(path) if name not in known]
    return found


def every_file(path: Path) -> list[str]:
    """Relative names of every file below a bundle, temporary ones left out, sorted."""
    inside = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file() or file.is_symlink())
    return sorted(name for name in inside if not name.rsplit("/", 1)[-1].startswith(".muster-"))


def mismatches(path: Path, predicate: Mapping[str, Any], verdict: Verdict) -> list[str]:
    """Where signature, verdict, report and payload do not speak of the same thing."""
    spoken = {
        "bundle": (predicate.get("bundle"), read_manifest(path).digest()),
        "bundle of the verdict": (verdict.bundle, predicate.get("bundle")),
        "verdict": (verdict.outcome, predicate.get("verdict")),
        "report": (verdict.report, file_sha256_hex(path / REPORT)),
    }
    return [f"the signature's {what} is {a}, not {b}" for what, (a, b) in spoken.items() if a != b]


def read_text(path: Path) -> str:
    """A small text file of a bundle.

    Raises
    ------
    IntegrityError
        ``release.file`` when it is missing or not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError("release.file", f"{path.name} cannot be read: {error}", where=path) from error
