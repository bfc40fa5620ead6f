"""Digests: known answers, one byte string for one value, and a Merkle root that notices everything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passmuster.core.digests import (
    canonical_json,
    file_sha256_hex,
    keyed_hex,
    merkle_root,
    same_digest,
    sha256_hex,
)


def test_sha256_of_nothing_is_the_standards(tmp_path: Path) -> None:
    expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_hex(b"") == expected
    (tmp_path / "empty").write_bytes(b"")
    assert file_sha256_hex(tmp_path / "empty") == expected


def test_a_large_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "large").write_bytes(data)
    assert file_sha256_hex(tmp_path / "large") == hashlib.sha256(data).hexdigest()


def test_a_keyed_digest_needs_its_key() -> None:
    assert keyed_hex(b"a" * 32, b"x") == hashlib.blake2b(b"x", key=b"a" * 32, digest_size=16).hexdigest()
    assert keyed_hex(b"a" * 32, b"x") != keyed_hex(b"b" * 32, b"x")
    assert len(keyed_hex(b"k", b"x", n_bytes=8)) == 16


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(turned)
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_refuses_what_json_does_not_know() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            canonical_json({"x": value})


def by_hand(leaves: list[str]) -> str:
    """RFC 6962, 2.1: split at the largest power of two below n."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + bytes.fromhex(leaves[0])).hexdigest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    left, right = by_hand(leaves[:k]), by_hand(leaves[k:])
    return hashlib.sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 64])
def test_the_merkle_root_is_the_rfcs(n: int) -> None:
    leaves = [sha256_hex(b"%d" % i) for i in range(n)]
    assert merkle_root(leaves) == by_hand(leaves)


@given(st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=2, max_size=9, unique=True), st.data())
def test_the_merkle_root_notices_every_change(leaves: list[str], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(leaves) - 1))
    j = data.draw(st.integers(0, len(leaves) - 1).filter(lambda j: j != i))
    root = merkle_root(leaves)
    swapped = leaves.copy()
    swapped[i], swapped[j] = swapped[j], swapped[i]
    changed = [sha256_hex(leaf.encode()) if k == i else leaf for k, leaf in enumerate(leaves)]
    for other in (swapped, changed, leaves[:i] + leaves[i + 1 :], [*leaves, leaves[i]]):
        assert merkle_root(other) != root


def test_digests_are_compared_whole() -> None:
    assert same_digest("ab", "ab")
    assert not same_digest("ab", "ac")
