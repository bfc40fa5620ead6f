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
from passmuster.metrics.gates.prospect import Prospect, labels_for_rate, rate_above

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
