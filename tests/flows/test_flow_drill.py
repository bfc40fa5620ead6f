"""The drill: faults planted in copies of a project of real digits, and which gate stops which."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import evaluate_case as case
from import_case import CLASSES, save, topic_model, write_tokenizer
from passmuster.core.config import Config, EvaluateConfig, Policy
from passmuster.core.errors import NotFoundError
from passmuster.flows.drill import drill_gates, faults
from passmuster.flows.drill.base import Fault
from passmuster.flows.drill.memo import Memo
from passmuster.flows.drill.run import scope_of
from passmuster.flows.drill.scratch import scratch_copy
from passmuster.stages.evaluate import Scope, evaluate
from passmuster.stages.importing import import_model
from passmuster.store.store import Store
from train_case import new_project, write_texts

QUICK = Scope(n_corrupted=1, n_fit=1, n_classes_left_out=0, n_resamples=50, page=False)


@pytest.fixture
def project(new_store: Callable[[str], Store]) -> Store:
    """Digits with a live bundle that was evaluated, under the default gates."""
    store = new_store("image")
    digits = case.make_digits(store)
    bundle = case.add_model(digits)
    evaluate(store, bundle.digest, scope=QUICK)
    case.go_live(store, bundle)
    return store


def files_of(folder: Path) -> dict[str, str]:
    """Every file and what it holds, but for the database that one event goes into and SQLite's side files."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("catalog.db") and not path.name.endswith(("-wal", "-shm"))
    }


def rows_of(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the catalog but events and openings of the test."""
    with store.read() as db:
        names = [n for (n,) in db.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = [n for n in names if n not in ("events", "seal_openings")]
        return {n: [tuple(row) for row in db.exec_driver_sql(f"SELECT * FROM {n}")] for n in kept}


def with_gates(store: Store, **gates: dict[str, float]) -> None:
    """Judge by these gates alone: names with an underscore where the dot is."""
    named = {name.replace("_v", ".v"): given for name, given in gates.items()}
    store.config = replace(store.config, policy=replace(Policy(), gates=named))


def test_a_drill_leaves_the_project_as_it_was_but_for_one_event(project: Store) -> None:
    before, rows = files_of(project.folder), rows_of(project)
    with project.read() as db:
        n_events = db.exec_driver_sql("SELECT count(*) FROM events").scalar()
    drill_gates(project, only=["class_order.v1", "written_again.v1"])
    assert files_of(project.folder) == before
    assert rows_of(project) == rows
    with project.read() as db:
        new = db.exec_driver_sql("SELECT kind, payload FROM events ORDER BY seq").fetchall()[n_events:]
    assert [kind for kind, _ in new] == ["test.open"]
    assert '"counted":0' in new[0][1]
    assert '"purpose":"drill"' in new[0][1]


def test_an_interrupted_drill_leaves_the_project_as_it_was(project: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(scene: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(faults._entries, "class_order.v1", replace(faults["class_order.v1"], plant=interrupted))
    before, rows = files_of(project.folder), rows_of(project)
    with pytest.raises(KeyboardInterrupt):
        drill_gates(project, only=["class_order.v1"])
    assert files_of(project.folder) == before
    assert rows_of(project) == rows


def test_a_fault_is_stopped_by_the_gate_made_for_it_and_passes_without(project: Store) -> None:
    with_gates(project, parity_v1={"min_agreement": 0.99}, leakage_v1={"max_twins": 0})
    (held,) = drill_gates(project, only=["class_order.v1"]).trials
    assert (held.state, held.stopped_by) == ("stopped", ("parity.v1",))
    with_gates(project, leakage_v1={"max_twins": 0})
    result = drill_gates(project, only=["class_order.v1"])
    (passed,) = result.trials
    assert passed.state == "unstopped"
    assert result.unstopped == (passed,)
    assert passed.would_stop is not None
    assert passed.would_stop["parity.v1"] == {"min_agreement": 0.99}


def test_what_more_labels_would_stop_says_how_many(project: Store) -> None:
    with_gates(project, test_labels_v1={"max_gap": 0.03, "alpha": 1e-30})
    result = drill_gates(project, only=["test_labels_by_the_model.v1"])
    (passed,) = result.trials
    assert passed.state == "unstopped"
    assert passed.n_labels_to_stop is not None
    assert passed.n_labels_to_stop > result.n_test
    with_gates(project, leakage_v1={"max_twins": 0})
    (unasked,) = drill_gates(project, only=["test_labels_by_the_model.v1"]).trials
    assert unasked.n_labels_to_stop is None


def test_a_bundle_that_was_never_evaluated_is_not_drilled(new_store: Callable[[str], Store]) -> None:
    store = new_store("image")
    case.add_model(case.make_digits(store))
    with pytest.raises(NotFoundError, match="was evaluated"):
        drill_gates(store)


@pytest.mark.parametrize(("unseen", "state"), [(False, "changes nothing"), (True, "unstopped")])
def test_a_fault_that_changes_no_answer_counts_only_where_it_is_one_unseen(
    project: Store, monkeypatch: pytest.MonkeyPatch, unseen: bool, state: str
) -> None:
    blind = Fault("a change to which this model is blind", "packaging", "graph", lambda s: s.parts, unseen=unseen)
    monkeypatch.setitem(faults._entries, "blind.v1", blind)
    result = drill_gates(project, only=["blind.v1"])
    assert [trial.state for trial in result.trials] == [state]
    assert len(result.faulty) == len(result.unstopped) == int(unseen)


def test_only_what_a_gate_of_the_policy_reads_is_measured_of_what_is_slow() -> None:
    config = replace(Config(), evaluate=EvaluateConfig(n_corrupted=77, n_attacked=33))

    def counts(*gates: str) -> tuple[int, int]:
        policy = replace(config.policy, gates={gate: {} for gate in gates})
        scope = scope_of(replace(config, policy=policy), Memo())
        return scope.n_corrupted, scope.n_attacked

    light = ("expected_cost.v1", "cost_non_inferiority.v1", "behaviour.v1", "worst_group.v1", "group_gap.v1")
    assert counts(*light) == (0, 0)
    assert counts("mce.v1") == counts("robustness.v1") == (77, 0)
    assert counts("adversarial.v1") == (0, 33)


def test_files_that_the_configuration_names_are_in_the_copy_and_none_from_outside(project: Store) -> None:
    (project.folder / "own").mkdir()
    (project.folder / "own" / "tests.csv").write_text("a")
    (project.folder.parent / "outside.py").write_text("b")
    evaluate = EvaluateConfig(behaviour="own/tests.csv", corruptions=("../outside.py:spoil", "gone.py:spoil"))
    project.config = replace(project.config, evaluate=evaluate)
    with scratch_copy(project) as copy:
        assert (copy.folder / "own" / "tests.csv").read_text() == "a"
        assert sorted(path.name for path in copy.folder.iterdir()) == [".muster", "muster.toml", "own"]


def test_a_temperature_that_an_imported_model_lost_is_stopped_though_no_answer_changes(tmp_path: Path) -> None:
    """The run folder of an import has what its bundle said when it was written, as that of a training has."""
    texts = write_texts(tmp_path / "t.csv", n=400, n_labels=200, n_test=120)
    store = new_project(tmp_path / "p", texts)
    words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}", "max_tokens=32"]
    model = save(topic_model(), tmp_path / "model.onnx")
    import_model(store, model, labels=",".join(CLASSES), preprocess=words, calibrate=True)
    evaluate(store, scope=QUICK)
    with_gates(store, score_parity_v1={"max_shift": 0.02})
    found = {
        trial.fault: trial for trial in drill_gates(store, only=["temperature_lost.v1", "written_again.v1"]).trials
    }
    assert found["written_again.v1"].state == "unstopped"
    lost = found["temperature_lost.v1"]
    assert (lost.state, lost.stopped_by, lost.accuracy_change) == ("stopped", ("score_parity.v1",), 0.0)
    assert "as training packed it" in lost.reasons[0]
    store.close()
