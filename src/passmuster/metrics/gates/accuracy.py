"""`accuracy.v1`: the share of right answers is at least `min`, proven."""

from __future__ import annotations

from passmuster.core.ranges import RATE
from passmuster.core.records import GateResult, Report
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

NAME = "accuracy.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact one-sided binomial tests at `alpha`: of accuracy below `min` to pass, of at least `min` to fail."""
    metric = report.metric("accuracy")
    if not is_measured(metric):
        return missing(NAME, "accuracy")
    least = params["min"]
    low, high = rate_bounds(metric, alpha)
    seen = f"accuracy {metric.value:.3f} on {metric.n:,} labels"
    if low >= least:
        return GateResult(NAME, "passed", f"{seen}; surely at least {low:.3f}", metric.value, least, None, metric.items)
    if high < least:
        reason = f"{seen}; surely below {least:g}: at most {high:.3f}"
        return GateResult(NAME, "failed", reason, metric.value, least, None, metric.items)
    n_more = more_labels_for_rate(metric, least, alpha)
    reason = f"{seen} leaves {low:.3f} to {high:.3f}, and {least:g} lies between; {labels_in_words(n_more)}"
    return GateResult(NAME, "insufficient", reason, metric.value, least, n_more, metric.items)


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The lowest accuracy that passes."""
    return forecast_rate(NAME, params["min"], prospect, alpha, power, what="accuracy")


ACCURACY = Gate(
    "the share of right answers is at least `min`, proven", {"min": Parameter(RATE)}, True, always, judge, foresee
)
