"""The owner's own answers beside the import's: a wrong preprocessing is found before anything is written."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from passmuster.core.errors import DataError, MusterError, NotFoundError
from passmuster.runtime.answers import softmax
from passmuster.stages.importing import ImportResult, expected, import_model
from passmuster.store.releases import read_bundles
from passmuster.store.store import Store
from train_case import TOPICS, new_project, write_texts

pytest.importorskip("onnx", reason="importing needs the extra `import`")

from import_case import CLASSES, expected_logits, save, topic_model, write_tokenizer

TEXTS = [f"{word} {other}" for word in TOPICS["tea"].split() for other in TOPICS["bank"].split()]
Bring = Callable[..., ImportResult]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))


@pytest.fixture
def bring(store: Store, tmp_path: Path) -> Bring:
    """Import the topics' model beside a table; `before` are words of the preprocessing besides the tokenizer."""

    def run(table: Path, *before: str) -> ImportResult:
        words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}", "max_tokens=32", *before]
        path = save(topic_model(), tmp_path / "model.onnx")
        return import_model(store, path, labels=",".join(CLASSES), preprocess=words, expect=table)

    return run


def write(path: Path, columns: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def answers(texts: list[str], as_fed: list[str]) -> list[list[object]]:
    """Text, answer and probabilities of a model that was fed `as_fed`."""
    p = softmax(expected_logits(as_fed))
    return [[text, CLASSES[int(row.argmax())], *row] for text, row in zip(texts, p, strict=True)]


def test_the_same_answers_are_said(bring: Bring, tmp_path: Path) -> None:
    table = write(tmp_path / "e.csv", ["text", "answer", *CLASSES], answers(TEXTS, TEXTS))
    (note,) = (n for n in bring(table).notes if n.startswith("answers as where it was made"))
    assert f"on {len(TEXTS)} of {len(TEXTS)} items, probabilities apart by" in note


def test_probabilities_alone_or_answers_alone_are_enough(bring: Bring, tmp_path: Path) -> None:
    clear = ["tea green leaf", "card bank pin", "late train"]
    rows = answers(clear, clear)
    tables = (
        write(tmp_path / "a.csv", ["text", *CLASSES], [[row[0], *row[2:]] for row in rows]),
        write(tmp_path / "b.csv", ["text", "label"], [row[:2] for row in rows]),
    )
    for table, apart in zip(tables, (True, False), strict=True):
        (note,) = (n for n in bring(table).notes if n.startswith("answers as where it was made"))
        assert f"on {len(clear)} of {len(clear)} items" in note
        assert ("probabilities apart by" in note) == apart


def test_another_preprocessing_is_refused_with_the_item(bring: Bring, store: Store, tmp_path: Path) -> None:
    """Where it was made, texts were lowered; here the tokenizer does not know capitals."""
    capitals = [text.upper() for text in TEXTS]
    table = write(tmp_path / "e.csv", ["text", "answer", *CLASSES], answers(capitals, TEXTS))
    with pytest.raises(DataError, match="does not answer as it does where it was made") as caught:
        bring(table)
    assert caught.value.code == "import.differs"
    assert str(caught.value.where).endswith("of e.csv")
    assert "--preprocess" in str(caught.value.next)
    with store.read() as db:
        assert not read_bundles(db)
    bring(table, "lower")


def test_probabilities_may_tell_where_answers_do_not(bring: Bring, tmp_path: Path) -> None:
    clear = ["tea green leaf", "card bank pin", "late train"]
    p = softmax(expected_logits(clear) * 0.7)
    table = write(tmp_path / "e.csv", ["text", *CLASSES], [[text, *row] for text, row in zip(clear, p, strict=True)])
    with pytest.raises(DataError, match="the same answer on 3 of 3 items, probabilities apart by 0"):
        bring(table)


@pytest.mark.parametrize(
    ("columns", "rows", "code"),
    [
        (["text"], [["tea"]], "expect.columns"),
        (["item_id", "answer"], [["1", "tea"]], "table.columns"),
        (["text", "answer"], [["tea", "coffee"]], "expect.class"),
        (["text", *CLASSES], [["tea", "a", "b", "c"]], "expect.item"),
        (["text", "answer"], [["", "tea"]], "expect.item"),
        (["text", "answer"], [], "table.unreadable"),
        (["text", *CLASSES], [["tea", "nan", "nan", "nan"]], "import.differs"),
    ],
)
def test_a_table_that_cannot_be_used(
    bring: Bring, tmp_path: Path, columns: list[str], rows: list[list[object]], code: str
) -> None:
    with pytest.raises(MusterError) as caught:
        bring(write(tmp_path / "e.csv", columns, rows))
    assert caught.value.code == code


def test_a_table_that_is_not_there(bring: Bring, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        bring(tmp_path / "none.csv")
    (tmp_path / "e.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged or cut off"):
        bring(tmp_path / "e.parquet")


def test_a_table_is_read_as_add_reads_it_and_a_broken_row_is_named(bring: Bring, tmp_path: Path) -> None:
    (tmp_path / "semi.csv").write_text('text;answer\n"tea; green leaf";tea\n')
    assert "of 1 items" in " ".join(bring(tmp_path / "semi.csv").notes)
    (tmp_path / "ragged.csv").write_text("text,answer\ntea green leaf,tea\ntea,green,leaf,tea\n")
    with pytest.raises(DataError, match="4 cells where the header has 2") as caught:
        bring(tmp_path / "ragged.csv")
    assert caught.value.where == "ragged.csv:3"


def test_a_long_table_is_compared_in_part_and_that_is_said(
    bring: Bring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected, "MAX_ROWS", 2)
    rows: list[list[object]] = [["tea green leaf", "tea"]] * 3
    assert "of the first 2 items" in " ".join(bring(write(tmp_path / "e.csv", ["text", "answer"], rows)).notes)


def test_json_lines_are_read(bring: Bring, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text('{"text": "tea green leaf", "answer": "tea"}\n')
    assert any("on 1 of 1 items" in note for note in bring(tmp_path / "e.jsonl").notes)
