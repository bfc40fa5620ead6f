"""Raw bytes by digest: kept once, streamed in order, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from passmuster.core.errors import IntegrityError, NotFoundError
from passmuster.store.blobs import Blobs


def test_contents_come_back_in_the_order_asked(tmp_path: Path) -> None:
    blobs = Blobs.create(tmp_path / "blobs.db")
    contents = [f"item {i}".encode() for i in range(1_100)]
    names = blobs.put_many([*contents, contents[0]])
    assert names[0] == names[-1]
    assert list(blobs.get_many(names[::-1])) == [contents[0], *contents[::-1]]


def test_missing_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="blob") as caught:
        Blobs.create(tmp_path / "blobs.db").get("0" * 64)
    assert caught.value.code == "blob.none"


def test_damage_in_the_middle_of_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "blobs.db"
    blobs = Blobs.create(path)
    names = blobs.put_many([bytes([i % 251]) * 5_000 for i in range(200)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        list(blobs.get_many(names))
    assert caught.value.code == "blobs.damaged"


def test_a_store_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "blobs.db"
    Blobs.create(path)
    path.unlink()
    blobs = Blobs(path)
    for use in (lambda: blobs.get("0" * 64), lambda: blobs.put_many([b"x"]), lambda: list(blobs.each_digest())):
        with pytest.raises(IntegrityError) as caught:
            use()
        assert caught.value.code == "blobs.gone"
    assert not path.exists()


def test_an_empty_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "blobs.db").touch()
    for use in (lambda b: b.get("0" * 64), lambda b: b.put_many([b"x"])):
        with pytest.raises(IntegrityError) as caught:
            use(Blobs(tmp_path / "blobs.db"))
        assert caught.value.code == "blobs.damaged"
