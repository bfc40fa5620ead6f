"""Costs: the matrix as written, the cheapest answer by brute force, and gates that keep their error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import release_case as case
from passmuster.core.errors import UsageError
from passmuster.core.records import Metric, Report
from passmuster.metrics.costs import (
    WITHHELD,
    best_constant,
    cheapest,
    cost_matrix,
    item_costs,
    mean_cost,
    refuse_unknown,
)
from passmuster.metrics.gates.costs import foresee_against_live, judge, judge_against_live
from passmuster.metrics.gates.prospect import Price, Prospect
from passmuster.stages.evaluate.cost_words import cost_lines

CLASSES = ("ham", "scam", "spam")
WHEN = {"spam": {"ham": 10}, "ham": {"spam": 2, "ham": 0.1}}


def test_the_matrix_is_as_written() -> None:
    assert cost_matrix(CLASSES, WHEN).tolist() == [[0.1, 1, 2], [1, 0, 1], [10, 1, 0]]
    assert cost_matrix(CLASSES, {}, wrong=3).tolist() == [[0, 3, 3], [3, 0, 3], [3, 3, 0]]


def test_names_that_the_model_does_not_have_are_passed_over() -> None:
    when = {"ham": {"spam": 3.0, "junk": 9.0}, "junk": {"spam": 9.0}}
    assert cost_matrix(["ham", "spam"], when).tolist() == [[0.0, 3.0], [1.0, 0.0]]


def test_a_class_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'spam'") as caught:
        refuse_unknown(CLASSES, {"ham": {"span": 1}})
    assert caught.value.code == "costs.class"
    with pytest.raises(UsageError, match="name a class"):
        refuse_unknown(CLASSES, {"zebra": {"ham": 1}})


def test_the_cheapest_answer_by_brute_force() -> None:
    """Random matrices, some with ties, some with a price of withholding."""
    for seed in range(300):
        rng = np.random.default_rng(seed)
        c = int(rng.integers(2, 6))
        matrix = rng.integers(0, 4, (c, c)).astype(float) if seed % 2 else rng.random((c, c))
        p = rng.dirichlet(np.full(c, 0.5), 7)
        abstain = float(rng.choice([0.0, 0.3, 2.0]))
        for row, said in zip(p, cheapest(matrix, p, abstain), strict=True):
            expected = [sum(row[i] * matrix[i, j] for i in range(c)) for j in range(c)]
            if abstain > 0 and abstain < min(expected):
                assert said == WITHHELD
            else:
                assert expected[said] == pytest.approx(min(expected))


def test_without_a_matrix_the_cheapest_answer_is_the_likeliest() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(5), 500)
    assert (cheapest(cost_matrix("abcde", {}), p) == p.argmax(axis=1)).all()
    assert (cheapest(cost_matrix("ab", {}), np.full((1, 2), 0.5)) == [0]).all()


def test_the_best_constant_answer_costs_least_of_all() -> None:
    rng = np.random.default_rng(1)
    y, w, matrix = rng.integers(0, 4, 60), rng.random(60) + 0.1, rng.random((4, 4))
    found = best_constant(matrix, y, 3, w)
    means = [np.average(item_costs(matrix, y, np.full(60, j)), weights=w) for j in range(3)]
    assert means[found.said] == min(means) == pytest.approx(np.average(found.costs, weights=w))
    assert best_constant(matrix, y, 3, w, abstain=1e-6).said == WITHHELD
    assert best_constant(matrix, y, 3, w, abstain=min(means) + 0.01).said == found.said
    assert item_costs(matrix, y, np.full(60, WITHHELD)).tolist() == [0.0] * 60
    assert cheapest(matrix, np.zeros((0, 4))).tolist() == []


def test_the_interval_allows_for_dear_mistakes_not_seen_yet() -> None:
    assert mean_cost(np.zeros(40), 10.0).high == pytest.approx(10 * 0.0876, abs=0.01)
    clustered = mean_cost(np.repeat([0.0, 1.0, 0.0, 3.0], 10), 10.0, clusters=np.repeat(list("abcd"), 10))
    alone = mean_cost(np.repeat([0.0, 1.0, 0.0, 3.0], 10), 10.0)
    assert clustered.value == alone.value == 1.0
    assert clustered.high > alone.high
    assert np.isnan(mean_cost(np.zeros(0), 1.0).value)


def report_of(n: int, **means: float) -> Report:
    """A report of costs between 0 and 10 whose means are these."""
    base = case.make_report(n=n, n_right=n, incumbent="i" * 64)
    metrics = []
    for name, mean in means.items():
        found = mean_cost(np.full(n, mean), 10.0)
        where = "" if name == "expected_cost" else "against=live"
        metrics.append(Metric(name, found.value, found.low, found.high, n, "EUR per item", where, "", found.method))
    return replace(base, metrics=tuple(metrics), sections={**base.sections, "costs": {"largest": 10.0}})


def test_the_gate_passes_what_is_too_dear_no_more_often_than_alpha() -> None:
    """Mean cost exactly at the bound, half of it from mistakes ten times as dear."""
    rng, alpha, n, n_runs = np.random.default_rng(0), 0.05, 300, 1_500
    costs = np.array([0.0, 1.0, 10.0])
    shares = np.array([0.89, 0.1, 0.01])
    means = (rng.multinomial(n, shares, n_runs) @ costs) / n
    states = [judge(report_of(n, expected_cost=m), {"max": 0.2}, alpha).state for m in np.unique(means)]
    by_mean = dict(zip(np.unique(means), states, strict=True))
    passed = np.mean([by_mean[m] == "passed" for m in means])
    failed = np.mean([by_mean[m] == "failed" for m in means])
    assert passed <= alpha + 0.017  # three standard errors
    assert failed <= alpha + 0.017


def test_the_gate_says_what_would_decide() -> None:
    open_question = judge(report_of(200, expected_cost=0.1), {"max": 0.2}, 0.05)
    assert open_question.state == "insufficient"
    assert open_question.n_more
    assert judge(report_of(200 + 2 * open_question.n_more, expected_cost=0.1), {"max": 0.2}, 0.05).state == "passed"
    assert judge(report_of(500, expected_cost=3.0), {"max": 0.2}, 0.05).state == "failed"


@pytest.mark.parametrize(
    ("added", "saved", "state"),
    [(0.0, 0.5, "passed"), (0.02, 0.02, "passed"), (1.5, 0.1, "failed"), (0.2, 0.2, "insufficient")],
)
def test_against_the_live_release(added: float, saved: float, state: str) -> None:
    found = judge_against_live(report_of(2_000, cost_added=added, cost_saved=saved), {"margin": 0.1}, 0.05)
    assert found.state == state, found.reason


def test_a_comparison_with_another_release_than_the_live_one_holds() -> None:
    report = replace(report_of(2_000, cost_added=0.0, cost_saved=0.0), incumbent="j" * 64)
    assert judge_against_live(report, {"margin": 0.1}, 0.05).state == "failed"


def test_a_gate_that_passes_says_that_one_class_alone_would_cost_less() -> None:
    """Below the bound of the policy, and yet surely dearer than always saying the same."""
    report = report_of(2_000, expected_cost=0.5)
    assert "always saying" not in judge(report, {"max": 0.9}, 0.05).reason
    for low, dearer in ((0.2, True), (-0.1, False)):
        more = Metric("cost_difference", 0.4, low, 0.6, 2_000, "EUR per item", "against=constant=ham", "", "bootstrap")
        found = judge(replace(report, metrics=(*report.metrics, more)), {"max": 0.9}, 0.05)
        assert found.state == "passed"
        assert ("surely more than always saying “ham” would: by 0.4 (0.2 to 0.6 at 95%)" in found.reason) == dearer
    never = replace(more, low=0.2, slice="against=constant=withheld")
    assert "never answering" in judge(replace(report, metrics=(*report.metrics, never)), {"max": 0.9}, 0.05).reason


def test_what_is_surely_dearer_is_said_so() -> None:
    def row(decision: str, value: float, low: float = 0.0) -> dict[str, Any]:
        cost = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 400}
        return {
            "decision": decision,
            "cost": cost,
            "served_costs_more_by": cost | {"value": 0.4, "low": low, "high": 0.6},
        }

    for low, words in (
        (0.2, "Always saying “ham” surely costs less than the model, by 0.4"),
        (-0.1, "that the model saves anything is not shown"),
    ):
        rows = [row("served", 0.9), row("decision=likeliest", 0.9), row("decision=cheapest", 0.9, -1.0),
                row("constant=ham", 0.5, low)]  # fmt: skip
        good, bad = cost_lines({"applies": True, "unit": "EUR", "answer": "likeliest", "decisions": rows})
        assert (good, len(bad)) == ([], 1)
        assert words in bad[0]


def test_only_what_is_not_known_is_called_so() -> None:
    def said(price: Price | None, differ: float | None) -> str:
        found = foresee_against_live({"margin": 0.1}, Prospect(400, differ=differ, price=price), 0.01, 0.8)
        return found.reason

    assert said(Price(5.0, None), 0.14).endswith(
        "what a wrong answer costs, because mistakes cost differently by class"
    )
    assert "differently by class" not in said(Price(5.0, 5.0), None)
    assert "how often the two answer differently" in said(Price(5.0, 5.0), None)
    assert "[policy.costs]" in said(None, 0.14)
