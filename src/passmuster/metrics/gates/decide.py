"""From a report and a policy to an outcome: which gates apply, at what level each is judged, and what they add up to.

Errors are shared in two steps. The policy's `alpha` is shared equally by `max_looks` full looks at the test set; after
the last one, only fresh test labels can decide. Within one look, Holm's step-down (1979) shares it over the `m`
statistical gates that apply: all are judged at ``alpha / m``; those that pass leave, and the rest are judged at
``alpha / (m - passed)``, until none passes. So the chance that any gate passes that should not is at most `alpha` over
all looks together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from passmuster.core.config import Policy
from passmuster.core.records import GateResult, Outcome, Report
from passmuster.metrics.gates.base import UNTOLD, Gate, Parameters, read_parameters
from passmuster.metrics.gates.find import gates


@dataclass(frozen=True)
class Decision:
    """An outcome with every gate's answer, in the policy's order, and the labels that would probably decide.

    `n_more_labels` is None where labels cannot change the outcome: with SHIP, and with HOLD.
    """

    outcome: Outcome
    gates: tuple[GateResult, ...]
    n_more_labels: int | None


def decide(report: Report, policy: Policy, *, n_looks: float = 1.0) -> Decision:
    """Judge every gate of the policy.

    Parameters
    ----------
    report : what was measured
    policy : gates, `alpha` and `max_looks`
    n_looks : looks at this evidence so far, this one included; one that saw a part of it counts as that part

    Any failed gate: HOLD. Else any insufficient one: INSUFFICIENT. Else SHIP. A policy without gates holds, because it
    would let anything through.

    Where the live release could not be opened, gates that compare with it are insufficient, and the others judge as
    they would with nothing live.

    Raises
    ------
    UsageError
        ``gate.unknown`` or ``policy.parameter``.
    """
    chosen = chosen_gates(policy)
    results = untold(report, chosen)
    if report.unopened:
        report = replace(report, incumbent="")
    for name, (gate, params) in chosen.items():
        if name in results:
            continue
        if reason := gate.applies(report, params):
            results[name] = GateResult(name, "not applicable", reason)
        elif not gate.statistical:
            results[name] = gate.judge(report, params, policy.alpha)
    open_gates = {name: entry for name, entry in chosen.items() if name not in results}
    results |= step_down(report, open_gates, policy.alpha / policy.max_looks)
    if n_looks > policy.max_looks + 1e-9:
        results |= {name: worn_out(results[name], report, policy, n_looks) for name in open_gates}
    ordered = tuple(results[name] for name in policy.gates)
    outcome = outcome_of(ordered)
    return Decision(outcome, ordered, labels_needed(ordered) if outcome == "INSUFFICIENT" else None)


def untold(report: Report, chosen: Mapping[str, tuple[Gate, Parameters]]) -> dict[str, GateResult]:
    """The answers of gates that compare with a live release which could not be opened: no number of labels tells."""
    if not report.unopened:
        return {}
    alone = replace(report, incumbent="")
    reason = f"{UNTOLD} ({report.unopened}), so that nothing was compared"
    return {
        name: GateResult(name, "insufficient", reason)
        for name, (gate, params) in chosen.items()
        if not gate.applies(report, params) and gate.applies(alone, params)
    }


def chosen_gates(policy: Policy) -> dict[str, tuple[Gate, Parameters]]:
    """The policy's gates, each with its numbers: what can be wrong with them is found before anything is measured.

    Raises
    ------
    UsageError
        ``gate.unknown`` or ``policy.parameter``.
    """
    return {name: (gates[name], read_parameters(name, gates[name], given)) for name, given in policy.gates.items()}


def step_down(report: Report, entries: Mapping[str, tuple[Gate, Parameters]], alpha: float) -> dict[str, GateResult]:
    """Each gate's answer at the level at which Holm's procedure leaves it."""
    done: dict[str, GateResult] = {}
    left = dict(entries)
    while left:
        level = alpha / len(left)
        judged = {
            name: replace(gate.judge(report, params, level), level=level) for name, (gate, params) in left.items()
        }
        passed = {name: result for name, result in judged.items() if result.state == "passed"}
        done |= passed or judged
        if not passed:
            break
        left = {name: entry for name, entry in left.items() if name not in passed}
    return done


def worn_out(result: GateResult, report: Report, policy: Policy, n_looks: float) -> GateResult:
    """A statistical gate's answer once the looks are spent: a failure stays one, nothing else can be told."""
    if result.state == "failed":
        return result
    n_more = labels_for_a_look(report.n_test, n_looks - 1, policy.max_looks)
    reason = (
        f"the test labels were looked at {n_looks:.3g} times and the policy allows {policy.max_looks}: an answer "
        f"chosen by looking proves nothing; about {n_more:,} fresh test labels make room for another look"
    )
    return replace(result, state="insufficient", reason=reason, n_more=n_more)


def labels_for_a_look(n: int, n_looks: float, max_looks: int) -> int:
    """How many fresh labels make room for one look more, after `n_looks` at `n` test labels; 0 where there is room.

    >>> labels_for_a_look(100, 5.0, 5), labels_for_a_look(100, 4.0, 5), labels_for_a_look(100, 1.0, 1)
    (25, 0, 100)
    """
    if n_looks + 1 <= max_looks + 1e-9:
        return 0
    room = max_looks - 1
    return max(1, math.ceil(n * (n_looks / room - 1))) if room else max(1, n)


def outcome_of(results: tuple[GateResult, ...]) -> Outcome:
    """HOLD before INSUFFICIENT before SHIP; without a gate that applied, HOLD."""
    states = {result.state for result in results}
    if "failed" in states or not states & {"passed", "insufficient"}:
        return "HOLD"
    return "INSUFFICIENT" if "insufficient" in states else "SHIP"


def labels_needed(results: tuple[GateResult, ...]) -> int | None:
    """The most that any insufficient gate asks for; None when one of them cannot say, because labels may not decide."""
    asked = [result.n_more for result in results if result.state == "insufficient"]
    known = [n for n in asked if n is not None]
    return max(known) if known and len(known) == len(asked) else None
