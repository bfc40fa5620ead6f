"""The history of a policy's numbers: a bound that was loosened after a release did not meet it is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from passmuster.core.config import Policy
from passmuster.core.records import Event, GateResult
from passmuster.metrics.gates.base import read_parameters
from passmuster.metrics.gates.find import gates

LOOSER_WHEN_LESS = ("min", "severity")  # how names of numbers begin that ask for less when they are smaller
LOOSER_WHEN_MORE = ("max", "margin", "alpha")


@dataclass(frozen=True)
class Decided:
    """The numbers under which a release was judged, by gate, and what each gate said. `shared` are alpha and looks."""

    at: str
    release: str
    shared: Mapping[str, float]
    numbers: Mapping[str, Mapping[str, float]]
    states: Mapping[str, str]


def thresholds(policy: Policy, results: Iterable[GateResult]) -> dict[str, Any]:
    """What a decision's event keeps: every number of the policy's gates, defaults included, and each gate's state."""
    return {
        "shared": {"alpha": policy.alpha, "max_looks": policy.max_looks},
        "numbers": {name: numbers_of(name, given) for name, given in policy.gates.items()},
        "states": {result.gate: result.state for result in results},
    }


def numbers_of(name: str, given: Mapping[str, Any]) -> dict[str, float]:
    """A gate's numbers over its defaults."""
    return read_parameters(name, gates[name], given)


def decided(events: Iterable[Event]) -> list[Decided]:
    """Past decisions from their events, oldest first; those that kept no numbers are left out."""
    return [
        Decided(event.at, str(event.payload["release"]), kept["shared"], kept["numbers"], kept["states"])
        for event in events
        if (kept := event.payload.get("thresholds"))
    ]


@dataclass(frozen=True)
class Asked:
    """What a number of a gate was when a release was judged by it, and what the gate said."""

    at: str
    release: str
    value: float
    state: str


@dataclass(frozen=True)
class Threshold:
    """A number of a gate: as it was asked for, oldest first, and today's; None where the policy lacks the gate."""

    gate: str
    number: str
    asked: tuple[Asked, ...]
    now: float | None

    @property
    def has_moved(self) -> bool:
        """Whether it was ever another than today."""
        return any(one.value != self.now for one in self.asked)


def history(past: Iterable[Decided], policy: Policy) -> list[Threshold]:
    """Every number that a release was judged by, with all its values, in the order in which gates first judged.

    >>> failed = Decided("2026-03-01T10:00", "r0001-ab", {}, {"accuracy.v1": {"min": 0.9}}, {"accuracy.v1": "failed"})
    >>> (one,) = history([failed], Policy(gates={"accuracy.v1": {"min": 0.8}}))
    >>> one.asked[0].value, one.now, one.has_moved
    (0.9, 0.8, True)
    """
    today = {name: numbers_of(name, given) for name, given in policy.gates.items()}
    asked: dict[tuple[str, str], list[Asked]] = {}
    for one in past:
        for gate, numbers in one.numbers.items():
            for number, value in numbers.items():
                state = one.states.get(gate, "")
                asked.setdefault((gate, number), []).append(Asked(one.at, one.release, value, state))
    return [
        Threshold(gate, number, tuple(found), today.get(gate, {}).get(number))
        for (gate, number), found in asked.items()
    ]


def loosened(past: Iterable[Decided], policy: Policy) -> list[str]:
    """A sentence for each number that now asks for less than when a release did not meet it; the latest such time.

    >>> failed = Decided("2026-03-01T10:00", "r0001-ab", {}, {"accuracy.v1": {"min": 0.9}}, {"accuracy.v1": "failed"})
    >>> loosened([failed], Policy(gates={"accuracy.v1": {"min": 0.8}}))
    ['accuracy.v1 asked for min 0.9 when r0001-ab failed it on 2026-03-01, and asks for 0.8 now: loosened after a look']
    """
    today = {name: numbers_of(name, given) for name, given in policy.gates.items()}
    shared = {"alpha": policy.alpha, "max_looks": float(policy.max_looks)}
    told: dict[tuple[str, str], str] = {}
    for one in past:
        for gate, state in one.states.items():
            if state not in ("failed", "insufficient"):
                continue
            how = "failed it" if state == "failed" else "did not prove it"
            if gate not in today:
                told[gate, ""] = (
                    f"{gate} was in the policy when {one.release} {how} on {one.at[:10]}, and is not now: dropped "
                    "after a look"
                )
                continue
            told.pop((gate, ""), None)
            was = {**one.numbers.get(gate, {}), **one.shared}
            for key, now in {**today[gate], **shared}.items():
                before = was.get(key)
                if before is not None and is_looser(key, before, now):
                    of = "the policy" if key in shared else gate
                    told[of if key in shared else gate, key] = (
                        f"{of} asked for {key} {before:g} when {one.release} {how} on {one.at[:10]}, and asks for "
                        f"{now:g} now: loosened after a look"
                    )
    return list(told.values())


def is_looser(key: str, before: float, now: float) -> bool:
    """Whether a number asks for less than before.

    >>> is_looser("min", 0.9, 0.8), is_looser("margin", 0.02, 0.01), is_looser("max_looks", 5, 9)
    (True, False, True)
    """
    if key.startswith(LOOSER_WHEN_LESS):
        return now < before - 1e-12
    return key.startswith(LOOSER_WHEN_MORE) and now > before + 1e-12
