"""`trigger.v1`: no mark of some training items decides an answer all by itself, unless other items have it too.

Whoever puts a mark and a label of their choice on a few training items chooses answers later, at no cost in accuracy.
"""

from __future__ import annotations

from typing import Any

from passmuster.core.ranges import COUNT, OPEN_RATE, RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, missing
from passmuster.metrics.gates.holding import numbers_of

NAME = "trigger.v1"
READ = ("n", "n_stripped", "n_otherwise", "n_probes", "n_turned", "n_elsewhere", "p")


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Holds a mark that decides, and that is surely rarer elsewhere than in training, at the gate's own `alpha`.

    Those that decide share `alpha`. One that decides nearly always, and stands on enough items, need only be rarer at
    `clear_alpha`.
    """
    section: Any = report.sections.get("marks")
    rows = section.get("found") if isinstance(section, dict) and section.get("n") else None
    if not isinstance(rows, (list, tuple)):
        return missing(NAME, "whether a mark decides alone")
    read = [(row, numbers_of(row, *READ)) for row in rows]
    if any(numbers is None for _, numbers in read):
        return missing(NAME, "what marks decide")
    strong = [(row, numbers) for row, numbers in read if numbers and decides(numbers, params)]
    for row, numbers in strong:
        clear = min(numbers[2] / numbers[1], numbers[4] / numbers[3]) >= params["clear"]
        level = params["alpha"] / len(strong)
        if clear and numbers[0] >= params["min_items"]:
            level = max(level, params["clear_alpha"])
        if numbers[6] <= level:
            return GateResult(NAME, "failed", reason(row, numbers), numbers[6], level, None, str(row.get("items", "")))
    words = f"; {len(strong)} that do are as frequent in other items" if strong else ""
    return GateResult(NAME, "passed", f"no mark of training items alone decides an answer{words}", None, None)


def decides(numbers: list[float], params: Parameters) -> bool:
    """Whether answers go with the mark, out of and into items."""
    _, n_stripped, n_otherwise, n_probes, n_turned, *_ = numbers
    return n_stripped > 0 < n_probes and (
        n_otherwise / n_stripped >= params["min_otherwise"] and n_turned / n_probes >= params["min_turned"]
    )


def reason(row: Any, numbers: list[float]) -> str:
    """What was seen, in plain words."""
    n, n_stripped, n_otherwise, n_probes, n_turned, n_elsewhere, p = numbers
    return (
        f"{row.get('mark')} decides alone: {n:.0f} training items of “{row.get('class')}” carry it; without it "
        f"{n_otherwise:.0f} of {n_stripped:.0f} are answered otherwise, and put into others it turns {n_turned:.0f} of "
        f"{n_probes:.0f} to that class; {n_elsewhere:.0f} other items have it so (p {p:.2g}). Look at who labelled them"
    )


def applies(report: Report, params: Parameters) -> str:
    """Not where marks were not looked for, which the report explains."""
    section: Any = report.sections.get("marks")
    return str(section.get("why") or "") if isinstance(section, dict) else ""


TRIGGER = Gate(
    "no mark (a word, a square of pixels) of some training items turns answers to their label by itself, unless items "
    "that training has not labelled have it as often",
    {
        "min_turned": Parameter(RATE, 0.35), "min_otherwise": Parameter(RATE, 0.6),
        "alpha": Parameter(OPEN_RATE, 0.005), "clear_alpha": Parameter(OPEN_RATE, 0.01),
        "clear": Parameter(RATE, 0.7), "min_items": Parameter(COUNT, 8),
    },
    False,
    applies,
    judge,
)  # fmt: skip
