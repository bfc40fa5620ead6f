"""The Python API: the verbs as methods, the same records, the same errors; and nothing heavy at import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import passmuster
import release_case as case
from passmuster.core.errors import HeldError, NotFoundError, UsageError
from passmuster.flows.project import Project
from passmuster.store import ledger


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
