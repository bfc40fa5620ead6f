"""The verbs train and doctor, on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from command_case import muster, muster_apart
from passmuster.cli.train_verb import lighter_lines, next_of_training
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="training needs the extra `train`")


def test_train_prints_the_ladder_and_what_is_next(tmp_path: Path) -> None:
    new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90)).close()
    done = muster_apart(tmp_path / "p", "train", "--time", "120s", "--rung", "static.v1", "--no-pretrained")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["rung", "price", "took", "log-loss", "accuracy", "gain"]
    assert lines[1].startswith("static.v1")
    assert lines[1].endswith("chosen")
    assert len(lines) == 5  # no line for the rung that was not asked for
    assert lines[2].startswith("bundle ")
    assert lines[3].startswith("cost 0.0")
    assert lines[4] == "Next: muster release"


@pytest.mark.parametrize(
    ("n_test", "following"),
    [
        (0, "muster add PATH (no item is in the test; at least 21 labelled ones are needed), then muster release"),
        (
            20,
            "muster add PATH (every test item has a label; at least 1 more labelled test items are needed), "
            "then muster release",
        ),
        (21, "muster release"),
    ],
)
def test_a_look_is_not_spent_on_a_test_that_can_tell_nothing(tmp_path: Path, n_test: int, following: str) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120, n_test=n_test))
    assert next_of_training(store) == following


def test_an_option_for_all_verbs_that_is_misspelt_is_named() -> None:
    done = muster_apart(Path(), "train", "--tiem", "60s")
    assert done.returncode == 2
    assert "--tiem" in done.stderr
    assert "--time" in done.stderr


def test_a_card_that_is_asked_for_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60)).close()
    done = muster_apart(tmp_path / "p", "--json", "train", "--dry-run", "--device", "cuda")
    assert done.returncode == 6
    assert json.loads(done.stdout)["error"]["code"] == "device.none"
    assert muster_apart(tmp_path / "p", "train", "--dry-run", "--device", "cpu").returncode == 0
    assert muster_apart(tmp_path / "p", "train", "--device", "gpu").returncode == 2


def test_no_labels_no_rung_no_time(tmp_path: Path) -> None:
    new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60, n_labels=0, n_test=0)).close()
    empty = muster_apart(tmp_path / "p", "--json", "train")
    assert empty.returncode == 3
    assert json.loads(empty.stdout)["error"]["code"] == "data.no_labels"
    new_project(tmp_path / "q", write_texts(tmp_path / "u.csv", n=60)).close()
    late = muster_apart(tmp_path / "q", "train", "--time", "1s")
    assert late.returncode == 5
    assert "does not fit the time" in late.stderr
    assert muster_apart(tmp_path / "q", "train", "--rung", "statik.v1").returncode == 2
    wrong = muster_apart(tmp_path / "q", "train", "--time", "soon")
    assert wrong.returncode == 2
    assert "not a duration" in wrong.stderr


def test_a_dry_run_prices_and_changes_nothing(tmp_path: Path) -> None:
    new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60)).close()
    done = muster_apart(tmp_path / "p", "--dry-run", "train", "--time", "2m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("Next: muster train --time 2m")  # begins what was priced
    assert "static.v1" in done.stdout
    assert not (tmp_path / "p" / ".muster" / "runs").exists()


def test_the_doctor_says_what_is_here(tmp_path: Path) -> None:
    done = muster(tmp_path, "--json", "doctor")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["data"]
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"]["numpy"]
    assert found["n_cores"] >= 1
    spoken = muster(tmp_path, "doctor")
    assert "tested version" in spoken.stdout or "not installed" in spoken.stdout
    assert spoken.stdout.rstrip().splitlines()[-1] == "Next: muster init"


def row(rung: str, log_loss: float, behind: float, items_per_s: float, **more: object) -> dict[str, object]:
    """What ``rungs.json`` says of a fitted rung, as far as the hint reads it."""
    engines = [{"taken": False, "items_per_s": 1e9}, {"taken": True, "items_per_s": items_per_s}]
    behind_by = {"difference": behind, "se": 0.02}
    return {
        "rung": rung,
        "log_loss": log_loss,
        "accuracy_behind": behind_by,
        "engines": engines,
        "chosen": False,
        **more,
    }


def test_a_lighter_rung_that_may_be_as_right_is_named_with_the_command() -> None:
    heavy = row("tuned.v1", 0.30, 0.0, 100.0, chosen=True)
    out = {"rung": "transformer.v1", "left_out": "time", "chosen": False}
    light, less, wrong = (
        row("distilled.v1", 0.31, 0.01, 5_000.0), row("static.v1", 0.40, 0.01, 6_000.0), row("a.v1", 0.2, 0.5, 9_000.0),
    )  # fmt: skip
    (line,) = lighter_lines([heavy, out, less, light, wrong])
    assert line.startswith("distilled.v1 answers 50 times as many a second and may be as right")
    assert line.endswith("muster train --serve distilled.v1")
    assert list(lighter_lines([heavy, wrong])) == []
    assert list(lighter_lines([heavy, row("static.v1", 0.31, 0.0, 250.0)])) == []


def test_a_rung_to_serve_that_is_not_tried_is_refused_before_anything_is_learnt(tmp_path: Path) -> None:
    new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90)).close()
    done = muster_apart(tmp_path / "p", "train", "--time", "120s", "--rung", "static.v1", "--serve", "tuned.v1")
    assert done.returncode == 6, done.stderr
    assert "tuned.v1 is to be served (train.serve) and will not be fitted" in done.stderr
    assert not (tmp_path / "p" / ".muster" / "runs").exists()
