"""`overconfidence.v1`: the model is not surely wrong far more often than it says.

A mean calibration error of two points is nothing in a model that is wrong one time in five, and everything in one that
is wrong one time in fifty and says never. So errors are counted against the doubt that was stated.
"""

from __future__ import annotations

from passmuster.core.ranges import Range
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, is_measured, missing, rate_bounds
from passmuster.metrics.gates.holding import ALPHA, numbers_of

NAME = "overconfidence.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact bound of the error rate at the gate's own `alpha` against the mean stated doubt; holds, never proves."""
    accuracy, found = report.metric("accuracy"), numbers_of(report.sections.get("test_labels"), "n", "confidence")
    if not is_measured(accuracy) or found is None or not found[0]:
        return missing(NAME, "how sure the model is of its test items")
    wrong, doubt, most = 1.0 - accuracy.value, max(0.0, 1.0 - found[1]), params["max_ratio"]
    least = 1.0 - rate_bounds(accuracy, params["alpha"])[1]
    seen = f"it doubts {doubt:.4f} of its answers on average, and {wrong:.4f} are wrong on {accuracy.n:,} labels"
    if least > most * doubt:
        return GateResult(NAME, "failed", f"{seen}: surely at least {least:.4f}", wrong, most * doubt, None, "wrong")
    return GateResult(NAME, "passed", seen, wrong, most * doubt)


OVERCONFIDENCE = Gate(
    "the model is not surely wrong more than `max_ratio` times as often as it doubts its answers",
    {"max_ratio": Parameter(Range(1), 2.0), "alpha": ALPHA},
    False,
    always,
    judge,
)
