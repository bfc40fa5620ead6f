"""`worst_group.v1` and `group_gap.v1`: no declared group of items is served badly, or much worse than another, proven.

A group that is too small to tell is never passed over: the gate is then insufficient. Without declared groups nothing
was measured, and the gate holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from passmuster.core.ranges import RATE
from passmuster.core.records import GateResult, Metric, Report
from passmuster.metrics.fairness import GAPS
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    always,
    fewest_perfect,
    is_measured,
    labels_in_words,
    missing,
    more_labels_for_rate,
    more_labels_for_width,
    rate_bounds,
    rescaled,
)
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate, foretells_nothing

WORST, GAP = "worst_group.v1", "group_gap.v1"
NO_BOUND = 1.0
BOUNDS = {  # parameter to kind of gap
    "max_accuracy": GAPS[0], "max_selection_rate": GAPS[1], "max_equal_opportunity": GAPS[2],
    "max_equalised_odds": GAPS[3], "max_predictive_parity": GAPS[4],
}  # fmt: skip
UNDECLARED = "how groups fare (name their columns in data.group_columns, then muster add the table again)"


def judge_worst(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Passes when each group's accuracy is proven at `alpha`; fails when that of any is refuted at ``alpha / groups``.

    As `worst_class.v1`: all of many claims are proven at the full level, one of many is refuted at a shared one.
    """
    found = [metric for metric in report.metrics if metric.name == "group_accuracy"]
    if not found or any(metric.n and not is_measured(metric) for metric in found):
        return missing(WORST, UNDECLARED)
    least = params["min"]
    bounds = {metric.slice: _bounds(metric, alpha) for metric in found}
    worst = min(found, key=lambda metric: bounds[metric.slice][0])
    for metric in found:
        high = _bounds(metric, alpha / len(found))[1]
        if high < least:
            reason = f"{_seen(metric)}; surely at most {high:.3f}"
            return GateResult(WORST, "failed", reason, metric.value, least, None, metric.items)
    low = bounds[worst.slice][0]
    if low >= least:
        reason = f"{_seen(worst)}; surely at least {low:.3f}"
        return GateResult(WORST, "passed", reason, worst.value, least, None, worst.items)
    few = [metric for metric in found if bounds[metric.slice][0] < least]
    n_more, of_which = _more_labels(few, report.metric("accuracy"), least, alpha)
    reason = f"{_seen(worst)}: at least {low:.3f}; {len(few)} of {len(found)} groups are not proven at {least:g}"
    return GateResult(WORST, "insufficient", f"{reason}; {labels_in_words(n_more)}{of_which}", worst.value, least,
                      n_more, worst.items)  # fmt: skip


def _more_labels(
    groups: Sequence[Metric], overall: Metric | None, least: float, alpha: float
) -> tuple[int | None, str]:
    """Further test labels after which each of `groups` has enough, if groups go on coming as they did; and, in words,
    how many of them are of the group that waits for most. A group that never came is taken to be the next to come."""
    needed = []
    for metric in groups:
        of_group = more_labels_for_rate(metric, least, alpha) if metric.n else fewest_perfect(least, alpha)
        if of_group is None:
            return None, ""
        n_test = overall.n if overall is not None and overall.n else metric.n
        needed.append((math.ceil(of_group * n_test / max(1, metric.n)), of_group, metric.slice))
    n_more, of_group, where = max(needed)
    return n_more, f", {of_group:,} of them of {where}"


def _bounds(metric: Metric, alpha: float) -> tuple[float, float]:
    return rate_bounds(metric, alpha) if metric.n else (0.0, 1.0)


def _seen(metric: Metric) -> str:
    return f"{metric.slice} is answered rightly in {metric.value:.3f} of {metric.n:,} items"


def judge_gap(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Each bounded kind of gap, in every column and class: its interval, taken to `alpha`, against its bound."""
    section: Any = report.sections.get("groups")
    bounded = {kind: params[name] for name, kind in BOUNDS.items() if params[name] < NO_BOUND}
    if not isinstance(section, dict) or not section.get("columns"):
        return missing(GAP, UNDECLARED)
    gaps = [metric for metric in report.metrics if metric.name in bounded]
    untold = sorted({
        f"{column['column']}={name}"
        for column in section["columns"] for gap in column["gaps"] if gap["kind"] in bounded for name in gap["untold"]
    })  # fmt: skip
    if (not gaps and not untold) or any(metric.n and not is_measured(metric) for metric in gaps):
        return missing(GAP, UNDECLARED)
    ends = {id(metric): rescaled(metric, alpha) for metric in gaps}
    for metric in gaps:
        low = ends[id(metric)][0]
        if low > bounded[metric.name]:
            reason = f"{_of(metric)}: surely at least {low:.3f}"
            return GateResult(GAP, "failed", reason, metric.value, bounded[metric.name], None, metric.items)
    worst = max(gaps, key=lambda metric: ends[id(metric)][1] - bounded[metric.name], default=None)
    if untold:
        named = ", ".join(untold[:3]) + (f" and {len(untold) - 3} more" if len(untold) > 3 else "")
        reason = f"too few items to tell: {named}; label more of them for the test"
        return GateResult(GAP, "insufficient", reason, worst.value if worst else None, None)
    assert worst is not None
    high, bound = ends[id(worst)][1], bounded[worst.name]
    if high <= bound:
        reason = f"{_of(worst)}: surely at most {high:.3f}"
        return GateResult(GAP, "passed", reason, worst.value, bound, None, worst.items)
    n_more = more_labels_for_width(worst.value, high, bound, worst.n)
    reason = f"{_of(worst)} may be {high:.3f}; {labels_in_words(n_more)}"
    return GateResult(GAP, "insufficient", reason, worst.value, bound, n_more, worst.items)


def _of(metric: Metric) -> str:
    return f"{metric.name.replace('_', ' ')} of {metric.value:.3f} by {metric.slice} on {metric.n:,} items"


def bounds_something(report: Report, params: Parameters) -> str:
    """The `applies` of a gate whose bounds are all optional."""
    if not params or any(params[name] < NO_BOUND for name in BOUNDS):
        return ""
    return f"it bounds none of {', '.join(BOUNDS)}"


def foresee_worst(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The lowest accuracy of the smallest group that passes; all must, so each gets its part of what may miss."""
    if not prospect.n_groups:
        return foretells_nothing(
            WORST, alpha, prospect, params["min"], f"nothing can pass: no one measures {UNDECLARED}"
        )
    each, what = 1 - (1 - power) / prospect.n_groups, "accuracy of the smallest group"
    return forecast_rate(
        WORST, params["min"], prospect, alpha, each, what=what, assumed=prospect.accuracy, share=prospect.smallest_group
    )


def foresee_gap(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """Nothing: gaps lie between rates of classes within groups, and no guess of any of these is at hand beforehand."""
    return foretells_nothing(GAP, alpha, prospect, 0.0, "not known: how often each group gets each class")


WORST_GROUP = Gate(
    "every declared group is answered rightly in at least `min` of its items, proven",
    {"min": Parameter(RATE)},
    True,
    always,
    judge_worst,
    foresee_worst,
)
GROUP_GAP = Gate(
    "declared groups differ by no more than the bounds named, proven; 1: no bound",
    {name: Parameter(RATE, NO_BOUND) for name in BOUNDS},
    True,
    bounds_something,
    judge_gap,
    foresee_gap,
)
