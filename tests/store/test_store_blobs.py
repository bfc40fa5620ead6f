"""Raw bytes by digest: kept once, streamed in order, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from passmuster.core.errors import IntegrityError, NotFoundError
from passmuster.store.blobs import Blobs


def test_contents_come_back_in_the_order_asked(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs.db")
    contents = [f"item {i}".encode() for i in range(1_100)]
    names = blobs.put_many([*contents, contents[0]])
    assert names[0] == names[-1]
    assert list(blobs.get_many(names[::-1])) == [contents[0], *contents[::-1]]


def test_missing_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="blob") as caught:
        Blobs(tmp_path / "blobs.db").get("0" * 64)
    assert caught.value.code == "blob.none"


def test_damage_in_the_middle_of_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "blobs.db"
    blobs = Blobs(path)
    names = blobs.put_many([bytes([i % 251]) * 5_000 for i in range(200)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        list(blobs.get_many(names))
    assert caught.value.code == "blobs.damaged"
