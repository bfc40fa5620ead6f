"""What every gate must keep: a missing metric holds, few items never pass, a worse candidate never turns it green."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import release_case as case
from passmuster.core.config import Policy
from passmuster.core.errors import UsageError
from passmuster.core.records import Report
from passmuster.metrics.gates import decide, gates
from passmuster.metrics.gates.base import read_parameters

PARAMETERS = {
    "accuracy.v1": {"min": 0.8},
    "item_f1.v1": {"min": 0.8},
    "worst_class.v1": {"min": 0.8},
    "worst_group.v1": {"min": 0.8},
    "group_gap.v1": {"max_accuracy": 0.1, "max_equalised_odds": 0.1},
    "non_inferiority.v1": {"margin": 0.05},
    "negative_flips.v1": {"max_rate": 0.1},
    "leakage.v1": {"max_twins": 1},
    "calibration.v1": {"max_ece": 0.15},
    "parity.v1": {"min_agreement": 0.99},
    "robustness.v1": {"min": 0.6, "max_drop": 0.2},
    "adversarial.v1": {"min": 0.75, "strength": 2},
    "mce.v1": {"max": 1.1},
    "behaviour.v1": {"max_rate": 0.2},
    "expected_cost.v1": {"max": 0.4},
    "cost_non_inferiority.v1": {"margin": 0.1},
    "set_coverage.v1": {"max_short": 0.05},
    "promised_risk.v1": {"max_ratio": 1.5},
    "score_parity.v1": {"max_shift": 0.02},
    "class_loss.v1": {"max_loss": 0.05},
    "class_found.v1": {"min": 0.4},
    "class_log_loss.v1": {"max_rise": 0.5},
    "class_share.v1": {"max_ratio": 2.0},
    "log_loss.v1": {"max_rise": 0.05},
    "overconfidence.v1": {"max_ratio": 2.0},
    "guard.v1": {"max_change": 0.05},
    "guard_parity.v1": {"max_shift": 0.1},
    "test_labels.v1": {"max_gap": 0.03},
    "trigger.v1": {"min_turned": 0.35},
}
GREEN = case.make_report(n=2000, n_right=1900, incumbent="i" * 64, versions=(30, 20))
GREEN_SETS = replace(GREEN, task="multi-label")
OF_SETS = ("item_f1.v1",)  # gates that only sets of classes have
OF_ONE = ("expected_cost.v1", "cost_non_inferiority.v1")  # and those that they cannot have
STATISTICAL = [name for name, gate in gates.items() if gate.statistical]
every_gate = pytest.mark.parametrize("name", gates.names())


def state(name: str, report: Report, alpha: float = 0.01) -> str:
    gate = gates[name]
    params = read_parameters(name, gate, PARAMETERS[name])
    return gate.judge(report, params, alpha).state


def test_every_gate_is_tried_here() -> None:
    assert set(PARAMETERS) == set(gates.names())


@every_gate
def test_good_evidence_passes(name: str) -> None:
    green = GREEN_SETS if name in OF_SETS else GREEN
    assert gates[name].applies(green, {}) == ""
    assert state(name, green) == "passed"


@every_gate
def test_sets_of_classes_are_judged_by_every_gate(name: str) -> None:
    """None passes in silence: each reads a number that means the same for sets, or says that it does not apply."""
    if name in OF_ONE:
        assert "sets of classes" in gates[name].applies(GREEN_SETS, {})
        return
    assert gates[name].applies(GREEN_SETS, {}) == ""
    assert state(name, GREEN_SETS) == "passed"
    assert state(name, replace(GREEN_SETS, metrics=(), sections={})) == "failed"


@pytest.mark.parametrize("name", OF_SETS)
def test_a_gate_of_sets_says_that_it_does_not_apply(name: str) -> None:
    decided = decide(GREEN, Policy(gates={name: PARAMETERS[name], "accuracy.v1": {"min": 0.8}}))
    assert [result.state for result in decided.gates] == ["not applicable", "passed"]
    assert "one label" in decided.gates[0].reason
    assert decide(GREEN, Policy(gates={name: PARAMETERS[name]})).outcome == "HOLD"  # nothing applied: nothing ships


@every_gate
def test_a_missing_metric_holds(name: str) -> None:
    bare = replace(GREEN_SETS if name in OF_SETS else GREEN, metrics=(), sections={})
    assert gates[name].applies(bare, {}) == ""
    assert state(name, bare) == "failed"
    assert decide(bare, Policy(gates={name: PARAMETERS[name]})).outcome == "HOLD"


@every_gate
def test_a_metric_that_is_no_number_holds(name: str) -> None:
    broken = [replace(metric, value=float("nan"), low=0.0, high=1.0) for metric in GREEN.metrics]
    nothing = {"data": {"leakage": None}, "parity": {"n": 0, "agreement": 1.0}, "versions": {"incumbent": "i" * 64}}
    assert state(name, replace(GREEN, metrics=tuple(broken), sections=nothing)) == "failed"


@pytest.mark.parametrize("name", STATISTICAL)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_a_handful_of_items_never_passes(name: str, n: int) -> None:
    perfect = case.make_report(n=n, n_right=n, ece=0.0, incumbent="i" * 64)
    exact = [replace(m, low=m.value, high=m.value) if m.name == "ece" else m for m in perfect.metrics]
    assert state(name, replace(perfect, metrics=tuple(exact)), alpha=0.05) == "insufficient"


def test_few_items_are_never_shipped() -> None:
    perfect = case.make_report(n=8, n_right=8, ece=0.0, incumbent="i" * 64)
    assert decide(perfect, Policy(gates=PARAMETERS)).outcome == "INSUFFICIENT"


@st.composite
def reports(draw: st.DrawFn) -> tuple[dict[str, object], dict[str, object]]:
    """Arguments of a report, and of one that is strictly worse in exactly one way."""
    n = draw(st.integers(1, 600))
    n_right = draw(st.integers(1, n))
    better = draw(st.integers(0, n_right))
    worse = draw(st.integers(0, n - n_right))
    good: dict[str, object] = {
        "n": n,
        "n_right": n_right,
        "ece": draw(st.floats(0.0, 0.5)),
        "incumbent": "i" * 64,
        "versions": (better, worse),
        "faults": {"blur.v1": draw(st.integers(0, n)), "noise.v1": draw(st.integers(0, n))},
        "twins": [{"train": "a" * 32, "test": f"{i:032x}"} for i in range(draw(st.integers(0, 3)))],
        "agreement": draw(st.floats(0.9, 1.0)),
        "n_parity": draw(st.integers(1, 60)),
        "mce": draw(st.floats(0.0, 3.0)),
    }
    ways: list[Callable[[], dict[str, object]]] = [
        lambda: {"ece": min(1.0, float(str(good["ece"])) + draw(st.floats(0.0, 0.3)))},
        lambda: {"mce": float(str(good["mce"])) + draw(st.floats(0.0, 1.0))},
        lambda: {"agreement": draw(st.floats(0.5, float(str(good["agreement"]))))},
        lambda: {"twins": [*list(good["twins"]), {"train": "b" * 32, "test": "c" * 32}]},  # type: ignore[call-overload]
        lambda: {"faults": {"blur.v1": 0, "noise.v1": good["faults"]["noise.v1"]}},  # type: ignore[index]
    ]
    if better > 0:  # an answer that was right becomes wrong, and the incumbent has it wrong too
        ways.append(lambda: {"n_right": n_right - 1, "versions": (better - 1, worse)})
    if n_right > better:  # an answer that both had right becomes wrong
        ways.append(lambda: {"n_right": n_right - 1, "versions": (better, worse + 1)})
    return good, {**good, **draw(st.sampled_from(ways))()}


@every_gate
@settings(max_examples=60, deadline=None)
@given(pair=reports(), alpha=st.sampled_from([0.05, 0.01, 0.002]))
def test_a_worse_candidate_never_turns_a_gate_green(
    name: str, pair: tuple[dict[str, object], dict[str, object]], alpha: float
) -> None:
    good, worse = (case.make_report(**arguments) for arguments in pair)  # type: ignore[arg-type]
    if state(name, good, alpha) != "passed":
        assert state(name, worse, alpha) != "passed"


@settings(max_examples=60, deadline=None)
@given(pair=reports())
def test_a_worse_candidate_is_never_shipped_instead(pair: tuple[dict[str, object], dict[str, object]]) -> None:
    good, worse = (case.make_report(**arguments) for arguments in pair)  # type: ignore[arg-type]
    policy = Policy(gates=PARAMETERS)
    if decide(good, policy).outcome != "SHIP":
        assert decide(worse, policy).outcome != "SHIP"


@every_gate
def test_every_gate_says_what_it_is(name: str) -> None:
    gate = gates[name]
    assert gate.summary
    for name_of, parameter in gate.parameters.items():
        assert f"`{name_of}`" in gate.summary or parameter.default is not None


@every_gate
def test_a_parameter_out_of_its_range_is_refused(name: str) -> None:
    for key, parameter in gates[name].parameters.items():
        outside = [parameter.allowed.low - 1, parameter.allowed.high + 1, float("nan"), float("inf")]
        for value in outside:
            with pytest.raises(UsageError) as caught:
                read_parameters(name, gates[name], {**PARAMETERS[name], key: value})
            assert caught.value.code == "policy.parameter"
        if parameter.default is not None:
            assert parameter.allowed.holds(parameter.default)
