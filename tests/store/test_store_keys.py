"""Keys: made once, readable by their owner only, and told apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from passmuster.core.errors import IntegrityError, NotFoundError
from passmuster.store import keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.create_keys(tmp_path / "keys")
    return tmp_path / "keys"


def test_keys_are_made_once(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    keys.create_keys(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert set(before) == {"digest.key", "signing.pem", "signing.pub.pem"}


@pytest.mark.skipif(os.name == "nt", reason="rights are kept in another way on Windows: this was not tried there")
def test_secrets_are_readable_by_their_owner_only(folder: Path) -> None:
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    for name in ("digest.key", "signing.pem"):
        assert oct((folder / name).stat().st_mode & 0o777) == "0o600"


def test_what_was_signed_is_valid_and_nothing_else(folder: Path) -> None:
    key_id, signature = keys.sign(folder, b"message")
    public = keys.public_key(folder)
    assert key_id == keys.key_id(public)
    assert keys.signature_is_valid(public, signature, b"message")
    assert not keys.signature_is_valid(public, signature, b"massage")
    assert not keys.signature_is_valid(public, signature[:-1], b"message")


def test_two_projects_have_different_keys(folder: Path, tmp_path: Path) -> None:
    keys.create_keys(tmp_path / "other")
    assert keys.digest_key(folder) != keys.digest_key(tmp_path / "other")
    assert keys.key_id(keys.public_key(folder)) != keys.key_id(keys.public_key(tmp_path / "other"))


def test_a_lost_key_is_told(folder: Path) -> None:
    for name in ("digest.key", "signing.pem", "signing.pub.pem"):
        (folder / name).unlink()
    for look in (keys.digest_key, keys.public_key, lambda f: keys.sign(f, b"x")):
        with pytest.raises(NotFoundError) as caught:
            look(folder)
        assert caught.value.code == "keys.none"


def test_a_file_that_is_no_public_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(IntegrityError) as caught:
        keys.read_public_key(tmp_path / "key.pem")
    assert caught.value.code == "keys.kind"


def test_a_key_of_another_kind_is_told(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(IntegrityError):
        keys.read_public_key(tmp_path / "key.pem")
