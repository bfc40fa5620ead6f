"""Digests: what content is called, and how a name is kept from giving the content away.

Bundles and blobs are named by SHA-256. Ids and contents of items enter ledger and reports only as digests keyed with
the project's secret, so that nobody can test a guess against them and a person can be forgotten without breaking the
chain.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from passmuster.core.records import Payload


def sha256_hex(data: bytes) -> str:
    """SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256_hex(path: Path) -> str:
    """SHA-256 of a file, read in blocks of one MiB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keyed_hex(key: bytes, data: bytes, *, n_bytes: int = 16) -> str:
    """BLAKE2b of `data` keyed with `key` (RFC 7693), `2 * n_bytes` hexadecimal digits.

    >>> keyed_hex(b"k", b"x") != keyed_hex(b"other", b"x")
    True
    """
    return hashlib.blake2b(data, key=key, digest_size=n_bytes).hexdigest()


def content_of(payload: Payload) -> bytes:
    """The bytes that make two payloads the same content, whatever file they came in.

    >>> content_of("é")
    b'\\xc3\\xa9'
    """
    if isinstance(payload, str):
        return payload.encode()
    return repr(payload.shape).encode() + payload.tobytes()


def canonical_json(value: Any) -> bytes:
    """One byte string for one value: sorted keys, no spaces, UTF-8, no NaN. What gets hashed and signed.

    >>> canonical_json({"b": 1, "a": "é"})
    b'{"a":"\\xc3\\xa9","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def merkle_root(leaves: list[str]) -> str:
    """Root of a binary Merkle tree over hexadecimal leaves in the given order (RFC 6962 prefixes 00 and 01).

    >>> merkle_root([]) == sha256_hex(b"")
    True
    """
    if not leaves:
        return sha256_hex(b"")
    level = [hashlib.sha256(b"\x00" + bytes.fromhex(leaf)).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0].hex()


def same_digest(a: str, b: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(a, b)
