"""`accuracy.v1`: the share of right answers is at least `min`, proven."""

from __future__ import annotations

from passmuster.core.ranges import RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, is_measured, missing
from passmuster.metrics.gates.one_rate import judge_rate
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate

NAME = "accuracy.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact one-sided binomial tests at `alpha`: of accuracy below `min` to pass, of at least `min` to fail."""
    metric = report.metric("accuracy")
    if not is_measured(metric):
        return missing(NAME, "accuracy")
    return judge_rate(NAME, metric, params["min"], alpha, f"accuracy {metric.value:.3f} on {metric.n:,} labels")


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The lowest accuracy that passes."""
    return forecast_rate(NAME, params["min"], prospect, alpha, power, what="accuracy", assumed=prospect.accuracy)


ACCURACY = Gate(
    "the share of right answers is at least `min`, proven", {"min": Parameter(RATE)}, True, always, judge, foresee
)
