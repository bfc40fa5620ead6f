"""Bad input to govern: a clear error with a code and a remedy, and nothing lost."""

import contextlib
import csv
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.errors import DataError, MusterError, NotFoundError
from passmuster.modality.image.read import encode
from passmuster.stages.govern import add
from passmuster.store.items import read_items
from passmuster.store.store import Store

GOOD = "text,label,id\nfirst text,a,1\nsecond text,b,2\n"


def refused(store: Store, path: Path, **options: object) -> MusterError:
    """The error of an add that must leave everything as it was."""
    with store.read() as db:
        before = (len(read_items(db)), db.exec_driver_sql("SELECT count(*) FROM events").scalar())
    with pytest.raises(MusterError) as caught:
        add(store, path, **options)  # type: ignore[arg-type]
    with store.read() as db:
        assert (len(read_items(db)), db.exec_driver_sql("SELECT count(*) FROM events").scalar()) == before
    assert caught.value.next, "an error says what to do next"
    assert caught.value.exit_code in (3, 6, 8)
    return caught.value


@pytest.fixture
def store(new_store, tmp_path: Path) -> Store:
    """A text project that holds two items."""
    made = new_store("text")
    (tmp_path / "good.csv").write_text(GOOD)
    add(made, tmp_path / "good.csv")
    return made


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.csv", b"", "data.empty"),
        ("header.csv", b"text,label\n", "data.empty"),
        ("empty.jsonl", b"", "data.empty"),
        ("empty.parquet", b"", "data.empty"),
        ("cut.csv", b'text,label\n"the quote never en', "data.truncated"),
        ("cut.jsonl", b'{"text": "whole"}\n{"text": "cut o', "data.truncated"),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03KKK", "data.truncated"),
        ("cut.parquet", b"PAR1\x15\x04\x15", "data.unreadable"),
        ("junk.parquet", b"this is no parquet file at all", "data.unreadable"),
        ("latin.csv", "text,label\ncafé,a\n".encode("latin1"), "data.encoding"),
        ("late.csv", b"text,label\n" + b"fine,a\n" * 9_000 + b"caf\xe9,b\n", "data.encoding"),
        ("wide.csv", "text,label\nab,c\n".encode("utf-16"), "data.encoding"),
        ("twice.csv", b"text,text\na,b\n", "data.header"),
        ("nothing.csv", b"text,label\n,a\n,b\n", "data.nothing_usable"),
        ("odd.csv", b"alpha,beta,gamma\n1,2,3\n", "data.no_column"),
        ("split.csv", b"text,split\nx,fold3\n", "data.split"),
        ("same.csv", b"id,text\n7,a\n8,b\n7,c\n", "data.duplicate_id"),
        ("changed.csv", b"id,text\n1,another text\n", "data.changed"),
        ("photo.png", b"x", "data.format"),
    ],
)
def test_tables_that_cannot_be_used(store: Store, tmp_path: Path, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert refused(store, tmp_path / name).code == code


def test_the_place_of_a_foreign_byte_in_a_large_file_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "late.csv").write_bytes(b"text,label\n" + b"fine,a\n" * 9_000 + b"caf\xe9,b\n")
    error = refused(store, tmp_path / "late.csv")
    assert "line 9002" in str(error.where)
    assert str(error.value) == "byte 0xe9"
    assert "iconv" in str(error.next)


def test_a_duplicate_id_names_both_rows(store: Store, tmp_path: Path) -> None:
    (tmp_path / "same.csv").write_text("id,text\n7,a\n8,b\n7,c\n")
    error = refused(store, tmp_path / "same.csv")
    assert error.value == "7"
    assert error.where == "same.csv:2 and same.csv:4"
    assert "--subject-column" in str(error.next)  # numbers of customers are easily taken for numbers of rows


def test_a_column_that_is_not_there_brings_the_nearest(new_store, tmp_path: Path) -> None:
    from passmuster.core.config import Config, DataConfig

    (tmp_path / "t.csv").write_text("text,category\nx,a\n")
    error = refused(new_store("text", Config(data=DataConfig(label_column="categry"))), tmp_path / "t.csv")
    assert error.code == "data.no_column"
    assert "category" in str(error.next)


def test_labels_that_match_nothing_are_listed_and_nothing_is_kept(store: Store, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("id,text\n8,eight\n9,nine\n")
    (tmp_path / "labels.csv").write_text("id,label\n8,a\n" + "".join(f"ghost{i},a\n" for i in range(9)))
    error = refused(store, tmp_path / "more.csv", labels=tmp_path / "labels.csv")
    assert error.code == "label.unknown_item"
    assert "9 of 10 labels" in error.what
    assert "'ghost0'" in error.what
    assert "and 4 more" in error.what


def test_a_table_of_labels_without_labels(store: Store, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("id,text\n8,eight\n")
    (tmp_path / "labels.csv").write_text("id,colour\n8,red\n")
    assert refused(store, tmp_path / "more.csv", labels=tmp_path / "labels.csv").code == "data.no_column"


def test_paths_and_folders_that_are_not_right(store: Store, tmp_path: Path) -> None:
    assert isinstance(refused(store, tmp_path / "nowhere"), NotFoundError)
    (tmp_path / "hollow").mkdir()
    assert refused(store, tmp_path / "hollow").code == "data.empty"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(encode(np.zeros((2, 2, 1), np.uint8)))
    error = refused(store, tmp_path / "photos")
    assert error.code == "data.modality"
    assert "--modality image" in str(error.next)


def test_rows_of_another_length_are_quarantined_not_lost(store: Store, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text,label\none,a\ntwo\nthree,a,b\n"four"x,b\nfive,b\n')
    result = add(store, tmp_path / "t.csv")
    assert (result.n_read, result.n_kept, dict(result.reasons)) == (5, 2, {"item.row": 3})


def test_folders_of_damaged_files_keep_the_good_ones(new_store, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    good = encode(np.random.default_rng(0).integers(0, 256, (9, 9, 1), dtype=np.uint8))
    for name, data in {"good.png": good, "cut.png": good[:60], "empty.png": b"", "text.png": b"hello"}.items():
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("not an image")
    result = add(new_store("image"), folder)
    assert (result.n_read, result.n_kept, result.n_quarantined) == (5, 1, 4)
    assert dict(result.reasons) == {"item.empty": 1, "item.suffix": 1, "item.undecodable": 2}


def test_texts_in_files_that_are_not_utf8(new_store, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "good.txt").write_text("café", encoding="utf-8")
    (folder / "bad.txt").write_bytes("café".encode("latin1"))
    result = add(new_store("text"), folder)
    assert dict(result.reasons) == {"item.encoding": 1}
    assert "position 3" in result.examples[0][1]


def test_windows_own_encoding_is_the_first_guess(new_store, tmp_path: Path) -> None:
    """Latin-1 would make control characters of its quotes and dashes, and say nothing."""
    (tmp_path / "w.csv").write_bytes("text,label\n“fine” – 5 €,a\n".encode("cp1252"))
    with pytest.raises(DataError) as caught:
        add(new_store("text"), tmp_path / "w.csv")
    assert caught.value.next == "iconv -f cp1252 -t utf8 w.csv > utf8-w.csv"


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    from passmuster.core.errors import MusterError
    from passmuster.stages.govern import add
    from passmuster.store.store import Store

    store = Store.open(Path(sys.argv[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    try:
        add(store, Path(sys.argv[2]))
    except MusterError as error:
        print(error.code)
        raise SystemExit(error.exit_code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
@pytest.mark.parametrize("limit_bytes", [20_000, 150_000, 300_000, 420_000])
def test_a_full_disk_in_mid_write_loses_nothing_and_the_add_can_be_repeated(
    store: Store, tmp_path: Path, limit_bytes: int
) -> None:
    """No file may grow beyond a limit, which stops the blob store or the catalog half way."""
    rng = np.random.default_rng(0)
    with (tmp_path / "big.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        writer.writerows([f"big{i}", rng.bytes(60).hex(), "ab"[i % 2]] for i in range(1_500))
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(store.folder), str(tmp_path / "big.csv")]
    ended = subprocess.run([*command, str(limit_bytes)], capture_output=True, text=True, env=os.environ, check=False)
    assert ended.returncode == 6, ended.stdout + ended.stderr
    assert ended.stdout.strip() == "disk.full"
    again = Store.open(store.folder)
    with again.read() as db:
        items = read_items(db)
    assert {item.id for item in items} == {"1", "2"}
    assert blobs_in(again) == {item.blob for item in items}
    assert sum(path.stat().st_size for path in again.root.glob("blobs.db*")) < 65_536  # and the disk has its space back
    result = add(again, tmp_path / "big.csv")
    assert (result.n_kept, result.n_known) == (1_500, 0)


def blobs_in(store: Store) -> set[str]:
    with contextlib.closing(sqlite3.connect(store.blobs.path)) as db:
        return {digest for (digest,) in db.execute("SELECT digest FROM blobs")}


def test_an_add_that_is_refused_half_way_keeps_nothing_of_it(store: Store, tmp_path: Path) -> None:
    before = blobs_in(store)
    rows = "".join(f"new{i},another text {i}\n" for i in range(1_100))
    (tmp_path / "changed.csv").write_text(f"id,text\n{rows}1,not what it was\n")
    assert refused(store, tmp_path / "changed.csv").code == "data.changed"
    assert blobs_in(store) == before


def test_two_adds_at_once_are_refused(store: Store, tmp_path: Path) -> None:
    with store.lock("add"):
        assert refused(store, tmp_path / "good.csv").code == "lock.held"


def test_a_bomb_in_a_folder_is_quarantined(new_store, tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "good.png").write_bytes(encode(np.zeros((3, 3, 1), np.uint8)))
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    )
    result = add(new_store("image"), folder)
    assert dict(result.reasons) == {"item.too_many_pixels": 1}
    assert [f.kind for f in result.findings][:1] == ["oversized"]


def test_an_item_alone_may_be_added(new_store, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a text")
    assert add(new_store("text"), tmp_path / "one.txt").n_kept == 1


def test_data_errors_exit_with_3() -> None:
    assert DataError("x", "y").exit_code == 3


def test_a_list_is_no_label(new_store, tmp_path: Path) -> None:
    store = new_store("text")
    rows = ['{"text": "one letter", "label": ["x"]}', '{"text": "another letter", "label": true}']
    (tmp_path / "t.jsonl").write_text("\n".join(rows) + "\n")
    result = add(store, tmp_path / "t.jsonl")
    assert (result.n_kept, result.n_quarantined) == (1, 1)
    assert result.snapshot is not None
    assert result.snapshot.classes == ("true",)
    with store.read() as db:
        reasons = [item.reason for item in read_items(db, status="quarantined")]
    assert reasons == ["item.label: one label was expected, and here is a list"]


def test_a_files_name_that_is_not_utf8_is_the_problem_of_that_file(new_store, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a text")
    try:
        (tmp_path / "texts" / "b\udcff.txt").write_text("another")
    except OSError:
        pytest.skip("this file system holds only names in UTF-8")
    store = new_store("text")
    for n_known in (0, 2):
        added = add(store, tmp_path / "texts")
        assert (added.n_read, added.n_known) == (2, n_known)
    with store.read() as db:
        bad = {item.id: item.reason for item in read_items(db) if item.status != "kept"}
    assert bad == {"b\\udcff.txt": "item.encoding: the file's name is not UTF-8"}
