"""What `muster label --plan` and `--forecast` print, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from passmuster.cli.label_plan import show_checks, show_plan
from passmuster.cli.session import Session
from train_case import new_project, write_texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_project(tmp_path / "p", write_texts(tmp_path / "data.csv", n_labels=4)).folder


def test_a_plan_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(Session(folder, quiet=True), 24)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "of 24 labels: 24 to learn from, 0 as evidence"
    assert lines[1] == "there is no model yet, so there is nothing to prove"
    assert lines[2].startswith("24 more labels to learn from: accuracy from about ")
    assert lines[3].startswith("the next dozen: accuracy from about ")
    assert lines[-1] == "Next: muster label --n 24"


def test_a_plan_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(Session(folder, as_json=True, quiet=True), 12)
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["data"]["n_train"] == 12
    assert told["data"]["forecast"]["low"] < told["data"]["forecast"]["gain"] < told["data"]["forecast"]["high"]


def test_nothing_to_check_yet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_checks(Session(folder))
    assert capsys.readouterr().out.splitlines()[0] == "no forecast can be held against a later training yet"
