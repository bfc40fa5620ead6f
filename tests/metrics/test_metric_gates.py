"""Gates keep their word: how often they pass, hold and wait when the truth is known; and what they say."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import release_case as case
from passmuster.core.config import Policy
from passmuster.core.errors import UsageError
from passmuster.core.paired import n_for_non_inferiority
from passmuster.core.records import GateResult, Metric, Report
from passmuster.core.statistics import wilson
from passmuster.metrics.gates import decide, gates
from passmuster.metrics.gates.base import effective_n, more_labels_for_width, rate_bounds
from passmuster.metrics.gates.decide import worn_out

N_RUNS = 1_000
INCUMBENT = "i" * 64


def shares(outcomes: np.ndarray, judge: Callable[[tuple[int, ...]], str]) -> dict[str, float]:
    """How often each state comes out; equal outcomes are judged once."""
    found: Counter[str] = Counter()
    for outcome, times in Counter(map(tuple, outcomes.tolist())).items():
        found[judge(outcome)] += times
    return {state: times / len(outcomes) for state, times in found.items()}


def accuracy_shares(rate: float, n: int, least: float, alpha: float) -> dict[str, float]:
    rights = np.random.default_rng(0).binomial(n, rate, size=(N_RUNS, 1))
    judge = gates["accuracy.v1"].judge
    return shares(rights, lambda o: judge(case.make_report(n=n, n_right=o[0]), {"min": least}, alpha).state)


@pytest.mark.parametrize(("n", "least"), [(50, 0.8), (400, 0.8), (400, 0.95)])
def test_accuracy_at_its_bound_passes_at_most_as_often_as_stated(n: int, least: float) -> None:
    assert accuracy_shares(least, n, least, 0.05).get("passed", 0.0) <= 0.05 + 0.02  # three standard errors


def test_accuracy_below_its_bound_fails_and_above_it_passes() -> None:
    assert accuracy_shares(0.7, 400, 0.8, 0.05)["failed"] >= 0.95
    assert accuracy_shares(0.9, 400, 0.8, 0.05)["passed"] >= 0.95


def test_as_many_labels_as_asked_for_decide_with_the_stated_chance() -> None:
    first = case.make_report(n=40, n_right=36)
    n_more = gates["accuracy.v1"].judge(first, {"min": 0.8}, 0.01).n_more
    assert n_more is not None
    rights = 36 + np.random.default_rng(0).binomial(n_more, 37 / 42, size=(N_RUNS, 1))
    judge = gates["accuracy.v1"].judge
    n = 40 + n_more
    found = shares(rights, lambda o: judge(case.make_report(n=n, n_right=o[0]), {"min": 0.8}, 0.01).state)
    assert 0.77 <= found["passed"] <= 0.87


def least_that(holds: Callable[[int], bool], limit: int) -> int:
    """The smallest count from 0 to `limit` for which `holds`, which must go on holding; `limit` + 1 when none does."""
    return bisect_left(range(limit + 1), True, key=holds)


def draw_versions(n: int, loss: float, discordance: float) -> np.ndarray:
    """Answers that got better and worse, ``(N_RUNS, 2)``, when the candidate truly loses `loss`."""
    worse, better = (discordance + loss) / 2, (discordance - loss) / 2
    return np.random.default_rng(1).multinomial(n, [better, worse, 1 - better - worse], size=N_RUNS)[:, :2]


def share_where(versions: np.ndarray, holds: Callable[[int, int], bool]) -> float:
    """How often `holds` of (better, worse). For one number of changes it must hold from some `better` on."""
    totals = versions.sum(axis=1)
    edge = {t: least_that(lambda b, t=t: holds(b, t - b), t) for t in {int(t) for t in totals}}
    return float(np.mean([b >= edge[int(t)] for b, t in zip(versions[:, 0], totals, strict=True)]))


def test_non_inferiority_keeps_its_three_promises() -> None:
    margin, discordance, alpha = 0.1, 0.25, 0.05
    n = n_for_non_inferiority(discordance, margin, alpha=alpha, power=0.85)

    @cache
    def state(better: int, worse: int) -> str:
        report = case.make_report(n=n, n_right=n // 2, incumbent=INCUMBENT, versions=(better, worse))
        return gates["non_inferiority.v1"].judge(report, {"margin": margin}, alpha).state

    def passed(better: int, worse: int) -> bool:
        return state(better, worse) == "passed"

    def not_failed(better: int, worse: int) -> bool:
        return state(better, worse) != "failed"

    assert share_where(draw_versions(n, margin, discordance), passed) <= 0.05 + 0.02  # three standard errors
    assert share_where(draw_versions(n, 0.0, discordance), passed) >= 0.8
    assert 1 - share_where(draw_versions(n, 2 * margin, discordance), not_failed) >= 0.8


def test_the_whole_verdict_ships_a_loss_of_the_margin_at_most_as_often_as_stated() -> None:
    policy = Policy(gates={"accuracy.v1": {"min": 0.6}, "non_inferiority.v1": {"margin": 0.1}})

    def ships(better: int, worse: int) -> bool:
        report = case.make_report(n=300, n_right=250, incumbent=INCUMBENT, versions=(better, worse))
        return decide(report, policy).outcome == "SHIP"

    assert share_where(draw_versions(300, 0.1, 0.2), ships) <= 0.05


def test_the_outcome_is_that_of_the_worst_gate() -> None:
    policy = Policy(gates={"accuracy.v1": {"min": 0.8}, "leakage.v1": {"max_twins": 0}})
    assert decide(case.make_report(), policy).outcome == "SHIP"
    assert decide(case.make_report(n=40, n_right=36), policy).outcome == "INSUFFICIENT"
    twins = [{"train": "a" * 32, "test": "b" * 32}]
    assert decide(case.make_report(n=40, n_right=36, twins=twins), policy).outcome == "HOLD"


def test_a_gate_that_does_not_apply_does_not_hold() -> None:
    decision = decide(case.make_report(), Policy())
    states = {gate.gate: gate.state for gate in decision.gates}
    assert states["non_inferiority.v1"] == "not applicable"
    assert decision.outcome == "SHIP"


def test_a_policy_without_gates_holds() -> None:
    assert decide(case.make_report(), Policy(gates={})).outcome == "HOLD"


def test_a_report_on_another_incumbent_holds() -> None:
    report = case.make_report(incumbent=INCUMBENT, versions=(20, 0))
    decision = decide(replace(report, incumbent="j" * 64), Policy())
    assert {gate.gate: gate.state for gate in decision.gates}["non_inferiority.v1"] == "failed"


def level_of(name: str, passes_below: float) -> object:
    """A gate whose claim has the p-value `passes_below`."""

    def judge(report: Report, params: object, alpha: float) -> GateResult:
        return GateResult(name, "passed" if passes_below <= alpha else "insufficient", "")

    return replace(gates["accuracy.v1"], judge=judge)


@pytest.mark.parametrize(
    ("p_values", "passed"),
    [((0.01, 0.02, 0.04), 3), ((0.016, 0.024, 0.06), 2), ((0.016, 0.026, 0.01), 3), ((0.02, 0.02, 0.02), 0)],
)
def test_levels_within_a_look_are_holms(p_values: tuple[float, ...], passed: int) -> None:
    from passmuster.metrics.gates.decide import step_down

    entries = {str(i): (level_of(str(i), p), {}) for i, p in enumerate(p_values)}
    results = step_down(case.make_report(), entries, 0.05)  # type: ignore[arg-type]
    assert sum(result.state == "passed" for result in results.values()) == passed
    worst = {p: p * sum(other >= p for other in p_values) for p in p_values}  # of Bonferroni's over the sets with it
    assert passed == sum(max(worst[q] for q in p_values if q <= p) <= 0.05 for p in p_values)


def test_looks_share_the_error() -> None:
    report = case.make_report(n=100, n_right=89)
    gate = {"accuracy.v1": {"min": 0.8}}
    assert decide(report, Policy(gates=gate, max_looks=1)).outcome == "SHIP"
    assert decide(report, Policy(gates=gate, max_looks=20)).outcome == "INSUFFICIENT"


def test_after_the_last_look_only_fresh_labels_decide() -> None:
    policy = Policy(max_looks=5)
    assert decide(case.make_report(), policy, n_looks=5).outcome == "SHIP"
    spent = decide(case.make_report(), policy, n_looks=6)
    assert spent.outcome == "INSUFFICIENT"
    assert "fresh test labels" in spent.gates[0].reason
    assert spent.n_more_labels == 100  # 5 earlier looks at 400 of 500 labels and the next one: 5 in all


def test_spent_looks_do_not_hide_a_failure() -> None:
    assert decide(case.make_report(n_right=200), Policy(), n_looks=9).outcome == "HOLD"


def test_with_one_look_allowed_the_whole_test_must_be_fresh() -> None:
    result = worn_out(GateResult("accuracy.v1", "passed", ""), case.make_report(), Policy(max_looks=1), 2)
    assert result.n_more == 400


def test_an_unknown_gate_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"accuracy\.v1"):
        decide(case.make_report(), Policy(gates={"acuracy.v1": {"min": 0.8}}))


@pytest.mark.parametrize("params", [{}, {"min": "high"}, {"min": True}, {"mn": 0.8}])
def test_a_wrong_parameter_is_told(params: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        decide(case.make_report(), Policy(gates={"accuracy.v1": params}))
    assert caught.value.code == "policy.parameter"


def test_leaked_twins_are_named_and_counted_once_per_test_item() -> None:
    twins = [{"train": "a" * 32, "test": "b" * 32}, {"train": "c" * 32, "test": "b" * 32}]
    result = gates["leakage.v1"].judge(case.make_report(twins=twins), {"max_twins": 0}, 0.05)
    assert (result.state, result.value) == ("failed", 1)
    assert "bbbbbbbb = aaaaaaaa" in result.reason
    pairs = replace(case.make_report(), sections={"data": {"leakage": [["a" * 32, "b" * 32]]}})
    assert gates["leakage.v1"].judge(pairs, {"max_twins": 0}, 0.05).state == "failed"


def test_a_bad_calibration_fails_and_a_biased_estimate_alone_does_not() -> None:
    judge = gates["calibration.v1"].judge
    assert judge(case.make_report(n=2000, n_right=1500, ece=0.3), {"max_ece": 0.15}, 0.01).state == "failed"
    few = case.make_report(n=30, n_right=24, ece=0.17)
    sharp = replace(few, metrics=tuple(replace(m, low=0.16, high=0.18) if m.name == "ece" else m for m in few.metrics))
    assert judge(sharp, {"max_ece": 0.15}, 0.01).state == "insufficient"


def test_one_fault_below_the_bound_fails_the_robustness_gate() -> None:
    params = {"min": 0.6, "max_drop": 1.0, "severity": 3}
    report = case.make_report(n=1000, n_right=950, faults={"blur.v1": 900, "noise.v1": 400})
    result = gates["robustness.v1"].judge(report, params, 0.05)
    assert (result.state, "noise.v1" in result.reason) == ("failed", True)
    assert gates["robustness.v1"].judge(report, {**params, "severity": 2}, 0.05).state == "failed"  # nothing measured


def test_parity_on_a_handful_of_items_tells_nothing() -> None:
    report = case.make_report(n_parity=5)
    assert gates["parity.v1"].judge(report, {"min_agreement": 0.99, "min_items": 20}, 0.05).state == "insufficient"


def test_weighted_rates_count_with_their_effective_number() -> None:
    found = wilson(45.0, 50.0)
    weighted = Metric("accuracy", found.value, found.low, found.high, 200, method="wilson, weighted")
    assert effective_n(weighted) == pytest.approx(50.0, abs=0.01)
    assert rate_bounds(weighted, 0.05) == pytest.approx(
        rate_bounds(replace(weighted, n=50, method="wilson"), 0.05), 1e-3
    )


def test_no_number_of_labels_is_promised_at_the_bound() -> None:
    assert more_labels_for_width(0.15, 0.2, 0.15, 100) is None
    result = gates["accuracy.v1"].judge(case.make_report(n=4000, n_right=3200), {"min": 0.8}, 0.01)
    assert result.state == "insufficient"
    assert result.n_more is None or result.n_more > 100_000


def with_recalls(report: Report, *cases: tuple[int, int]) -> Report:
    """The report as if its classes had been found (right, of all) so often."""
    recalls = {
        f"class={name}": replace(case.rate("recall", right, n), slice=f"class={name}")
        for name, (right, n) in zip(report.classes, cases, strict=True)
    }
    return replace(report, metrics=tuple(recalls.get(m.slice, m) for m in report.metrics))


def test_one_class_hardly_ever_found_fails_behind_a_good_headline() -> None:
    judge = gates["worst_class.v1"].judge
    report = with_recalls(case.make_report(n=1000, n_right=950), (940, 960), (10, 40))
    result = judge(report, {"min": 0.5}, 0.01)
    assert (result.state, result.value) == ("failed", 0.25)
    assert "“yes” is found in 0.250 of its 40 cases" in result.reason
    assert judge(with_recalls(report, (940, 960), (36, 40)), {"min": 0.5}, 0.01).state == "passed"


def test_a_class_with_few_cases_or_none_is_not_proven_and_says_how_many_labels_it_takes() -> None:
    judge = gates["worst_class.v1"].judge
    report = case.make_report(n=1000, n_right=950)
    few = judge(with_recalls(report, (940, 960), (4, 4)), {"min": 0.5}, 0.01)
    assert few.state == "insufficient"
    assert few.n_more is not None
    assert few.n_more >= 3 * 1000 / 4  # seven of seven prove one half at .01, so three more at the very least
    none = judge(with_recalls(report, (940, 960), (0, 0)), {"min": 0.5}, 0.01)
    assert (none.state, none.n_more) == ("insufficient", 7 * 1000)


def test_a_class_without_a_case_is_known_from_the_report_and_an_answer_of_no_class_is_none() -> None:
    """Evaluation writes no recall of a class without a case; its row says why. "(no answer)" is no class."""
    judge = gates["worst_class.v1"].judge
    report = with_recalls(case.make_report(n=1000, n_right=950), (940, 960), (40, 40))
    one = tuple(m for m in report.metrics if m.slice != "class=yes")
    unmeasured = replace(report, metrics=one)
    assert judge(unmeasured, {"min": 0.5}, 0.01).state == "failed"
    rows = [{"class": "no", "n": 960}, {"class": "yes", "n": 0}]
    result = judge(replace(unmeasured, sections={**report.sections, "per_class": rows}), {"min": 0.5}, 0.01)
    assert result.state == "insufficient"
    assert "“yes” has no case" in result.reason
    rows[1]["is_class"] = False
    assert judge(replace(unmeasured, sections={"per_class": rows}), {"min": 0.5}, 0.01).state == "passed"


def test_a_class_at_the_bound_passes_at_most_as_often_as_stated() -> None:
    rights = np.random.default_rng(0).binomial(40, 0.5, size=(N_RUNS, 1))
    report = case.make_report(n=1000, n_right=950)

    def judge(outcome: tuple[int, ...]) -> str:
        found = with_recalls(report, (940, 960), (outcome[0], 40))
        return gates["worst_class.v1"].judge(found, {"min": 0.5}, 0.05).state

    assert shares(rights, judge).get("passed", 0.0) <= 0.05 + 0.02  # three standard errors


def test_labels_asked_for_a_small_group_are_counted_over_the_whole_test_as_they_would_come() -> None:
    judge, report = gates["worst_group.v1"].judge, case.make_report(n=1000, n_right=950)
    groups = [replace(case.rate("group_accuracy", *seen), slice=f"region={name}")
              for name, seen in (("north", (890, 920)), ("south", (36, 40)), ("east", (36, 40)))]  # fmt: skip
    result = judge(replace(report, metrics=(*report.metrics, *groups)), {"min": 0.8}, 0.01)
    alone = gates["accuracy.v1"].judge(case.make_report(n=40, n_right=36), {"min": 0.8}, 0.01).n_more
    assert alone is not None
    assert result.n_more == alone * 1000 / 40
    assert result.reason.endswith(f"decide, {alone} of them of region=south")
    never = replace(groups[1], n=0, slice="region=west")
    unseen = judge(replace(report, metrics=(*report.metrics, groups[0], never)), {"min": 0.5}, 0.01)
    assert (unseen.state, unseen.n_more) == ("insufficient", 7 * 1000)
    assert unseen.reason.endswith("decide, 7 of them of region=west")
    perfect = judge(replace(report, metrics=(*report.metrics, groups[0], never)), {"min": 1.0}, 0.01)
    assert perfect.n_more is None


def test_labels_are_asked_for_only_where_they_can_change_the_outcome() -> None:
    unsure = replace(case.make_report(n=40, n_right=36), sections={**case.make_report().sections, "parity": {}})
    policy = Policy(gates={"accuracy.v1": {"min": 0.8}, "parity.v1": {"min_agreement": 0.99}})
    held = decide(unsure, policy)
    assert [result.state for result in held.gates] == ["insufficient", "failed"]
    assert (held.outcome, held.n_more_labels) == ("HOLD", None)
    few = decide(case.make_report(n=40, n_right=36, n_parity=5), policy)  # parity needs items, whatever the labels say
    assert [result.state for result in few.gates] == ["insufficient", "insufficient"]
    assert (few.outcome, few.n_more_labels) == ("INSUFFICIENT", None)
