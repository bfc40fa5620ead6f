"""What the guard promises, judged: coverage of prediction sets, and the risk of answers above its threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import release_case as case
from passmuster.core.config import Policy
from passmuster.core.records import Report
from passmuster.metrics.gates import decide, gates
from passmuster.metrics.gates.plan import plan
from passmuster.metrics.gates.promised_risk import bound_of
from passmuster.metrics.gates.prospect import Prospect

COVERAGE, RISK = gates["set_coverage.v1"], gates["promised_risk.v1"]
SHORT, RATIO = {"max_short": 0.05}, {"max_ratio": 1.5}
ALPHA = 0.05


def seen(n: int, *, covered: int = 0, given: int | None = None, wrong: int = 0, reached: bool = True) -> Report:
    """Sets hold the right class `covered` times of n; of `given` answers at the promised risk, `wrong` are wrong."""
    given = n if given is None else given
    report = case.make_report(n=n, n_right=n)
    told = [
        case.rate("set_coverage", covered, n),
        replace(case.rate("promised_risk", wrong, given), items="given"),
        case.rate("promised_share", given, n),
    ]
    kept = tuple(metric for metric in report.metrics if metric.name not in {m.name for m in told})
    return replace(
        report,
        metrics=(*kept, *told),
        sections={**report.sections, "promised_risk": {"max_risk": 0.1, "reached": reached}},
    )


@pytest.mark.parametrize("n", [30, 200, 700])
def test_at_the_bound_coverage_is_held_or_passed_by_chance_only(n: int) -> None:
    """Every count, weighted by its chance: no simulation, no noise."""
    states = [COVERAGE.judge(seen(n, covered=k), SHORT, ALPHA).state for k in range(n + 1)]
    chance = stats.binom.pmf(np.arange(n + 1), n, 0.85)
    for state in ("failed", "passed"):
        assert sum(p for p, found in zip(chance, states, strict=True) if found == state) <= ALPHA


@pytest.mark.parametrize("n", [30, 200, 700])
def test_at_the_bound_a_risk_is_held_or_passed_by_chance_only(n: int) -> None:
    states = [RISK.judge(seen(n, wrong=k), RATIO, ALPHA).state for k in range(n + 1)]
    chance = stats.binom.pmf(np.arange(n + 1), n, 0.15)
    for state in ("failed", "passed"):
        assert sum(p for p, found in zip(chance, states, strict=True) if found == state) <= ALPHA


def test_with_others_at_their_bounds_too_a_look_seldom_holds() -> None:
    """Three claims that are just true are held together with a chance of `alpha` at most (Holm, 1979)."""
    policy = Policy(
        max_looks=1, gates={"accuracy.v1": {"min": 0.8}, "set_coverage.v1": SHORT, "promised_risk.v1": RATIO}
    )
    rng, n, draws = np.random.default_rng(0), 240, 400
    n_held = 0
    for right, covered, wrong in rng.binomial(n, [0.8, 0.85, 0.15], (draws, 3)):
        report = seen(n, covered=int(covered), wrong=int(wrong))
        metrics = [case.rate("accuracy", int(right), n) if m.name == "accuracy" else m for m in report.metrics]
        n_held += decide(replace(report, metrics=tuple(metrics)), policy).outcome == "HOLD"
    assert n_held / draws <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / draws) ** 0.5
    assert n_held  # the test can fail


@pytest.mark.parametrize("n_calibration", [60, 200])
def test_sets_that_are_made_rightly_are_not_held(n_calibration: int) -> None:
    """Coverage of split conformal sets is Beta distributed around its target; over all draws, few are held."""
    rank = int(np.ceil((n_calibration + 1) * 0.9))
    rng, n = np.random.default_rng(1), 300
    true = rng.beta(rank, n_calibration + 1 - rank, 600)
    states = [COVERAGE.judge(seen(n, covered=int(k)), SHORT, ALPHA / 5).state for k in rng.binomial(n, true)]
    assert states.count("failed") / len(states) <= ALPHA


def test_the_answers_in_words() -> None:
    few = COVERAGE.judge(seen(10, covered=10), SHORT, ALPHA)
    assert (few.state, few.bound, few.n_more is not None) == ("insufficient", pytest.approx(0.85), True)
    short = COVERAGE.judge(seen(400, covered=300), SHORT, ALPHA)
    assert short.state == "failed"
    assert "hold the right class in 0.750 of 400 items; surely below 0.85" in short.reason
    broken = RISK.judge(seen(400, given=200, wrong=60), RATIO, ALPHA)
    assert (broken.state, broken.items) == ("failed", "given")
    assert "0.300 of 200 answers at the promised risk of 0.1 are wrong; surely more than 0.15" in broken.reason


def test_answers_that_are_withheld_prove_nothing() -> None:
    silent = RISK.judge(seen(40, given=0), RATIO, ALPHA)
    assert (silent.state, silent.n_more) == ("insufficient", None)
    unreached = RISK.judge(seen(40, reached=False), RATIO, ALPHA)
    assert unreached.state == "insufficient"
    assert "label more for training" in unreached.reason


def test_where_no_answer_is_sure_enough_it_says_how_many_labels_would_hold_one() -> None:
    """So many that their answers, a quarter of them and all right, prove the risk: one fewer would not."""
    report = seen(400, given=100)
    silent = replace(report, metrics=tuple(
        replace(metric, n=0) if metric.name == "promised_risk" else metric for metric in report.metrics
    ))  # fmt: skip
    for alpha in (0.05, 0.01):
        found = RISK.judge(silent, RATIO, alpha)
        assert found.state == "insufficient"
        assert found.n_more is not None
        assert 0.85 ** (found.n_more / 4) <= alpha < 0.85 ** ((found.n_more - 1) / 4)


def test_a_promise_of_which_a_part_is_missing_holds() -> None:
    report = seen(400)
    for lost in ("promised_risk", "promised_share"):
        bare = replace(report, metrics=tuple(metric for metric in report.metrics if metric.name != lost))
        assert "not measured" in RISK.judge(bare, RATIO, ALPHA).reason
    for section in ({"reached": True}, None, []):
        bare = replace(report, sections={**report.sections, "promised_risk": section})
        assert "not measured" in RISK.judge(bare, RATIO, ALPHA).reason
    no_number = [replace(m, value=np.nan) if m.name == "promised_risk" else m for m in report.metrics]
    assert "not measured" in RISK.judge(replace(report, metrics=tuple(no_number)), RATIO, ALPHA).reason
    bare = replace(report, metrics=tuple(metric for metric in report.metrics if metric.name != "set_coverage"))
    assert "not measured" in COVERAGE.judge(bare, SHORT, ALPHA).reason
    no_target = replace(report, sections={**report.sections, "prediction_sets": {"n_calibration": 9}})
    assert "not measured" in COVERAGE.judge(no_target, SHORT, ALPHA).reason


def test_nothing_is_foreseen_of_a_promise_that_gives_no_answer() -> None:
    from passmuster.metrics.gates.prospect import Promise

    assert RISK.foresee is not None
    for promise in (None, Promise(0.1, 0.05, 0.0)):
        told = RISK.foresee(RATIO, Prospect(400, accuracy=0.9, promise=promise), ALPHA, 0.8)
        assert (told.bound, told.detectable, told.n_needed) == (0.0, None, None)
        assert "not known" in repr(told)
    assert COVERAGE.foresee is not None
    told = COVERAGE.foresee(SHORT, Prospect(400, accuracy=0.9), ALPHA, 0.8)
    assert (told.bound, told.detectable, "not known" in repr(told)) == (0.0, None, True)


def test_a_promise_of_nearly_everything_still_leaves_something_to_prove() -> None:
    assert bound_of(0.8, RATIO) == 0.999
    assert bound_of(0.1, RATIO) == pytest.approx(0.15)


def test_labels_asked_for_count_those_that_are_withheld() -> None:
    """Half of the items get such an answer, so that twice the labels are needed."""
    whole = RISK.judge(seen(60, wrong=5), RATIO, ALPHA).n_more
    half = RISK.judge(seen(120, given=60, wrong=5), RATIO, ALPHA).n_more
    assert whole is not None
    assert half == 2 * whole


def test_what_was_never_promised_does_not_apply() -> None:
    report = seen(400, covered=400)
    none = {**report.sections, "promised_risk": {"max_risk": 0.0}, "prediction_sets": {"n_calibration": 0}}
    bare = replace(report, sections=none)
    assert "policy.guard.max_risk was 0" in RISK.applies(bare, RATIO)
    assert "no labels were held out" in COVERAGE.applies(bare, SHORT)
    found = decide(bare, Policy(gates={"promised_risk.v1": RATIO, "accuracy.v1": {"min": 0.8}}))
    assert [result.state for result in found.gates] == ["not applicable", "passed"]


def test_gates_foresee_what_they_judge() -> None:
    """The detectable risk passes with the power asked for, against the gate itself."""
    from passmuster.metrics.gates.prospect import Promise

    prospect = Prospect(400, accuracy=0.9, set_coverage=0.9, promise=Promise(0.1, 0.05, 0.5))
    told = plan(seen(400), Policy(gates={"set_coverage.v1": SHORT, "promised_risk.v1": RATIO}), prospect)
    coverage, risk = told.forecasts
    for forecast, n, judge in (
        (coverage, 400, lambda k: COVERAGE.judge(seen(400, covered=k), SHORT, told.level)),
        (risk, 200, lambda k: RISK.judge(seen(200, wrong=k), RATIO, told.level)),
    ):
        assert forecast.detectable is not None
        chance = stats.binom.pmf(np.arange(n + 1), n, forecast.detectable)
        passed = sum(p for k, p in enumerate(chance) if judge(k).state == "passed")
        assert passed == pytest.approx(0.8, abs=1e-6)
    assert risk.n_needed is not None
    assert told.n_together is not None
