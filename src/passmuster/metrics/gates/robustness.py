"""`robustness.v1`: accuracy holds under every natural fault up to a severity."""

from __future__ import annotations

import re
from dataclasses import replace

from passmuster.core.ranges import RATE, Range
from passmuster.core.records import GateResult, Metric, Report
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    always,
    is_measured,
    labels_in_words,
    missing,
    more_labels_for_rate,
    rate_bounds,
)
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate

NAME = "robustness.v1"
SLICE = re.compile(r"corruption=(\S+) severity=(\d+)")


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Every fault up to `severity` must meet the bound, so the worst decides; failing shares `alpha` over the faults.

    The bound is `min`, or the clean accuracy less `max_drop`, whichever is higher.
    """
    clean = report.metric("accuracy")
    faults = faults_of(report, params["severity"])
    if not is_measured(clean) or not faults or not all(map(is_measured, faults.values())):
        return missing(NAME, "accuracy under natural faults")
    least = max(params["min"], clean.value - params["max_drop"])
    name, worst = min(faults.items(), key=lambda fault: (rate_bounds(fault[1], alpha)[0], fault[0]))
    low, _ = rate_bounds(worst, alpha)
    seen = f"worst under {name}: accuracy {worst.value:.3f} on {worst.n:,} items"
    if low >= least:
        reason = f"{seen}; surely at least {low:.3f}"
        return GateResult(NAME, "passed", reason, worst.value, least, None, worst.items)
    if any(rate_bounds(metric, alpha / len(faults))[1] < least for metric in faults.values()):
        return GateResult(NAME, "failed", f"{seen}; surely below {least:.3f}", worst.value, least, None, worst.items)
    n_more = more_labels_for_rate(worst, least, alpha)
    reason = f"{seen}; {least:.3f} is neither shown nor refuted; {labels_in_words(n_more)}"
    return GateResult(NAME, "insufficient", reason, worst.value, least, n_more, worst.items)


def faults_of(report: Report, severity: float) -> dict[str, Metric]:
    """Accuracy by fault, at every severity from 1 to `severity`."""
    found = {}
    for metric in report.metrics:
        match = SLICE.fullmatch(metric.slice) if metric.name == "accuracy" else None
        if match and 1 <= int(match[2]) <= severity:
            found[f"{match[1]} at severity {match[2]}"] = metric
    return found


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The lowest accuracy under the worst fault that passes; how far it falls is not known before."""
    least = max(params["min"], (prospect.accuracy or 0.0) - params["max_drop"])
    tried = replace(prospect, n=min(prospect.n, prospect.n_corrupted))
    what = "accuracy under the worst fault"
    return forecast_rate(NAME, least, tried, alpha, power, what=what, assumed=None)


ROBUSTNESS = Gate(
    "under every natural fault up to `severity`, accuracy is at least `min` and falls by at most `max_drop`, proven",
    {"min": Parameter(RATE, 0.0), "max_drop": Parameter(RATE, 1.0), "severity": Parameter(Range(1, 5), 3)},
    True,
    always,
    judge,
    foresee,
)
