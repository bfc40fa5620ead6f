"""Signed envelopes: what was signed comes back, and any change is told apart."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st

from passmuster.core.errors import IntegrityError
from passmuster.store import dsse, keys


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys")
    keys.create_keys(made)
    return made


@pytest.fixture(scope="module")
def envelope(folder: Path) -> str:
    return dsse.make_envelope(folder, "text/plain", b"36 right of 40")


def test_what_was_signed_comes_back(folder: Path, envelope: str) -> None:
    assert dsse.open_envelope(keys.public_key(folder), envelope) == b"36 right of 40"


def test_the_signed_bytes_are_the_protocols(folder: Path, envelope: str) -> None:
    fields = json.loads(envelope)
    signature = base64.b64decode(fields["signatures"][0]["sig"])
    key = keys.public_key(folder)
    key.verify(signature, b"DSSEv1 10 text/plain 14 36 right of 40")
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"36 right of 40")  # the payload alone is not what is signed


@given(st.text(), st.binary(), st.text(), st.binary())
def test_two_contents_never_share_one_encoding(kind: str, payload: bytes, other: str, another: bytes) -> None:
    assert (dsse.pae(kind, payload) == dsse.pae(other, another)) == ((kind, payload) == (other, another))


def change(envelope: str, **fields: object) -> str:
    return json.dumps({**json.loads(envelope), **fields})


def code_of(folder: Path, envelope: str, **options: str) -> str:
    with pytest.raises(IntegrityError) as caught:
        dsse.open_envelope(keys.public_key(folder), envelope, **options)
    assert caught.value.exit_code == 9
    return caught.value.code


def test_a_changed_payload_is_found(folder: Path, envelope: str) -> None:
    assert code_of(folder, change(envelope, payload=base64.b64encode(b"40 right of 40").decode())) == "signature.wrong"


def test_a_changed_type_is_found(folder: Path, envelope: str) -> None:
    assert code_of(folder, change(envelope, payloadType="text/html")) == "signature.wrong"


def test_an_unexpected_type_is_refused(folder: Path, envelope: str) -> None:
    assert code_of(folder, envelope, payload_type="text/html") == "signature.type"


def test_another_key_is_told_apart(folder: Path, envelope: str, tmp_path: Path) -> None:
    keys.create_keys(tmp_path / "other")
    assert code_of(tmp_path / "other", envelope) == "signature.key"


def test_a_forged_key_id_does_not_help(folder: Path, tmp_path: Path) -> None:
    keys.create_keys(tmp_path / "other")
    forged = json.loads(dsse.make_envelope(tmp_path / "other", "text/plain", b"36 right of 40"))
    forged["signatures"][0]["keyid"] = keys.key_id(keys.public_key(folder))
    assert code_of(folder, json.dumps(forged)) == "signature.wrong"


@pytest.mark.parametrize("text", ["", "{}", "[]", "no json", '{"payload": 3, "payloadType": "a", "signatures": []}'])
def test_what_is_no_envelope_is_said_to_be_none(folder: Path, text: str) -> None:
    assert code_of(folder, text) == "signature.malformed"


@pytest.mark.parametrize("fields", [{"signatures": []}, {"payload": "%%"}, {"payloadType": 3}])
def test_broken_fields_are_malformed(folder: Path, envelope: str, fields: dict[str, object]) -> None:
    assert code_of(folder, change(envelope, **fields)) == "signature.malformed"


def test_a_statement_names_its_files(folder: Path) -> None:
    signed = dsse.make_statement(folder, {"b": "2" * 64, "a": "1" * 64}, "https://example.org/p", {"n": 1})
    subjects, predicate = dsse.open_statement(keys.public_key(folder), signed)
    assert subjects == {"a": "1" * 64, "b": "2" * 64}
    assert predicate == {"n": 1}


def test_a_signed_payload_that_is_no_statement_is_refused(folder: Path) -> None:
    signed = dsse.make_envelope(folder, dsse.STATEMENT_TYPE, b'{"_type": "else"}')
    with pytest.raises(IntegrityError, match="not an in-toto statement"):
        dsse.open_statement(keys.public_key(folder), signed)
