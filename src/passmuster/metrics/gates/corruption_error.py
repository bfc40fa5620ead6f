"""`mce.v1`: under natural faults the candidate errs no more than the live release, give or take."""

from __future__ import annotations

from typing import Any

from passmuster.core.ranges import Range
from passmuster.core.records import GateResult, Report
from passmuster.metrics.aa_noise import noted
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    is_measured,
    labels_in_words,
    missing,
    more_labels_for_width,
    needs_incumbent,
    rescaled,
)
from passmuster.metrics.gates.prospect import Forecast, Prospect, foretells_nothing

NAME = "mce.v1"
FEWEST = 30  # items below which a bootstrap of a ratio says too little


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Passes when the mean corruption error against the live release is surely at most `max`, fails when surely more.

    `metrics.robustness.corruption_error` says what it is: 1 is as the live release, 1.1 a tenth more errors. Where both
    models hardly err the bootstrap has little to go by; a candidate at the bound passed in 0 to 5 of 100 simulations
    (docs/log.md).
    """
    found = report.metric("mce")
    if not is_measured(found):
        return missing(NAME, "the errors of both models under natural faults")
    most = params["max"]
    low, high = rescaled(found, alpha)
    seen = f"{found.value:.2f} times the live release's errors under natural faults, on {found.n:,} items"
    both: Any = (report.sections.get("corruptions") or {}).get("against_live") or {}
    if "right_live" in both:
        seen += noted(report, both["right"] - both["right_live"])
    if found.n < FEWEST:
        reason = f"{seen}; that is too few to tell; {labels_in_words(FEWEST - found.n)}"
        return GateResult(NAME, "insufficient", reason, found.value, most, FEWEST - found.n, found.items)
    if high <= most:
        return GateResult(NAME, "passed", f"{seen}; at most {high:.2f}", found.value, most, None, found.items)
    if low > most:
        return GateResult(NAME, "failed", f"{seen}; at least {low:.2f}", found.value, most, None, found.items)
    n_more = more_labels_for_width(found.value, high if found.value <= most else low, most, found.n)
    reason = f"{seen} leaves {max(0.0, low):.2f} to {high:.2f}; {labels_in_words(n_more)}"
    return GateResult(NAME, "insufficient", reason, found.value, most, n_more, found.items)


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """Nothing: how many errors each model makes under faults decides how far their ratio varies."""
    why = f"not known: how often both err under faults, on at most {prospect.n_corrupted:,} items"
    return foretells_nothing(NAME, alpha, prospect, params["max"], why)


MCE = Gate(
    "under natural faults it makes at most `max` times the errors of the live release (mean corruption error), proven",
    {"max": Parameter(Range(0, low_open=True), 1.1)},
    True,
    needs_incumbent,
    judge,
    foresee,
)
