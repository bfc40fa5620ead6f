"""A plan before the test is opened: no look, measured disagreement, and honest words where there are no labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from evaluate_case import Digits, add_model, go_live, make_digits
from passmuster.cli.release_plan import plan_lines, plan_next
from passmuster.core.errors import UsageError
from passmuster.core.records import GateResult, Metric
from passmuster.flows import release_plan
from passmuster.flows.project import Project
from passmuster.flows.release import why_evaluate
from passmuster.flows.release_plan import plan_release, worth_before
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.draft import Scope
from passmuster.stages.release import judge, sign
from passmuster.store.schema import seal_openings
from passmuster.store.seal import open_test
from passmuster.store.store import Store
from release_case import make_report

QUICK = Scope(n_corrupted=5, n_fit=50, n_classes_left_out=1, n_resamples=20)


@pytest.fixture
def digits(new_store: Callable[..., Store]) -> Digits:
    return make_digits(new_store("image"))


def test_it_is_no_look_and_measures_how_often_the_two_differ(digits: Digits) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    go_live(digits.store, old)
    (digits.store.runs_folder / "run-2" / "rungs.json").write_text(
        json.dumps([{"rung": "pixels.v1", "accuracy": 0.93}])
    )
    found = plan_release(digits.store, new.digest)
    with digits.store.read() as db:
        assert [row.counted for row in db.execute(select(seal_openings))] == [0]
    report = evaluate(digits.store, new.digest, scope=QUICK).report
    section = report.sections["versions"]
    assert found.prospect.differ == pytest.approx(len(section["changed"]) / section["n"])
    assert found.prospect.n_compared == 200
    assert (found.prospect.n, found.prospect.accuracy, found.n_looks) == (200, 0.93, 0.0)
    assert [forecast.gate for forecast in found.plan.forecasts] == [
        "accuracy.v1", "non_inferiority.v1", "calibration.v1"
    ]  # fmt: skip
    lines = list(plan_lines(found))
    assert "200 test labels, 0 of 5 looks spent; no label is read" in lines[0]
    assert any(line.startswith("about ") and "bring SHIP with 80%" in line for line in lines)
    assert plan_next(found).startswith("muster add PATH (every test item has a label; about ")
    assert plan_release(digits.store, new.digest).n_looks == 1.0


def test_what_was_measured_is_assumed_and_what_failed_is_said(digits: Digits) -> None:
    store = digits.store
    bundle = add_model(digits)
    report = evaluate(store, bundle.digest, scope=QUICK).report
    accuracy = report.metric("accuracy")
    assert accuracy is not None
    sign(store, replace(judge(store, bundle.digest), gates=(GateResult("class_loss.v1", "failed", "one is lost"),)))
    found = plan_release(store, bundle.digest)
    assert (found.prospect.accuracy, found.failed) == (accuracy.value, ("class_loss.v1",))
    lines = list(plan_lines(found))
    assert f"  assumed: accuracy {accuracy.value:.3f}, as measured on {accuracy.n} labels in the last report" in lines
    assert "in the last verdict these failed, and labels alone may not change that: class_loss.v1" in lines


def test_python_plans_a_release_and_maps_classes_of_a_diff(digits: Digits) -> None:
    """`muster release --plan` and `muster diff --map` as methods; neither is a look."""
    old, new = add_model(digits, n_fit=60, without="7"), add_model(digits, run="run-2")
    go_live(digits.store, old)
    project = Project(digits.store)
    assert project.release_plan().bundle == new.digest
    assert project.release_plan(old.digest).bundle == old.digest
    assert project.diff(mapped={"3": "7"}).diff.mapped == {"3": "7"}
    with pytest.raises(UsageError):
        project.diff(mapped={"3": "no class"})
    assert counted_looks(digits.store) == 0


def counted_looks(store: Store) -> int:
    with store.read() as db:
        return sum(row.counted for row in db.execute(select(seal_openings)))


def test_spent_looks_come_before_every_other_need(digits: Digits) -> None:
    store = digits.store
    bundle = add_model(digits)
    report = evaluate(store, bundle.digest, scope=QUICK).report
    for _ in range(4):
        open_test(store, digits.snapshot, "evaluate")
    found = plan_release(store, bundle.digest)
    assert (found.n_looks, found.n_for_a_look) == (5.0, 0), "the report is of today: a release needs no other look"
    worn = plan_release(store, add_model(digits, n_fit=60).digest)
    assert (worn.n_looks, worn.n_for_a_look) == (5.0, 50)
    assert any(
        line.startswith("the looks at this test are spent: about 50 fresh test labels") for line in plan_lines(worn)
    )
    assert plan_next(worn).endswith("then muster release")
    assert report.n_test == 200


def test_what_is_not_foretold_is_not_promised(digits: Digits) -> None:
    """A model that came from elsewhere has no cross-validation: nothing is known of its accuracy."""
    found = plan_release(digits.store, add_model(digits, run="").digest)
    assert found.plan.unforeseen == ("accuracy.v1",)
    said = " ".join(plan_lines(found))
    assert "labels pass the gates foretold here with 80%" in said
    assert "bring SHIP" not in said


def test_a_report_of_other_prices_or_groups_is_not_of_today(digits: Digits) -> None:
    """Else a release would sign the new policy's digest over what the old prices said."""
    store, bundle = digits.store, add_model(digits)
    evaluate(store, bundle.digest, scope=QUICK)
    config = store.config
    dearer = replace(config.policy, costs=replace(config.policy.costs, when={"3": {"5": 50.0}}))
    grouped = replace(config.data, group_columns=("hand",))
    with store.read() as db:
        assert why_evaluate(db, bundle, config) == ""
        words = replace(config.policy, costs=replace(config.policy.costs, unit="euros"))
        assert why_evaluate(db, bundle, replace(config, policy=words)) == "", "a mere word costs no look"
        why = why_evaluate(db, bundle, replace(config, policy=dearer, data=grouped))
    assert why == (
        "since its report something else is said of what mistakes cost ([policy.costs]) and the groups "
        "(data.group_columns)"
    )


@pytest.mark.parametrize(("n_test", "why"), [(3, "groups of test items were read since its report"), (0, "")])
def test_groups_read_since_the_report_count_where_they_are_of_the_test(digits: Digits, n_test: int, why: str) -> None:
    store, bundle = digits.store, add_model(digits)
    store.config = replace(store.config, data=replace(store.config.data, group_columns=("hand",)))
    evaluate(store, bundle.digest, scope=QUICK)
    with store.act("data.add") as act:
        act.payload.update(n_grouped=5, n_grouped_test=n_test)
    with store.read() as db:
        assert why_evaluate(db, bundle, store.config) == why


def test_a_cost_of_a_class_that_is_none_is_refused(digits: Digits) -> None:
    store, bundle = digits.store, add_model(digits)
    costs = replace(store.config.policy.costs, when={"seven": {"1": 5.0}})
    store.config = replace(store.config, policy=replace(store.config.policy, costs=costs))
    with pytest.raises(UsageError) as caught:
        plan_release(store, bundle.digest)
    assert caught.value.code == "costs.class"


def test_what_labels_were_worth_before_is_said(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    new = add_model(digits)
    found = plan_release(digits.store, new.digest)
    assert found.read_before is None, "it was never judged"
    lines = list(plan_lines(replace(found, read_before=(23, 61.4))))
    assert "in the last report 23, read together with the items that have none, were worth 61" in lines[1]
    evaluate(digits.store, new.digest, scope=QUICK)
    assert plan_release(digits.store, new.digest).read_before is None, "its labels were read alone"
    monkeypatch.setattr(release_plan, "worth_before", lambda report: (report.n_test, 7.0))
    assert plan_release(digits.store, new.digest).read_before == (200, 7.0), "the last report of this bundle is asked"
    powered = Metric("accuracy", 0.9, 0.83, 0.945, n=40, method="prediction-powered.v3")
    report = make_report()
    n, worth = worth_before(replace(report, metrics=(powered,))) or (0, 0.0)
    assert n == 40
    assert worth == pytest.approx(105, abs=3)  # Wilson's interval of so many is as wide
    assert worth_before(replace(report, metrics=(replace(powered, method="wilson"),))) is None


def test_without_labels_it_says_what_would_be_needed(new_store: Callable[..., Store]) -> None:
    digits = make_digits(new_store("image"), n_labelled=0)
    new = add_model(digits)
    found = plan_release(digits.store, new.digest)
    assert found.prospect.n == 0
    assert all(forecast.detectable is None for forecast in found.plan.forecasts)
    assert found.plan.unforeseen == ("accuracy.v1",)  # nothing was cross-validated
