"""A bound that was loosened after a release did not meet it is named, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

from passmuster.cli.status_verb import threshold_line
from passmuster.core.config import Policy
from passmuster.metrics.gates.thresholds import Decided, Threshold, history, loosened, thresholds

WAS = {"accuracy.v1": {"min": 0.9}, "non_inferiority.v1": {"margin": 0.02}}


def judged(**states: str) -> Decided:
    names = {"accuracy": "accuracy.v1", "versions": "non_inferiority.v1"}
    said = {names[key]: state for key, state in states.items()}
    return Decided("2026-03-01T10:00:00", "r0003-abcd", {"alpha": 0.05, "max_looks": 5.0}, WAS, said)


def policy(least: float, margin: float, **changed: object) -> Policy:
    gates = {"accuracy.v1": {"min": least}, "non_inferiority.v1": {"margin": margin}}
    return Policy(gates=gates, **changed)  # type: ignore[arg-type]


def test_what_was_missed_and_is_looser_now_is_named() -> None:
    missed = [judged(accuracy="failed", versions="insufficient")]
    first, second = loosened(missed, policy(0.85, 0.05))
    assert "accuracy.v1 asked for min 0.9 when r0003-abcd failed it on 2026-03-01, and asks for 0.85 now" in first
    assert "non_inferiority.v1 asked for margin 0.02 when r0003-abcd did not prove it" in second


def test_what_passed_or_grew_stricter_is_not() -> None:
    assert loosened([judged(accuracy="passed", versions="passed")], policy(0.5, 0.2)) == []
    assert loosened([judged(accuracy="failed", versions="failed")], policy(0.95, 0.01)) == []
    assert loosened([judged(accuracy="failed", versions="failed")], policy(0.9, 0.02)) == []


def test_a_gate_that_was_dropped_is_named() -> None:
    found = loosened([judged(accuracy="failed")], Policy(gates={"non_inferiority.v1": {"margin": 0.02}}))
    assert len(found) == 1
    assert "is not now: dropped after a look" in found[0]


def test_more_error_is_looser_too() -> None:
    found = loosened([judged(accuracy="insufficient")], policy(0.9, 0.02, alpha=0.2))
    assert len(found) == 1
    assert "the policy asked for alpha 0.05" in found[0]


def test_what_is_kept_has_every_number() -> None:
    kept = thresholds(Policy(gates={"parity.v1": {"min_agreement": 0.99}}), ())
    assert kept["numbers"] == {"parity.v1": {"min_agreement": 0.99, "min_items": 20.0}}


def test_the_history_has_every_value_and_says_which_have_moved() -> None:
    first = judged(accuracy="failed", versions="passed")
    again = replace(first, at="2026-03-02T10:00:00", release="r0004-abcd")
    looser = replace(
        again, at="2026-04-01T10:00:00", release="r0005-abcd", numbers={**WAS, "accuracy.v1": {"min": 0.8}}
    )
    found = {(one.gate, one.number): one for one in history([first, again, looser], policy(0.85, 0.02))}
    moved = found["accuracy.v1", "min"]
    assert [asked.value for asked in moved.asked] == [0.9, 0.9, 0.8]
    assert (moved.now, moved.has_moved) == (0.85, True)
    assert threshold_line(moved) == (
        "accuracy.v1 min: 0.9 (2026-03-02, r0004-abcd failed), 0.8 (2026-04-01, r0005-abcd failed), 0.85 now"
    )
    assert not found["non_inferiority.v1", "margin"].has_moved
    (dropped,) = (one for one in history([first], Policy(gates={})) if one.gate == "accuracy.v1")
    assert isinstance(dropped, Threshold)
    assert dropped.has_moved
    assert threshold_line(dropped).endswith("not asked for any more")
