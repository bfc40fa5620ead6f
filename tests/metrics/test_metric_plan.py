"""What is foretold before the test is opened is what the gates then do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import release_case as case
from passmuster.core.config import Policy
from passmuster.metrics.gates import gates
from passmuster.metrics.gates.base import read_parameters
from passmuster.metrics.gates.plan import plan
from passmuster.metrics.gates.prospect import Price, Prospect, labels_for_rate, rate_above

PARAMETERS = {
    "accuracy.v1": {"min": 0.8},
    "item_f1.v1": {"min": 0.8},
    "worst_class.v1": {"min": 0.8},
    "worst_group.v1": {"min": 0.8},
    "group_gap.v1": {"max_accuracy": 0.1},
    "non_inferiority.v1": {"margin": 0.02},
    "negative_flips.v1": {"max_rate": 0.1},
    "calibration.v1": {"max_ece": 0.15},
    "robustness.v1": {"min": 0.6},
    "adversarial.v1": {"min": 0.5, "strength": 2},
    "behaviour.v1": {"max_rate": 0.1},
    "mce.v1": {},
    "expected_cost.v1": {"max": 0.4},
    "cost_non_inferiority.v1": {"margin": 0.1},
    "set_coverage.v1": {},
    "promised_risk.v1": {},
}
NEW = case.make_report(incumbent="i" * 64)
GUESS = Prospect(400, accuracy=0.9, differ=0.06, smallest_class=0.5, n_classes=2)


@pytest.mark.parametrize("n", [40, 173, 400])
def test_the_detectable_rate_passes_with_the_power_asked_for(n: int) -> None:
    """Against the gate itself: every count, weighted by its chance."""
    found = rate_above(0.8, n, 0.01)
    assert found is not None
    judge = gates["accuracy.v1"].judge
    chance = sum(
        stats.binom.pmf(k, n, found)
        for k in range(n + 1)
        if judge(case.make_report(n=n, n_right=k), {"min": 0.8}, 0.01).state == "passed"
    )
    assert chance == pytest.approx(0.8, abs=1e-6)


def test_labels_needed_are_the_fewest() -> None:
    n = labels_for_rate(0.9, 0.8, 0.01)
    assert n is not None
    assert (rate_above(0.8, n, 0.01) or 1.0) <= 0.9 < (rate_above(0.8, n - 2, 0.01) or 1.0)
    assert labels_for_rate(0.8, 0.8, 0.01) is None


def test_each_gate_gets_its_part_of_the_level() -> None:
    found = plan(NEW, Policy(), GUESS)
    assert found.level == pytest.approx(0.05 / 5 / 3)
    assert [forecast.gate for forecast in found.forecasts] == ["accuracy.v1", "non_inferiority.v1", "calibration.v1"]
    first = plan(case.make_report(), Policy(), GUESS)  # nothing is live yet: two gates share
    assert first.level == pytest.approx(0.05 / 5 / 2)


def test_more_labels_tell_more() -> None:
    few, many = (plan(NEW, Policy(), Prospect(n, accuracy=0.9, differ=0.06)).forecasts for n in (300, 3_000))
    for a, b in zip(few, many, strict=True):
        assert a.detectable is not None
        assert b.detectable is not None
        assert abs(b.detectable - b.bound) < abs(a.detectable - a.bound)
        assert a.n_needed == b.n_needed


def test_too_few_labels_are_said_to_prove_nothing() -> None:
    found = plan(NEW, Policy(), Prospect(8, accuracy=0.9, differ=0.06))
    accuracy = found.forecasts[0]
    assert accuracy.detectable is None
    assert "nothing can pass: 8 labels never prove 0.8" in accuracy.reason


def test_people_make_more_labels_needed() -> None:
    one = plan(NEW, Policy(), GUESS).n_together
    four = plan(NEW, Policy(), Prospect(400, 0.9, 0.06, 0.5, 2, design_effect=4.0)).n_together
    assert one is not None
    assert four == pytest.approx(4 * one, abs=4)


def test_a_model_at_the_bound_never_passes() -> None:
    found = plan(NEW, Policy(), Prospect(400, accuracy=0.8, differ=0.06))
    assert found.n_together is None
    assert "no number of labels" in found.forecasts[0].reason


def test_what_cannot_be_foreseen_is_named() -> None:
    gates_ = {"accuracy.v1": {"min": 0.8}, "robustness.v1": {"min": 0.6}}
    found = plan(NEW, Policy(gates=gates_), GUESS)
    assert found.unforeseen == ("robustness.v1",)
    assert found.n_together is not None
    blind = plan(NEW, Policy(), Prospect(400))
    assert blind.unforeseen == ("accuracy.v1", "non_inferiority.v1")


def test_the_planned_labels_are_enough_for_the_versions_gate() -> None:
    """An equally good candidate ships in at least four of five draws of as many labels as planned."""
    entry = {"non_inferiority.v1": {"margin": 0.03}}
    n = plan(NEW, Policy(gates=entry), GUESS).n_together
    assert n is not None
    rng = np.random.default_rng(0)
    params = read_parameters("non_inferiority.v1", gates["non_inferiority.v1"], entry["non_inferiority.v1"])
    passed = 0
    for _ in range(150):
        better, worse, _ = rng.multinomial(n, [0.03, 0.03, 0.94])
        report = case.make_report(n=n, n_right=n - int(worse), incumbent="i" * 64, versions=(int(better), int(worse)))
        passed += gates["non_inferiority.v1"].judge(report, params, 0.01).state == "passed"
    assert passed / 150 >= 0.75


def test_costs_are_foreseen_by_the_gate_that_judges_them() -> None:
    params = {"max": 0.4}
    prospect = Prospect(400, accuracy=0.9, differ=0.06, price=Price(2.0, 2.0))
    found = plan(NEW, Policy(gates={"expected_cost.v1": params}), prospect)
    (cost,) = found.forecasts
    assert cost.detectable is not None
    assert (cost.assumed, cost.bound) == (pytest.approx(0.2), 0.4)
    judge = gates["expected_cost.v1"].judge
    chance = sum(
        stats.binom.pmf(k, 400, cost.detectable / 2)
        for k in range(401)
        if judge(case.make_report(n=400, n_right=400 - k), params, found.level).state == "passed"
    )
    assert chance == pytest.approx(0.8, abs=0.01)
    assert plan(NEW, Policy(gates={"expected_cost.v1": params}), GUESS).unforeseen == ("expected_cost.v1",)


def test_a_rise_in_cost_is_refuted_as_often_as_foreseen() -> None:
    params, n = {"margin": 0.2}, 800
    prospect = Prospect(n, differ=0.06, price=Price(2.0, 2.0))
    found = plan(NEW, Policy(gates={"cost_non_inferiority.v1": params}), prospect)
    (rise,) = found.forecasts
    assert rise.detectable is not None
    rng, gate = np.random.default_rng(0), gates["cost_non_inferiority.v1"]
    passed = 0
    for better, worse, _ in rng.multinomial(n, [0.03, 0.03, 0.94], 300):
        report = case.make_report(n=n, n_right=n - 20, incumbent="i" * 64, versions=(int(better), int(worse)))
        passed += gate.judge(report, {"margin": rise.detectable + 1e-9}, found.level).state == "passed"
    assert passed / 300 >= 0.8
    assert rise.n_needed is not None


def test_faults_and_attacks_are_foreseen_on_as_many_items_as_suffer_them() -> None:
    policy = Policy(gates={"robustness.v1": {"min": 0.6}, "adversarial.v1": {"min": 0.5, "strength": 2}})
    whole, part = (
        plan(NEW, policy, Prospect(2_000, accuracy=0.9, **few)).forecasts
        for few in ({}, {"n_corrupted": 200, "n_attacked": 50})
    )
    for many, few in zip(whole, part, strict=True):
        assert many.detectable is not None
        assert few.detectable is not None
        assert few.detectable > many.detectable
    (none,) = plan(
        NEW, Policy(gates={"adversarial.v1": {"min": 0.5, "strength": 2}}), Prospect(90, n_attacked=0)
    ).forecasts
    assert "nothing can pass" in none.reason


def test_the_smallest_group_decides() -> None:
    policy = Policy(gates={"worst_group.v1": {"min": 0.8}})
    (without,) = plan(NEW, policy, GUESS).forecasts
    assert "data.group_columns" in without.reason
    (found,) = plan(NEW, policy, Prospect(400, accuracy=0.95, smallest_group=0.25, n_groups=4)).forecasts
    assert found.detectable == pytest.approx(rate_above(0.8, 100, 0.01, 0.95))


@pytest.mark.parametrize("name", [name for name, gate in gates.items() if gate.statistical])
def test_every_statistical_gate_says_what_it_foresees_or_why_not(name: str) -> None:
    gate = gates[name]
    assert gate.foresee is not None
    told = gate.foresee(read_parameters(name, gate, PARAMETERS[name]), GUESS, 0.01, 0.8)
    assert told.gate == name
    assert told.reason


def test_a_cost_bound_above_the_dearest_answer_lets_everything_pass() -> None:
    params = {"max": 1.4}
    gate = gates["expected_cost.v1"]
    assert gate.foresee is not None
    told = gate.foresee(params, Prospect(84, accuracy=0.9, price=Price(1.0, 1.0)), 0.01, 0.8)
    assert (told.detectable, told.n_needed) == (1.0, 0)
    assert told.reason == "a mean cost cannot be above 1: everything passes"
