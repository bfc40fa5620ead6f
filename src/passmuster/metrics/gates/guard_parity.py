"""`guard_parity.v1`: the guard scores the user's own items as it did when it was packed, live release or not.

A guard that was fitted on another model changes no answer, and may withhold about as much as the right one.
"""

from __future__ import annotations

from passmuster.core.ranges import POSITIVE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, missing
from passmuster.metrics.gates.holding import numbers_of

NAME = "guard_parity.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Reads the median change of a novelty score and that of its threshold, in spreads; facts, so `alpha` is kept.

    Of a model that is elsewhere, the threshold alone.
    """
    found = numbers_of(report.sections.get("parity"), "n_guard", "guard_shift", "threshold_shift")
    if found is None or not found[0]:
        return missing(NAME, "what the guard made of the items when it was packed")
    n, scores, threshold = found
    most = params["max_shift"]
    elsewhere = "endpoint" in report.sections  # it does not say the same twice; its threshold lies in the bundle
    if scores > most and not elsewhere:
        reason = f"novelty scores are {scores:.3g} of their spread from those that were packed, on {n:,.0f} items"
        return GateResult(NAME, "failed", f"{reason}: was the guard fitted on another model?", scores, most)
    if threshold > most:
        reason = f"the threshold of novelty is {threshold:.3g} of the scores' spread from the one that was packed"
        return GateResult(NAME, "failed", reason, threshold, most)
    if elsewhere:
        seen = "the threshold of novelty is the one that was packed; a model elsewhere does not score the same twice"
        return GateResult(NAME, "passed", seen, threshold, most)
    return GateResult(NAME, "passed", f"novelty scores of {n:,.0f} items are those that were packed", scores, most)


def applies(report: Report, params: Parameters) -> str:
    """Not to a model that is elsewhere where its import kept no scores of its guard."""
    kept = numbers_of(report.sections.get("parity"), "threshold_shift")
    return "" if "endpoint" not in report.sections or kept else "its import kept nothing of its guard"


GUARD_PARITY = Gate(
    "novelty scores and their threshold are within `max_shift` of their spread from those that were packed",
    {"max_shift": Parameter(POSITIVE, 0.1)},
    False,
    applies,
    judge,
)
