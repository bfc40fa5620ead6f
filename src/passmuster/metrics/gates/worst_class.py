"""`worst_class.v1`: every class is found in at least the share `min` of its cases, proven.

A headline hides a class that the model hardly ever finds, and few test labels hide it best: forty over ten classes say
almost nothing of any one of them.
"""

from __future__ import annotations

import math
from typing import Any

from passmuster.core.ranges import RATE
from passmuster.core.records import GateResult, Metric, Report
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    always,
    effective_n,
    fewest_perfect,
    is_measured,
    labels_in_words,
    missing,
    more_labels_for_rate,
    rate_bounds,
)
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate

NAME = "worst_class.v1"
PRIOR_N = 4  # cases at the overall accuracy, added to a class's own before guessing how many more it needs


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Passes when each class's recall is proven at `alpha`; fails when that of any is refuted at ``alpha / classes``.

    That all classes are good is an intersection of claims, so each is tested at the full level (the intersection-union
    test of Berger 1982, Technometrics 24); that some class is bad is a union, so the level is shared (Bonferroni).
    """
    overall = report.metric("accuracy")
    recalls = {name: recall_of(report, name) for name in report.classes if name not in no_classes(report)}
    found = {name: metric for name, metric in recalls.items() if metric is not None}
    if not is_measured(overall) or len(found) < len(recalls) or any(not _is_sound(m) for m in found.values()):
        return missing(NAME, "recall of every class")
    least = params["min"]
    bounds = {name: _bounds(metric, alpha) for name, metric in found.items()}
    name = min(bounds, key=lambda c: (bounds[c][0], c))
    worst = found[name]
    value = worst.value if worst.n else None
    seen = f"“{name}” is found in {worst.value:.3f} of its {worst.n:,} cases" if worst.n else f"“{name}” has no case"
    if bounds[name][0] >= least:
        reason = f"{seen}; surely at least {bounds[name][0]:.3f}"
        return GateResult(NAME, "passed", reason, value, least, None, worst.items)
    for refuted, metric in found.items():
        high = _bounds(metric, alpha / len(found))[1]
        if high < least:
            reason = f"“{refuted}” is found in {metric.value:.3f} of its {metric.n:,} cases; surely at most {high:.3f}"
            return GateResult(NAME, "failed", reason, metric.value, least, None, metric.items)
    open_classes = [metric for c, metric in found.items() if bounds[c][0] < least]
    asked = [_more_labels(metric, overall, least, alpha) for metric in open_classes]
    known = [n for n in asked if n is not None]
    n_more = max(known) if len(known) == len(asked) else None
    n_open = f"{len(open_classes)} of {len(found)} classes are not proven at {least:g}"
    reason = f"{seen}: at least {bounds[name][0]:.3f}; {n_open}; {labels_in_words(n_more)}"
    return GateResult(NAME, "insufficient", reason, value, least, n_more, worst.items)


def recall_of(report: Report, name: str) -> Metric | None:
    """The recall of a class; of none of the test's items where the report says that it has no case."""
    found = report.metric("recall", f"class={name}")
    if found is None and any(row.get("class") == name and row.get("n") == 0 for row in rows_of(report)):
        return Metric("recall", 0.0, 0.0, 1.0, 0, slice=f"class={name}")
    return found


def no_classes(report: Report) -> set[str]:
    """Answers that are no classes, such as that of an endpoint that named none."""
    return {str(row.get("class")) for row in rows_of(report) if row.get("is_class") is False}


def rows_of(report: Report) -> list[dict[str, Any]]:
    """What the report says of each class beside its metrics."""
    rows: Any = report.sections.get("per_class")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, (list, tuple)) else []


def _is_sound(metric: Metric) -> bool:
    """A class without a case is not unmeasured: there is just nothing known of it."""
    return metric.n == 0 or is_measured(metric)


def _bounds(metric: Metric, alpha: float) -> tuple[float, float]:
    return rate_bounds(metric, alpha) if metric.n else (0.0, 1.0)


def _more_labels(metric: Metric, overall: Metric, least: float, alpha: float) -> int | None:
    """Further test labels of all classes after which this class has enough, if classes go on coming as they did."""
    if not metric.n:
        n_perfect = fewest_perfect(least, alpha)
        return None if n_perfect is None else n_perfect * overall.n
    n = effective_n(metric)
    rate = (metric.value * n + PRIOR_N * overall.value) / (n + PRIOR_N)
    of_class = more_labels_for_rate(metric, least, alpha, rate=rate)
    return None if of_class is None else math.ceil(of_class * overall.n / metric.n)


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The lowest recall of the smallest class that passes; all classes must, so each gets its part of what may miss."""
    each = 1 - (1 - power) / max(1, prospect.n_classes)
    share = prospect.smallest_class
    what = "a recall of the smallest class"
    return forecast_rate(NAME, params["min"], prospect, alpha, each, what=what, assumed=prospect.accuracy, share=share)


WORST_CLASS = Gate(
    "every class is found in at least `min` of its cases, proven",
    {"min": Parameter(RATE)},
    True,
    always,
    judge,
    foresee,
)
