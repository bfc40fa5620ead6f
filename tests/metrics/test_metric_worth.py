"""Two versions compared on drawn labels: as many errors as stated, from fewer labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import release_case as case
from passmuster.core.distributions import binomial_ppf
from passmuster.core.paired import non_inferiority
from passmuster.core.records import Report
from passmuster.core.sampling import draw, inclusion_probabilities
from passmuster.metrics.disagreements import told_by_disagreements
from passmuster.metrics.gates import gates
from passmuster.metrics.gates.looks import next_batch

N_RUNS = 600
MARGIN, DIFFER, N = 0.03, 0.1, 1_000


def compared(loss: float, n_labels: int, seed: int) -> dict[str, int]:
    """A pool where a tenth is answered differently and the candidate loses `loss`; half of a draw goes there."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, N, p=[1 - DIFFER, (DIFFER - loss) / 2, (DIFFER + loss) / 2])  # same, better, worse
    truth = np.full(N, "a")
    new, old = np.where(kind == 2, "b", "a"), np.where(kind == 1, "b", "a")
    wanted = np.where(kind > 0, 0.5 / DIFFER, 0.5 / (1 - DIFFER)) * rng.uniform(0.7, 1.3, N)
    chances = inclusion_probabilities(wanted, n_labels)
    at = draw(chances, rng)
    rest = np.setdiff1d(np.arange(N), at)
    return told_by_disagreements(
        truth[at].tolist(), new[at].tolist(), old[at].tolist(), 1 / chances[at],
        n_rest=len(rest), n_rest_differ=int((kind[rest] > 0).sum()),
    ).worth  # fmt: skip


def share_shipped(loss: float, n_labels: int) -> float:
    found = [compared(loss, n_labels, seed) for seed in range(N_RUNS)]
    tests = [non_inferiority(f["only_candidate"], f["only_incumbent"], f["n"], margin=MARGIN) for f in found]
    return float(np.mean([test.p_not_worse <= 0.05 for test in tests]))


def test_at_a_loss_of_the_margin_it_passes_at_most_as_often_as_stated() -> None:
    assert share_shipped(MARGIN, 150) <= 0.05 + 0.02  # two standard errors


def test_without_a_loss_few_labels_do() -> None:
    """150 labels of a thousand, half of them on disagreements, do what about 800 random ones do."""
    assert share_shipped(0.0, 150) >= 0.8


def test_a_wholly_labelled_test_keeps_its_counts() -> None:
    truth, new, old = ["a"] * 10, ["a"] * 7 + ["b"] * 3, ["a"] * 5 + ["b"] * 5
    found = told_by_disagreements(truth, new, old, np.ones(10), n_rest=0, n_rest_differ=0).worth
    assert found == {"n": 10, "only_candidate": 2, "only_incumbent": 0}


def test_disagreements_without_a_label_tell_nothing() -> None:
    found = told_by_disagreements(["a"], ["a"], ["a"], np.ones(1), n_rest=9, n_rest_differ=3).worth
    assert found == {"n": 0, "only_candidate": 0, "only_incumbent": 0}
    assert told_by_disagreements(["a"], ["a"], ["a"], np.ones(1), n_rest=9, n_rest_differ=0).worth["n"] == 10


def report_with(worth: Any) -> Report:
    section = {"incumbent": "i" * 64, "both_right": 30, "only_candidate": 5, "only_incumbent": 5, "both_wrong": 0,
               "worth": worth}  # fmt: skip
    return replace(case.make_report(), incumbent="i" * 64, sections={"versions": section})


@pytest.mark.parametrize("name", ["non_inferiority.v1", "negative_flips.v1"])
@pytest.mark.parametrize("worth", [{}, 3, {"n": 4, "only_candidate": 9, "only_incumbent": 0}, {"n": 0}])
def test_a_broken_worth_passes_nothing(name: str, worth: Any) -> None:
    params = {"margin": 0.02, "max_rate": 0.02}
    found = gates[name].judge(report_with(worth), params, 0.05)
    assert found.state == "insufficient"


def test_gates_judge_by_what_the_labels_are_worth() -> None:
    worth = {"n": 2_000, "only_candidate": 20, "only_incumbent": 20}
    found = gates["non_inferiority.v1"].judge(report_with(worth), {"margin": 0.02}, 0.05)
    assert found.state == "passed"
    assert "40 labelled items (worth 2,000 drawn at random)" in found.reason


def test_the_next_look_comes_after_doubling_at_most() -> None:
    assert next_batch(40, None, 10_000) == 40
    assert next_batch(40, 12, 10_000) == 12
    assert next_batch(40, 500, 10) == 10
    assert next_batch(20, None, 10_000) == 20


def test_the_first_look_comes_after_twenty_labels() -> None:
    assert next_batch(0, None, 10_000) == 20
    assert next_batch(12, 3, 10_000) == 8  # of so few labels even a small request is read too early
    assert next_batch(0, None, 5) == 5


@pytest.mark.parametrize("rate", [0.55, 0.6, 0.7, 0.8, 0.9, 0.93, 0.97])
def test_looks_after_doubling_err_less_often_than_alpha_allows(rate: float) -> None:
    """The exact chance of a SHIP, and of a HOLD, where the rate is the bound, so that either is an error."""
    undecided, n, ships, holds = np.ones(1), 0, 0.0, 0.0
    while more := next_batch(n, None, 2_000 - n):
        undecided = np.convolve(undecided, stats.binom.pmf(np.arange(more + 1), more, rate))
        n += more
        right = np.arange(n + 1)
        ship, hold = right > binomial_ppf(1 - 0.01, n, rate), right < binomial_ppf(0.01, n, rate)
        ships, holds = ships + undecided[ship].sum(), holds + undecided[hold].sum()
        undecided[ship | hold] = 0.0
    assert n == 2_000
    assert max(ships, holds) < 0.05


@pytest.mark.parametrize("n", [1, 2, 5, 20, 400])
@pytest.mark.parametrize("rate", [0.001, 0.3, 0.995])
def test_quantiles_are_those_of_the_reference(n: int, rate: float) -> None:
    """Also where hardly anything is expected of few items, and the continuous inverse does not exist."""
    for share in (0.0005, 0.01, 0.2, 0.99, 0.9995):
        assert binomial_ppf(share, n, rate) == max(0, stats.binom.ppf(share, n, rate))
