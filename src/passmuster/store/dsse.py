"""Signed envelopes: DSSE v1 (Dead Simple Signing Envelope) with one Ed25519 signature, and in-toto statements inside.

The signature covers the pre-authentication encoding (PAE) of type and payload, so that a payload signed as one type
cannot be passed off as another. Source: https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md;
statements: in-toto attestation framework, Statement v1.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from passmuster.core.digests import canonical_json
from passmuster.core.errors import IntegrityError
from passmuster.store import keys

STATEMENT_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: ``"DSSEv1" SP len(type) SP type SP len(payload) SP payload``, lengths in bytes, ASCII decimal.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def make_envelope(keys_folder: Path, payload_type: str, payload: bytes) -> str:
    """Sign `payload` with the key in `keys_folder`; returns the envelope as canonical JSON.

    Raises
    ------
    NotFoundError
        ``keys.none`` when there is no signing key.
    """
    key_id, signature = keys.sign(keys_folder, pae(payload_type, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}],
    }
    return canonical_json(envelope).decode()


def open_envelope(
    public_key: Ed25519PublicKey, envelope: str, *, payload_type: str = "", where: object = None
) -> bytes:
    """The payload, once the signature of `public_key`'s holder over it has been checked.

    Parameters
    ----------
    public_key : the key that must have signed
    envelope : DSSE JSON
    payload_type : the type that is expected; "" accepts any
    where : the file it was read from, for the error

    Raises
    ------
    IntegrityError
        ``signature.malformed`` when it is no envelope, ``signature.key`` when another key is named,
        ``signature.wrong`` when the signature does not fit, ``signature.type`` when the payload is of another type.
    """
    kind, payload, signatures = _parse(envelope, where)
    ours = keys.key_id(public_key)
    by_us = [signature for key_id, signature in signatures if key_id == ours]
    if not by_us:
        raise IntegrityError(
            "signature.key",
            "the envelope was signed with another key",
            value=", ".join(key_id or "(no key id)" for key_id, _ in signatures),
            limit=ours,
            where=where,
            next="ask whoever signed it for their public key",
        )
    if not any(keys.signature_is_valid(public_key, signature, pae(kind, payload)) for signature in by_us):
        raise IntegrityError(
            "signature.wrong",
            "the signature does not fit the content: one of them was changed",
            where=where,
            next="restore the file from a backup, or muster release again",
        )
    if payload_type and kind != payload_type:
        raise IntegrityError(
            "signature.type", "the envelope holds something else", value=kind, limit=payload_type, where=where
        )
    return payload


def _parse(envelope: str, where: object) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    try:
        fields = json.loads(envelope)
        signatures = [(str(s["keyid"]), base64.b64decode(s["sig"], validate=True)) for s in fields["signatures"]]
        kind, payload = fields["payloadType"], base64.b64decode(fields["payload"], validate=True)
        if not isinstance(kind, str) or not signatures:
            raise ValueError("no type or no signature")
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise IntegrityError(
            "signature.malformed",
            f"not a signed envelope: {error}",
            where=where,
            next="restore the file from a backup, or muster release again",
        ) from error
    return kind, payload, signatures


def make_statement(
    keys_folder: Path, subjects: Mapping[str, str], predicate_type: str, predicate: Mapping[str, Any]
) -> str:
    """A signed in-toto statement: files by name with their SHA-256, and what is said of them."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    return make_envelope(keys_folder, STATEMENT_TYPE, canonical_json(statement))


def open_statement(
    public_key: Ed25519PublicKey, envelope: str, *, where: object = None
) -> tuple[dict[str, str], dict[str, Any]]:
    """Files with their SHA-256, and the predicate, of a signed in-toto statement.

    Raises
    ------
    IntegrityError
        As `open_envelope`, and ``signature.malformed`` when the payload is no statement.
    """
    payload = open_envelope(public_key, envelope, payload_type=STATEMENT_TYPE, where=where)
    try:
        statement = json.loads(payload)
        if statement["_type"] != STATEMENT:
            raise ValueError(f"of type {statement['_type']}")
        return {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}, dict(statement["predicate"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError("signature.malformed", f"not an in-toto statement: {error}", where=where) from error
