"""The Python API: the verbs as methods, the same records, the same errors; and nothing heavy at import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import passmuster
import release_case as case
import watch_case
from passmuster.core.errors import HeldError, MusterError, NotFoundError, UsageError
from passmuster.core.progress import Silent
from passmuster.flows.project import Project
from passmuster.stages.watch import watch_once
from passmuster.store import ledger
from passmuster.store.items import read_items, read_labels


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of folders: sixty short texts of two kinds."""
    for i in range(30):
        for kind, words in (("greeting", "good morning to you and yours"), ("parting", "farewell until we meet again")):
            path = tmp_path / "texts" / kind / f"{i}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{words} number {i * 7919 % 1000} {'abcdefghij'[i % 10] * (i % 5 + 3)}")
    return tmp_path / "texts"


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, passmuster; print(sorted(set(sys.modules) & {'torch', 'numpy', 'sqlalchemy', 'scipy'}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_way_waits_for_what_it_may_not_need() -> None:
    slow = {"scipy.stats", "scipy.optimize", "scipy.ndimage", "scipy.sparse", "onnxruntime", "polars", "PIL", "torch"}
    program = (
        "import importlib, pkgutil, sys, passmuster.flows as flows\n"
        "for found in pkgutil.walk_packages(flows.__path__, 'passmuster.flows.'): importlib.import_module(found.name)\n"
        f"print(sorted({slow!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_names_its_public_things() -> None:
    assert passmuster.Project is Project
    with pytest.raises(AttributeError, match="Projekt"):
        _ = passmuster.Projekt
    assert {name for name in passmuster.__all__ if not name.startswith("_")} == {"Project"}


def test_there_is_a_method_for_every_verb() -> None:
    from passmuster.cli.app import VERBS

    not_methods = {"demo", "doctor"}  # of the machine, not of a project
    called = {"import": "import_model"}  # a name that Python keeps for itself
    methods = {name for name, _ in inspect.getmembers(Project, inspect.isroutine)}
    assert {called.get(verb, verb) for verb in VERBS} - not_methods <= methods


def test_what_nothing_needs_is_shown_and_removed_when_asked(tmp_path: Path, texts: Path) -> None:
    with Project.init(tmp_path / "p", modality="text") as project:
        project.add(texts)
        project.store.blobs.put_many([b"bytes that a killed add left behind"])
        assert [leftover.kind for leftover in project.clean()] == ["contents"]
        assert [leftover.kind for leftover in project.clean(remove=True)] == ["contents"]
        assert project.clean() == []


def test_data_goes_in_and_labels_with_it(tmp_path: Path, texts: Path) -> None:
    with Project.init(tmp_path / "project", modality="text") as project:
        added = project.add(texts)
        assert added.n_kept == 60
        assert sum(added.n_new_labels.values()) == 60
        relabelled = project.label({"greeting/3.txt": "parting"}, who="ana")
        assert sum(relabelled.n_new.values()) == 1
        assert project.verify().whole
    with Project.open(tmp_path / "project") as again, again.store.read() as db:
        assert next(event.kind for event in ledger.read(db)) == "project.init"
        assert repr(again) == "Project('project', modality='text')"


def test_a_release_is_judged_approved_and_put_back(new_store) -> None:
    made = case.ready(new_store())
    project = Project.open(made.store.folder)
    result = project.release()
    assert result.shipped
    assert project.approve(result.release.id).name == "live"
    with pytest.raises(NotFoundError):
        project.rollback(reason="it slipped")
    assert project.incidents() == []
    assert project.verify(made.store.bundle_folder(made.bundle.path)).whole


def test_what_is_held_is_an_answer_and_approving_it_an_error(new_store) -> None:
    made = case.ready(new_store(), n_right=200)
    project = Project.open(made.store.folder)
    assert project.release().verdict.outcome == "HOLD"
    with pytest.raises(HeldError):
        project.approve()


def test_settings_may_be_given(new_store) -> None:
    made = case.ready(new_store())
    assert Project.open(made.store.folder, overrides={"serve.port": 0}).store.config.serve.port == 0
    with pytest.raises(UsageError):
        Project.open(made.store.folder, overrides={"serve.prot": 0})


def test_a_model_that_was_made_elsewhere_comes_in(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="importing needs the extra `import`")
    import import_case
    from train_case import new_project, write_texts

    project = Project(new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60)))
    tokenizer = import_case.write_tokenizer(tmp_path / "tokenizer.json")
    result = project.import_model(
        import_case.save(import_case.topic_model(), tmp_path / "model.onnx"),
        labels=import_case.CLASSES, preprocess=[f"tokenizer={tokenizer}", "max_tokens=32"],
    )  # fmt: skip
    assert project.evaluate(result.bundle).report.bundle == result.bundle
    assert project.verify().whole


def test_predicting_without_a_live_release_shows_the_way(new_store) -> None:
    project = Project(new_store())
    with pytest.raises(NotFoundError, match="muster approve"):
        project.predict(["hello"])


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Project]:
    """A project of twelve texts without a label, n0 to n11, four of them in the test."""
    with Project.init(tmp_path / "notes", modality="text") as project:
        split = ("test", "train", "train")
        rows = [{"id": f"n{i}", "text": f"note {i} {'abcdefghijkl'[i] * 9}", "split": split[i % 3]} for i in range(12)]
        project.add(rows)
        yield project


def standing(project: Project) -> dict[str, str]:
    with project.store.read() as db:
        said = read_labels(db)
        return {item.id: said[item.key].label for item in read_items(db) if item.key in said}


@pytest.mark.parametrize(
    "given",
    [
        {"n1": "a", "n2": 3, "n4": None},
        [("n1", "a"), ("n2", 3), ("n4", float("nan"))],
        [["n1", "a"], ["n2", np.int64(3)], ["n4", ""]],
        (pair for pair in [("n1", "a"), ("n2", 3.0)]),
        [{"id": "n1", "label": "a"}, {"id": "n2", "class": "3", "who": "ana", "role": "train"}],
        zip(["n1", "n2"], ["a", np.str_("3")], strict=True),
    ],
)
def test_labels_come_as_a_mapping_or_as_pairs(notes: Project, given: Any) -> None:
    assert notes.label(given).n_new == {"train": 2}
    assert standing(notes) == {"n1": "a", "n2": "3"}


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"nobody": "a"}, "label.unknown_item", "where: labels['nobody']"),
        ([("n1", "a"), ("n2", b"b")], "label.row", "where: labels[1]"),
        ([("n1", "a"), ("n2", object())], "label.row", "value object"),
        ([("n1", ["a", "b"])], "label.row", "one label was expected"),
        (["n1", "n2"], "label.row", "labels[0]"),
        ([("n1", "a", "train")], "label.row", "a pair of id and label"),
        ([(None, "a")], "label.row", "the id is missing"),
        ([{"id": "n1", "text": "a"}], "label.row", "it has no label"),
        ([{"id": "n1", "label": "a", "role": "dev"}], "label.role", "labels[0]"),
        (b"n1", "label.values", "bytes"),
        (5, "label.values", "int"),
    ],
)
def test_labels_that_cannot_be_read_are_refused_by_their_row(notes: Project, given: Any, code: str, words: str) -> None:
    with pytest.raises(MusterError) as caught:
        notes.label(given)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert caught.value.next
    assert standing(notes) == {}


def test_a_role_that_does_not_exist_is_refused(notes: Project, tmp_path: Path) -> None:
    for act in (
        lambda: notes.label({"n0": "a"}, role="validation"),  # type: ignore[arg-type]
        lambda: notes.ask(tmp_path / "ask.csv", role="foo"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match="no such role") as caught:
            act()
        assert caught.value.code == "label.role"
        assert caught.value.limit == "train, test"
    assert standing(notes) == {}
    assert not (tmp_path / "ask.csv").exists()


def test_what_is_no_progress_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no track and no say") as caught:
        Project.init(tmp_path / "p", modality="text", progress=print)  # type: ignore[arg-type]
    assert caught.value.code == "progress.kind"
    assert not (tmp_path / "p").exists()
    Project.init(tmp_path / "p", modality="text", progress=Silent()).close()
    with pytest.raises(UsageError, match="no track"):
        Project.open(tmp_path / "p", progress=lambda line: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("time", "seconds"), [(60, 60.0), (1.5, 1.5), ("2m", 120.0), ("", 600.0)])
def test_training_takes_seconds_or_words(
    notes: Project, monkeypatch: pytest.MonkeyPatch, time: Any, seconds: float
) -> None:
    asked = []
    monkeypatch.setattr("passmuster.stages.train.train", lambda store, **given: asked.append(given["budget_s"]))
    notes.train(time=time)
    assert asked == [seconds]
    for none in (-1, float("nan"), True, None):
        with pytest.raises(UsageError, match="not a duration"):
            notes.train(time=none)  # type: ignore[arg-type]


def test_the_latest_report_is_read_without_a_look(new_store: Any) -> None:
    project = Project(new_store("text"))
    with pytest.raises(NotFoundError) as caught:
        project.report()
    assert caught.value.code == "report.none"
    ready = case.ready(project.store)
    report = project.report()
    assert report.bundle == ready.bundle.digest
    assert project.report(report.bundle[:8]) == report
    assert (found := report.metric("accuracy")) is not None
    assert found.low < found.value < found.high


def test_an_incident_is_looked_into_and_closed(new_store: Any) -> None:
    store = watch_case.project(new_store)
    traffic = watch_case.Traffic(store)
    records = traffic.answers(60)
    traffic.write([*records, *(traffic.label(record, error=True) for record in records)])
    watch_once(store)
    project = Project(store)
    (incident,) = project.incidents()
    inputs = project.incident_inputs(incident.id)
    assert {shown.label for shown in inputs} == {"dark"}
    assert all(shown.record.input for shown in inputs)
    with pytest.raises(UsageError, match="what was found"):
        project.resolve(incident.id, note="")
    closed, moved = project.resolve(incident.id[:6], note="a lamp had failed")
    assert (closed.resolution, moved and moved.mode) == ("a lamp had failed", "normal")
    assert project.incidents() == [closed]
