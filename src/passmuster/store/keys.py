"""The project's secrets: a key for digests and an Ed25519 key for signatures. Files readable by their owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import IntegrityError, NotFoundError


def create_keys(folder: Path) -> None:
    """Make both keys in `folder`; existing ones stay."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / "digest.key").exists():
        _write_secret(folder / "digest.key", secrets.token_bytes(32))
    if not (folder / "signing.pem").exists():
        private = Ed25519PrivateKey.generate()
        _write_secret(
            folder / "signing.pem",
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        (folder / "signing.pub.pem").write_bytes(
            private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )


def _write_secret(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def digest_key(folder: Path) -> bytes:
    """The 32-byte key of item digests."""
    try:
        return (folder / "digest.key").read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError("keys.none", "the project's digest key is gone", where=folder, next="restore it") from error


def sign(folder: Path, message: bytes) -> tuple[str, bytes]:
    """Key id and Ed25519 signature (RFC 8032) of `message`."""
    try:
        pem = (folder / "signing.pem").read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            "keys.none", "the project's signing key is gone", where=folder, next="restore it"
        ) from error
    private = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise IntegrityError("keys.kind", "the signing key is not an Ed25519 key", where=folder / "signing.pem")
    return key_id(private.public_key()), private.sign(message)


def public_key(folder: Path) -> Ed25519PublicKey:
    """The project's public key."""
    return read_public_key(folder / "signing.pub.pem")


def read_public_key(path: Path) -> Ed25519PublicKey:
    """An Ed25519 public key from a PEM file."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError("keys.none", "no public key", where=path) from error
    except ValueError as error:
        raise IntegrityError("keys.kind", f"not a PEM public key: {error}", where=path) from error
    if not isinstance(key, Ed25519PublicKey):
        raise IntegrityError("keys.kind", "not an Ed25519 public key", where=path)
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the raw public key."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return sha256_hex(raw)[:16]


def signature_is_valid(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether `signature` over `message` was made by the holder of `key`."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
