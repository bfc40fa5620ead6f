"""Parts of the demo that can be tested without running it whole; `.ci/run` runs it whole."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.errors import MusterError
from passmuster.flows.demo import digits, docstrings
from passmuster.flows.demo.story import Story


def test_photos_are_parted_as_promised(tmp_path: Path) -> None:
    train, test, traffic, labelled = digits.write_photos(tmp_path / "photos", np.random.default_rng(0))
    assert (len(train), len(test), len(traffic)) == (1000, 400, 397)
    assert len(list((tmp_path / "photos").rglob("*.png"))) == 1400
    names = [photo.name for photo in (*train, *test, *traffic)]
    assert len(set(names)) == 1797
    assert sorted(p.label for p in labelled) == sorted("0123456789" * 4)
    assert {p.name for p in labelled} <= {p.name for p in train}


def test_spoiling_changes_every_photo_and_keeps_its_label(tmp_path: Path) -> None:
    _, _, traffic, _ = digits.write_photos(tmp_path / "photos", np.random.default_rng(0))
    spoilt = [digits.spoil(photo, i) for i, photo in enumerate(traffic[:20])]
    assert all(a.png != b.png and a.label == b.label for a, b in zip(traffic, spoilt, strict=False))


def test_docstrings_are_masked_and_repeatable() -> None:
    def read() -> list[docstrings.Text]:
        return list(docstrings.read_package("rich", "rich", limit=30, rng=np.random.default_rng(1)))

    texts = read()
    assert len(texts) == 30
    assert texts == read()
    assert not any(word.strip(".,:`") == "rich" for text in texts for word in text.text.lower().split())


def test_unlabelled_rows_have_an_empty_label(tmp_path: Path) -> None:
    texts = [docstrings.Text(f"rich/{i}", f"text {i}", "rich") for i in range(docstrings.N_LABELLED_PER_PACKAGE + 5)]
    n_labelled = docstrings.write_table(tmp_path / "t.csv", texts, np.random.default_rng(0), with_split=True)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert n_labelled == docstrings.N_LABELLED_PER_PACKAGE
    assert sum(row["package"] == "" for row in rows) == 5
    assert {row["split"] for row in rows if row["package"] == ""} == {"train"}


def test_a_check_that_does_not_hold_ends_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(tmp_path)
    story.check("water is wet", True, "wet")
    with pytest.raises(MusterError, match="pigs fly"):
        story.check("pigs fly", False, "none seen")
    assert "NO" in capsys.readouterr().out


def test_a_command_that_exits_otherwise_than_expected_ends_the_demo(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="exits with 0"):
        Story(tmp_path).run(tmp_path, "no-such-verb")
