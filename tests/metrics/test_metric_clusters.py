"""Gates judge by what answers are worth where items share a person or a template, not by how many there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import release_case as case
from passmuster.core.records import Metric, Report
from passmuster.core.statistics import effective_size, proportion
from passmuster.metrics.disagreements import told_by_disagreements
from passmuster.metrics.gates import gates
from passmuster.metrics.gates.base import effective_n
from passmuster.metrics.versions import compare


def people(n_people: int, n_each: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """0 or 1 for each item, the same for all items of a person; and the person of each."""
    return np.repeat((rng.random(n_people) < share).astype(float), n_each), np.repeat(np.arange(n_people), n_each)


def test_items_that_go_together_are_worth_their_people() -> None:
    values, who = people(60, 10, 0.5, np.random.default_rng(0))
    assert 40 < effective_size(values, clusters=who) <= 60
    assert effective_size(values) == 600
    apart = np.random.default_rng(0).permutation(values)  # the same people, but their items have nothing in common
    assert effective_size(apart, clusters=who) > 350


def test_the_worth_never_falls_below_one_item_for_each_cluster() -> None:
    """One event in one cluster leaves the variance all but unknown; a person is still a person."""
    values = np.zeros(300)
    values[0] = 1.0
    assert effective_size(values, clusters=np.repeat(np.arange(100), 3)) == pytest.approx(100)


def test_intervals_of_few_clusters_hold_the_truth() -> None:
    """Twelve people of twenty items. Without the allowance for so few, 95 % intervals of .95 held it in 58 %."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        shared, who = people(12, 20, 0.95, rng)
        own = (rng.random(len(shared)) < 0.95).astype(float)
        values = np.where(rng.random(len(shared)) < 0.7, shared, own)
        found = proportion(values, clusters=who)
        inside += found.low <= 0.95 <= found.high
    assert inside / 300 >= 0.95


def compared(n_people: int, n_each: int, worse: int, better: int, *, blind: bool) -> Report:
    """A report on a candidate that `worse` people lost by and `better` people won by, all their items at once."""
    truth = ["a"] * (n_people * n_each)
    old = ["b" if p < better else "a" for p in range(n_people) for _ in range(n_each)]
    new = ["b" if p >= n_people - worse else "a" for p in range(n_people) for _ in range(n_each)]
    who = None if blind else [str(p) for p in range(n_people) for _ in range(n_each)]
    found = compare(truth, new, old, rng=np.random.default_rng(0), clusters=who)
    section = {
        "incumbent": "i" * 64, "both_right": found.both_right, "only_candidate": found.only_candidate,
        "only_incumbent": found.only_incumbent, "both_wrong": found.both_wrong, "worth": found.worth,
    }  # fmt: skip
    return replace(case.make_report(), incumbent="i" * 64, sections={"versions": section})


def test_three_people_do_not_prove_a_loss() -> None:
    """Thirty answers got worse and none better, but they are three people's."""
    judge = gates["non_inferiority.v1"].judge
    assert judge(compared(60, 10, 3, 0, blind=True), {"margin": 0.02}, 0.01).state == "failed"
    found = judge(compared(60, 10, 3, 0, blind=False), {"margin": 0.02}, 0.01)
    assert found.state == "insufficient"
    assert "30 got worse and 0 better of 600 labelled items (worth " in found.reason


def test_many_people_do() -> None:
    judge = gates["non_inferiority.v1"].judge
    assert judge(compared(60, 10, 15, 0, blind=False), {"margin": 0.02}, 0.01).state == "failed"
    assert judge(compared(900, 3, 20, 20, blind=False), {"margin": 0.05}, 0.01).state == "passed"


def test_negative_flips_of_three_people_prove_nothing() -> None:
    judge = gates["negative_flips.v1"].judge
    assert judge(compared(60, 10, 6, 0, blind=True), {"max_rate": 0.05}, 0.01).state == "failed"
    assert judge(compared(60, 10, 6, 0, blind=False), {"max_rate": 0.05}, 0.01).state == "insufficient"


def test_drawn_disagreements_of_one_person_count_once() -> None:
    truth, new, old = ["a"] * 8, ["a"] * 8, ["b"] * 8
    alone = told_by_disagreements(truth, new, old, np.ones(8), n_rest=92, n_rest_differ=12).worth
    together = told_by_disagreements(
        truth, new, old, np.ones(8), n_rest=92, n_rest_differ=12, clusters=["x"] * 4 + ["y"] * 4
    ).worth
    assert (alone["n"], together["n"]) == (40, 10)


def test_one_wrong_answer_proves_no_calibration_error() -> None:
    """A single answer at .9 that is wrong has an error of .9 and no spread at all."""
    one = Metric("ece", 0.9, 0.9, 0.9, 1, method="bootstrap")
    report = replace(case.make_report(), metrics=(one, case.rate("accuracy", 0, 1)))
    assert gates["calibration.v1"].judge(report, {"max_ece": 0.15}, 0.01).state == "insufficient"


def test_calibration_counts_people_too() -> None:
    ece = Metric("ece", 0.03, 0.01, 0.05, 600, method="cluster bootstrap")
    values, who = people(30, 20, 0.9, np.random.default_rng(3))
    found = proportion(values, clusters=who)
    accuracy = Metric("accuracy", found.value, found.low, found.high, 600, method=found.method)
    assert effective_n(accuracy) < 40
    judge = gates["calibration.v1"].judge
    assert judge(replace(case.make_report(), metrics=(ece, accuracy)), {"max_ece": 0.1}, 0.01).state == "insufficient"
    alone = case.rate("accuracy", 540, 600)
    assert judge(replace(case.make_report(), metrics=(ece, alone)), {"max_ece": 0.1}, 0.01).state == "passed"
