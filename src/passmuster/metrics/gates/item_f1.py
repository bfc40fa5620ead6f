"""`item_f1.v1`: of items that carry sets of classes, the mean F1 is at least `min`, proven.

Beside `accuracy.v1`, which asks for the whole set: a set of three of which two are found counts for something here.
"""

from __future__ import annotations

from passmuster.core.label_sets import MULTI
from passmuster.core.ranges import RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, is_measured, missing
from passmuster.metrics.gates.one_rate import judge_rate
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate

NAME = "item_f1.v1"


def needs_sets(report: Report, params: Parameters) -> str:
    """The `applies` of a gate about sets of classes."""
    return "" if report.task == MULTI else "each item has one label here, and accuracy.v1 says how often it is right"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """One-sided tests at `alpha`, as if each item's F1 were a coin of that mean.

    Of all scores between 0 and 1 with the same mean a coin varies most, so that the interval is wide rather than
    narrow (Clopper and Pearson 1934, with a count that need not be whole). Where labels were drawn and the unlabelled
    rest was read too, as many coins are counted as would know the mean as well: there may be more than labels.
    """
    metric = report.metric("item_f1")
    if not is_measured(metric):
        return missing(NAME, "mean F1 of items")
    seen = f"mean F1 {metric.value:.3f} on {metric.n:,} labelled items"
    return judge_rate(NAME, metric, params["min"], alpha, seen)


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The lowest mean F1 that passes; what is assumed of whole sets says nothing of it."""
    return forecast_rate(NAME, params["min"], prospect, alpha, power, what="a mean F1", assumed=None)


ITEM_F1 = Gate(
    "of items that carry sets of classes, the mean F1 is at least `min`, proven",
    {"min": Parameter(RATE)},
    True,
    needs_sets,
    judge,
    foresee,
)
