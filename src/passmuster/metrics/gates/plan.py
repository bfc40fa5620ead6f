"""Power beforehand: what each gate of a policy can tell with the labels there are, and how many would decide.

Gates are forecast at the level at which `decide` first judges them: the policy's `alpha`, shared by `max_looks` and, as
Holm's step-down begins, by the statistical gates that apply.
"""

from __future__ import annotations

from dataclasses import dataclass

from passmuster.core.config import Policy
from passmuster.core.records import Report
from passmuster.metrics.gates.base import POWER
from passmuster.metrics.gates.decide import chosen_gates
from passmuster.metrics.gates.prospect import Forecast, Prospect


@dataclass(frozen=True)
class Plan:
    """A forecast for each statistical gate, and the labels with which all of them pass together.

    `level` is that of each gate. For `n_together` each gate gets its part of the chance to miss, so that all pass
    together with at least `power`; and because those that pass leave theirs to the rest (Holm), the gate that needs
    most is judged at the whole level, the next at half of it, and so on. None where no number of labels does. Gates of
    which nothing is assumed do not count in it and are named in `unforeseen`.
    """

    level: float
    power: float
    forecasts: tuple[Forecast, ...]
    n_together: int | None
    unforeseen: tuple[str, ...] = ()


def plan(report: Report, policy: Policy, prospect: Prospect, *, power: float = POWER) -> Plan:
    """Forecast every statistical gate of `policy` that applies to `report`, of which only task and incumbent are read.

    Raises
    ------
    UsageError
        ``gate.unknown`` or ``policy.parameter``.
    """
    entries = {
        name: (gate, params)
        for name, (gate, params) in chosen_gates(policy).items()
        if gate.statistical and not gate.applies(report, params)
    }
    level = policy.alpha / policy.max_looks / max(1, len(entries))
    together = 1 - (1 - power) / max(1, len(entries))
    told = tuple(
        gate.foresee(params, prospect, level, power) if gate.foresee is not None
        else Forecast(name, level, prospect.n, 0.0, None, None, None, "this gate foretells nothing")
        for name, (gate, params) in entries.items()
    )  # fmt: skip
    unforeseen = tuple(forecast.gate for forecast in told if forecast.assumed is None)
    never = any(forecast.n_needed is None for forecast in told if forecast.assumed is not None)
    hardest_first = sorted((f for f in told if f.n_needed is not None), key=lambda f: -(f.n_needed or 0))
    needs = []
    for place, forecast in enumerate(hardest_first, start=len(unforeseen) + 1):
        gate, params = entries[forecast.gate]
        if gate.foresee is not None:
            needs.append(
                gate.foresee(params, prospect, policy.alpha / policy.max_looks / place, together).n_needed or 0
            )
    return Plan(level, power, told, max(needs) if needs and not never else None, unforeseen)
