"""`muster label` in a multi-label project, typed at on a real terminal; `init --task`; a line of `muster predict`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from label_case import said, texts
from label_sets_case import multi
from passmuster.cli.predict_verb import shown
from terminal_case import terminal


def test_sets_are_typed_with_commas(new_store, tmp_path: Path) -> None:
    store = texts(multi(new_store), tmp_path)
    with terminal(store.folder, "label", "--n", "4", "--for", "train", "--who", "ana") as typed:
        seen = typed.until("label> ")
        assert "several classes with commas" in seen
        typed.type("2, ham")
        assert "saved: ham + spam" in typed.until("label> ")
        typed.type("1 2")
        assert "saved: ham + spam" in typed.until("label> ")
        typed.type("u")
        assert "taken back: ham + spam" in typed.until("label> ")
        typed.type("-")
        assert "saved: (none of the classes)" in typed.until("label> ")
        typed.type("ham, nothing like it")
        assert "there is no class 'nothing like it'" in typed.until("label> ")
        typed.type("n")
        typed.until("new class> ")
        typed.type("odd")
        assert "3 odd" in typed.until("label> ")
        typed.type("3")
        assert "saved: odd" in typed.until("label> ")
        typed.type("q")
        typed.end()
    assert sorted(said(store, "ana").values()) == ['["ham","spam"]', "[]", "odd"]


def test_init_says_the_task(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "passmuster", "--json", "init", "--modality", "text", "--task"]
    answered = subprocess.run([*command, "multi-label"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(answered.stdout)["data"]["task"] == "multi-label"
    wrong = subprocess.run([*command, "plenty"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert json.loads(wrong.stdout)["error"]["code"] == "task.unknown"


def test_a_line_of_predict() -> None:
    row = {"labels": {"late": 0.91, "broken": 0.4}, "probability": 0.36, "abstained": False, "reasons": (), "item": "x"}
    assert shown(row) == "late 0.91 + broken 0.40\t0.360\tok\tx"
    assert shown({**row, "labels": {}}) == "(none of the classes)\t0.360\tok\tx"
