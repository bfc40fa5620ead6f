"""`set_coverage.v1`: prediction sets hold the right class about as often as the policy asks for, proven.

The threshold of the sets comes from labels that training held out. With n of them the true coverage scatters around the
target by about ``sqrt(target (1 - target) / n)`` (Vovk 2012, Conditional validity of inductive conformal predictors),
and no test proves a rate that it meets exactly: hence `max_short`, the room below the target. Sets of every class would
always hold the right one, so the reason names their length.
"""

from __future__ import annotations

from passmuster.core.ranges import OPEN_RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, is_measured, missing
from passmuster.metrics.gates.holding import numbers_of
from passmuster.metrics.gates.one_rate import judge_rate
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate, foretells_nothing

NAME = "set_coverage.v1"


def has_sets(report: Report, params: Parameters) -> str:
    """The `applies` of a gate about sets: a bundle that was made elsewhere may have no labels to fit them on."""
    found = numbers_of(report.sections.get("prediction_sets"), "n_calibration")
    return "no labels were held out to make prediction sets from" if found == [0.0] else ""


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact one-sided tests at `alpha`: of coverage below the target less `max_short`, and of at least that."""
    found, size = report.metric("set_coverage"), report.metric("set_size")
    target = numbers_of(report.sections.get("prediction_sets"), "target")
    if not is_measured(found) or target is None:
        return missing(NAME, "how often prediction sets hold the right class")
    length = f", with {size.value:.2f} classes on average" if is_measured(size) else ""
    seen = f"prediction sets hold the right class in {found.value:.3f} of {found.n:,} items{length}"
    return judge_rate(NAME, found, target[0] - params["max_short"], alpha, seen)


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The lowest coverage that passes; that of the target is assumed."""
    if prospect.set_coverage is None:
        return foretells_nothing(NAME, alpha, prospect, 0.0, "not known: what the sets of this bundle aim at")
    least = prospect.set_coverage - params["max_short"]
    return forecast_rate(NAME, least, prospect, alpha, power, what="a coverage", assumed=prospect.set_coverage)


SET_COVERAGE = Gate(
    "prediction sets hold the right class at least as often as `policy.guard.set_coverage` less `max_short`, proven",
    {"max_short": Parameter(OPEN_RATE, 0.05)},
    True,
    has_sets,
    judge,
    foresee,
)
