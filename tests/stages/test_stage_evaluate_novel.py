"""Strange items that a user names: every way to give them, and nothing swallowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, NotFoundError
from passmuster.modality.find import modalities
from passmuster.stages.evaluate.novel_items import read_novel

TEXT, IMAGE = modalities["text"], modalities["image"]
ROWS = {"id": [1, 2, 3], "text": ["first", None, "third\nline"]}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_a_table_of_texts(tmp_path: Path, suffix: str) -> None:
    path, table = tmp_path / f"strange.{suffix}", pl.DataFrame(ROWS)
    match suffix:
        case "csv":
            table.write_csv(path)
        case "tsv":
            table.write_csv(path, separator="\t")
        case "parquet":
            table.write_parquet(path)
        case _:
            table.write_ndjson(path)
    found = read_novel(path, TEXT, DataConfig())
    assert found.payloads == ("first", "third\nline")
    assert len(found.problems) == 1
    assert found.problems[0].startswith("row 2: ")
    assert found.name == f"strange.{suffix}"


def test_a_column_that_the_configuration_names(tmp_path: Path) -> None:
    path = tmp_path / "strange.csv"
    pl.DataFrame({"text": ["no"], "Betreff": ["yes"]}).write_csv(path)
    assert read_novel(path, TEXT, DataConfig(text_column="Betreff")).payloads == ("yes",)


def test_a_table_is_read_as_add_reads_it_and_a_broken_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "semi.csv").write_text('id;text\n1;"a; b"\n2;c\n')
    assert read_novel(tmp_path / "semi.csv", TEXT, DataConfig()).payloads == ("a; b", "c")
    (tmp_path / "ragged.csv").write_text("text,label\na,b\na,b,c\n")
    with pytest.raises(DataError, match="3 cells where the header has 2") as caught:
        read_novel(tmp_path / "ragged.csv", TEXT, DataConfig())
    assert caught.value.where == "ragged.csv:3"


def test_folders_and_single_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("a")
    (tmp_path / "b.md").write_text("b")
    (tmp_path / "c.png").write_bytes(b"not a text")
    assert sorted(read_novel(tmp_path, TEXT, DataConfig()).payloads) == ["a", "b"]
    assert read_novel(tmp_path / "b.md", TEXT, DataConfig()).payloads == ("b",)


def test_a_table_of_paths_of_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(IMAGE.encode(np.zeros((4, 4, 1), np.uint8)))
    pl.DataFrame({"path": ["a.png", "gone.png"]}).write_csv(tmp_path / "strange.csv")
    found = read_novel(tmp_path / "strange.csv", IMAGE, DataConfig())
    assert len(found.payloads) == 1
    assert found.problems[0].startswith("row 2: ")


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_csv(tmp_path / "columns.csv")
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    (tmp_path / "notes.docx").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for name, code in (
        ("columns.csv", "novel.column"),
        ("broken.parquet", "data.unreadable"),
        ("notes.docx", "novel.table"),
        ("empty", "novel.empty"),
    ):
        with pytest.raises(DataError) as caught:
            read_novel(tmp_path / name, TEXT, DataConfig())
        assert caught.value.code == code, name
    with pytest.raises(NotFoundError):
        read_novel(tmp_path / "nowhere", TEXT, DataConfig())
