"""`class_found.v1`: no class is surely missed most of the time.

`worst_class.v1` asks for proof that every class is found, which takes labels of every class. This one asks for nothing
and holds only where a class is proven to be lost: its name exchanged with another's, or left out of training.
"""

from __future__ import annotations

from passmuster.core.ranges import OPEN_RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, is_measured, missing, rate_bounds
from passmuster.metrics.gates.holding import ALPHA

NAME = "class_found.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact upper bounds of every class's recall, sharing the gate's own `alpha` (Bonferroni); holds, never proves."""
    recalls = {name: report.metric("recall", f"class={name}") for name in report.classes}
    found = {name: metric for name, metric in recalls.items() if metric is not None and metric.n > 0}
    if not found or not all(is_measured(metric) for metric in found.values()):
        return missing(NAME, "recall of any class")
    least, level = params["min"], params["alpha"] / len(found)
    highs = {name: rate_bounds(metric, level)[1] for name, metric in found.items()}
    lost = sorted((name for name in found if highs[name] < least), key=lambda c: (found[c].value, c))
    if not lost:
        return GateResult(NAME, "passed", f"no class of {len(found):,} is surely found less often", None, least)
    name, metric = lost[0], found[lost[0]]
    more = f", and {len(lost) - 1:,} more classes" if len(lost) > 1 else ""
    reason = (
        f"“{name}” is found in {metric.value:.3f} of its {metric.n:,} cases; surely at most {highs[name]:.3f}{more}"
    )
    return GateResult(NAME, "failed", reason, metric.value, least, None, metric.items)


CLASS_FOUND = Gate(
    "no class is surely found in less than `min` of its cases",
    {"min": Parameter(OPEN_RATE, 0.3), "alpha": ALPHA},
    False,
    always,
    judge,
)
