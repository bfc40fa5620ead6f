"""Whether a bundle's signature covers the bytes that are about to be served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import IntegrityError
from passmuster.runtime.bundle import CHANGED, MANIFEST, LoadedBundle
from passmuster.store.dsse import open_statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE = "signature.dsse.json"


def check_signature(bundle: LoadedBundle, key: Ed25519PublicKey) -> None:
    """Check that the holder of `key` signed this bundle: manifest, every payload file, and what else it names.

    Raises
    ------
    IntegrityError
        ``signature.none`` when the bundle is unsigned; ``signature.*`` of `open_statement`; ``signature.uncovered``
        when it leaves out a payload file; ``bundle.changed`` or ``bundle.missing_file`` when a file is not as signed.
    """
    path = bundle.path / SIGNATURE
    if not path.is_file():
        raise IntegrityError("signature.none", "the bundle is not signed", where=bundle.path, next="muster release")
    signed, _ = open_statement(key, path.read_text(encoding="utf-8", errors="replace"), where=path)
    for name in (MANIFEST, *bundle.manifest.files):
        if name not in signed:
            raise IntegrityError("signature.uncovered", "the signature leaves out a file", value=name, where=path)
    for name, digest in signed.items():
        known = bundle.manifest.files.get(name)  # these were read and checked when the bundle was opened
        if digest != (known or _digest(bundle.path, name)):
            raise IntegrityError(
                "bundle.changed",
                "a file of the bundle is not what was signed",
                value=name,
                where=bundle.path,
                next=CHANGED,
            )


def _digest(folder: Path, name: str) -> str:
    try:
        return sha256_hex((folder / name).read_bytes())
    except OSError as error:
        raise IntegrityError(
            "bundle.missing_file", "a signed file is not there", value=name, where=folder, next=CHANGED
        ) from error
