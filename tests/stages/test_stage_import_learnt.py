"""What an imported model learnt from: no copy of it counts as evidence, and the list cannot be changed unseen."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from passmuster.core.errors import DataError, IntegrityError
from passmuster.stages.evaluate import evaluate
from passmuster.stages.govern import add
from passmuster.stages.importing import ImportResult, import_model
from passmuster.store import ledger
from passmuster.store.store import Store
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="importing needs the extra `import`")

from import_case import CLASSES, save, topic_model, write_tokenizer

N_TEST, N_LEARNT = 40, 9
Bring = Callable[..., ImportResult]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_texts(tmp_path / "t.csv", n=60, n_test=N_TEST)


@pytest.fixture
def store(tmp_path: Path, texts: Path) -> Store:
    return new_project(tmp_path / "p", texts)


@pytest.fixture
def bring(store: Store, tmp_path: Path) -> Bring:
    """Import the topics' model, which learnt from these texts."""

    def run(learnt: list[str] | None = None, **said: Any) -> ImportResult:
        words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}", "max_tokens=32"]
        path, table = save(topic_model(), tmp_path / "model.onnx"), None
        if learnt is not None:
            table = tmp_path / "learnt.csv"
            with table.open("w", newline="") as file:
                csv.writer(file).writerows([["text", "label"], *([text, "x"] for text in learnt)])
        return import_model(store, path, labels=",".join(CLASSES), preprocess=words, learnt_from=table, **said)

    return run


def of_the_test(path: Path) -> list[str]:
    with path.open() as file:
        return [row["text"] for row in csv.DictReader(file) if row["split"] == "test"]


def test_copies_are_left_out_of_the_test_and_said_to_be(store: Store, bring: Bring, texts: Path) -> None:
    result = bring([*of_the_test(texts)[:N_LEARNT], "something else", "something else"])
    assert result.n_learnt == N_LEARNT + 1
    assert f"it learnt from 10 items: {N_LEARNT} test items are copies of them, and are left out" in result.notes
    with store.read() as db:
        assert not list(ledger.read(db, kind="test.open"))
    report = evaluate(store, result.bundle).report
    assert report.n_test == N_TEST - N_LEARNT
    unknown = " ".join(report.sections["unknown"])
    assert f"{N_LEARNT} test items left out, because this model learned from them" in unknown
    assert "10 items were named, and copies of them left out" in unknown


def test_without_a_list_everything_counts_and_the_doubt_is_said(store: Store, bring: Bring) -> None:
    report = evaluate(store, bring().bundle).report
    assert report.n_test == N_TEST
    assert "it was made elsewhere" in " ".join(report.sections["unknown"])


def test_copies_that_are_added_later_are_left_out_too(store: Store, bring: Bring, tmp_path: Path) -> None:
    result = bring(["the very last train to the platform", "something else"])
    later = "id,text,label,split\nl1,the very last train to the platform,rail,test\nl2,a green tea,tea,test\n"
    (tmp_path / "later.csv").write_text(later)
    add(store, tmp_path / "later.csv")
    assert evaluate(store, result.bundle).report.n_test == N_TEST + 1


def test_what_it_learnt_from_does_not_calibrate_it(store: Store, bring: Bring, texts: Path) -> None:
    with texts.open() as file:
        labelled = [row["text"] for row in csv.DictReader(file) if row["split"] == "train" and row["label"]]
    assert bring(labelled[:3], calibrate=True).n_calibration == len(labelled) - 3
    with pytest.raises(DataError, match="too few training labels"):
        bring(labelled, calibrate=True)


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_a_changed_list_is_refused(store: Store, bring: Bring, texts: Path, change: str) -> None:
    result = bring(of_the_test(texts)[:3])
    path = store.runs_folder / result.run / "learnt.txt"
    if change == "edit":
        path.write_text("\n".join(path.read_text().splitlines()[1:]))
    else:
        path.unlink()
    with pytest.raises(IntegrityError, match="not what was recorded"):
        evaluate(store, result.bundle)


def test_ids_and_contents_stay_out_of_the_bundle(bring: Bring, texts: Path) -> None:
    result = bring(of_the_test(texts)[:3])
    head = (Path(result.path) / "head.json").read_text()
    assert result.learnt in head
    assert not any(text[:20] in head for text in of_the_test(texts)[:3])


def test_rows_without_an_item_are_counted(bring: Bring) -> None:
    assert any("(1 rows held none)" in note for note in bring(["tea leaf", ""]).notes)
    with pytest.raises(DataError, match="no row of the table holds an item"):
        bring(["", ""])
