"""The verbs init, add, label and check, on the command line."""

import json
from pathlib import Path

import pytest

from command_case import muster


def answer(folder: Path, *arguments: str) -> dict:
    ended = muster(folder, "--json", *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with thirty texts, twelve of them labelled."""
    answer(tmp_path, "init", "p")
    rows = [f"number {i} is a text of its own kind {i * 37},{'ab'[i % 2] if i < 12 else ''}" for i in range(30)]
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return tmp_path / "p"


def test_the_way_from_nothing_to_labels(project: Path, tmp_path: Path) -> None:
    added = muster(project, "add", str(tmp_path / "t.csv"))
    assert added.returncode == 0, added.stderr
    assert "read 30 items" in added.stdout
    assert "30 kept, 0 quarantined, 0 already there" in added.stdout
    assert added.stdout.rstrip().endswith("Next: muster train")
    assert answer(project, "check")["data"]["findings"] is not None
    todo = tmp_path / "todo.csv"
    written = answer(project, "label", "--export", str(todo), "--n", "3", "--for", "train")
    assert written["data"]["n"] == 3
    todo.write_text(todo.read_text().replace(",,train", ",a,train"))
    read = answer(project, "label", str(todo), "--role", "train", "--who", "ana")
    assert read["data"]["n_new"] == {"train": 3}
    assert read["next"] == "muster train"
    again = answer(project, "label", str(todo), "--role", "train", "--who", "ana")
    assert again["data"]["n_new"] == {}
    assert again["next"] == "muster train"  # nothing is there yet that could be evaluated


def test_columns_may_be_named(project: Path, tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("body,stars,part,who\nx one,5,train,p1\nx two,4,test,p2\n")
    options = ["--text-column", "body", "--label-column", "stars", "--split-column", "part", "--subject-column", "who"]
    told = answer(project, "add", str(tmp_path / "u.csv"), *options)["data"]
    assert told["n_new_labels"] == {"test": 1, "train": 1}


def test_a_dry_run_changes_nothing(project: Path, tmp_path: Path) -> None:
    assert answer(project, "add", str(tmp_path / "t.csv"), "--dry-run")["data"]["n_kept"] == 30
    assert answer(project, "add", str(tmp_path / "t.csv"))["data"]["n_kept"] == 30


def test_a_dry_run_tells_which_labels_would_come(project: Path, tmp_path: Path) -> None:
    table = tmp_path / "u.csv"
    table.write_text("id,text\n" + "\n".join(f"k{i},text number {i * 41}" for i in range(12)) + "\n")
    (tmp_path / "labels.csv").write_text("id,label\nk1,a\nk2,b\n")
    answer(project, "add", str(table))
    would = muster(project, "--dry-run", "add", str(table), "--labels", str(tmp_path / "labels.csv"))
    assert "labels that would come: " in would.stdout, would.stdout + would.stderr
    assert "(unchanged)" not in would.stdout
    missing = muster(project, "add", str(table), "--labels", str(tmp_path / "lables.csv"))
    assert missing.returncode == 8
    assert "there is no such file" in missing.stderr


def test_what_is_there_under_another_name_is_refused_and_costs_nothing(project: Path, tmp_path: Path) -> None:
    answer(project, "add", str(tmp_path / "t.csv"))
    (tmp_path / "again.csv").write_bytes((tmp_path / "t.csv").read_bytes())
    refused = muster(project, "add", str(tmp_path / "again.csv"))
    assert refused.returncode == 3
    assert "30 of 30 new items repeat what is there under other ids" in refused.stderr
    assert "again.csv#" in refused.stderr
    assert sum(answer(project, "status")["data"]["snapshot"]["n_items"].values()) == 30
    kept = answer(project, "add", str(tmp_path / "again.csv"), "--copies")["data"]
    assert kept["n_kept"] == 30


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["add", "nowhere"], "data.no_path", 8),
        (["add", "T", "--label-column", "lable"], "data.no_column", 3),
        (["label"], "label.what", 2),
        (["label", "T", "--role", "tset"], "label.role", 2),
        (["check"], "snapshot.none", 8),
        (["init", ".", "--modality", "image"], "project.exists", 2),
        (["init", "q", "--modality", "imgae"], "modality.unknown", 2),
    ],
)
def test_errors_have_a_code_and_an_exit(
    project: Path, tmp_path: Path, arguments: list[str], code: str, exit_code: int
) -> None:
    ended = muster(project, "--json", *[str(tmp_path / "t.csv") if a == "T" else a for a in arguments])
    assert ended.returncode == exit_code, ended.stdout + ended.stderr
    assert json.loads(ended.stdout)["error"]["code"] == code


def test_init_sees_images_and_opens_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert answer(tmp_path, "init")["data"]["modality"] == "image"
    again = answer(tmp_path, "init")["data"]
    assert (again["new"], again["modality"]) == (False, "image")


def test_a_label_written_otherwise_is_a_finding_whose_remedy_works(project: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text((tmp_path / "t.csv").read_text().replace(" 74,a\n", " 74,A\n", 1))
    answer(project, "add", str(tmp_path / "t.csv"))
    findings = answer(project, "check")["data"]["findings"]
    assert [f["title"] for f in findings if f["kind"] == "class_names"]
    todo = tmp_path / "disputed.csv"
    assert answer(project, "label", "--disputed", "--export", str(todo))["data"]["n"] == 1
    todo.write_text(todo.read_text().replace(",A,", ",a,"))
    answer(project, "label", str(todo))
    assert not [f for f in answer(project, "check")["data"]["findings"] if f["kind"] == "class_names"]


def test_a_cost_of_a_class_that_is_none_is_found_by_a_look(project: Path, tmp_path: Path) -> None:
    config = project / "muster.toml"
    written = config.read_text()
    assert "[policy.costs.when]" in written
    config.write_text(written.replace("[policy.costs.when]", "[policy.costs.when]\nbda = { good = 5.0 }"))
    rows = "".join(f"r{i},number {i} is a text of its own {i * 37},\n" for i in range(20))
    (tmp_path / "bare.csv").write_text(f"id,text,label\n{rows}")
    muster(project, "add", str(tmp_path / "bare.csv"))
    assert muster(project, "check").returncode == 0, "before there are classes every name may become one"
    (tmp_path / "labels.csv").write_text("id,label\nr1,good\nr2,bad\n")
    muster(project, "label", str(tmp_path / "labels.csv"))
    done = muster(project, "check")
    assert done.returncode == 2
    assert "did you mean 'bad'?" in done.stderr
