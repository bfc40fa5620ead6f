"""`adversarial.v1`: right answers stay right under attack, and at least as often as the live release's."""

from __future__ import annotations

from dataclasses import replace

from passmuster.core.ranges import RATE, Range
from passmuster.core.records import GateResult, Metric, Report
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    always,
    is_measured,
    missing,
)
from passmuster.metrics.gates.one_rate import judge_rate
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate, foretells_nothing

NAME = "adversarial.v1"
LEVELS = Range(0, 255)
NO_MARGIN = 1.0  # a fall that no model exceeds


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Robust accuracy at `strength` must be proven to reach `min`, and must not be shown to fall by over `max_drop`."""
    where = f"strength={params['strength']:g}"
    metric = report.metric("robust_accuracy", where)
    if not is_measured(metric):
        known = ", ".join(m.slice.partition("=")[2] for m in report.metrics if m.name == "robust_accuracy") or "none"
        return missing(
            NAME,
            f"accuracy under attack at strength {params['strength']:g} (measured: {known}; muster evaluate --attack)",
        )
    seen = f"under attack at strength {params['strength']:g}: accuracy {metric.value:.3f} on {metric.n:,} items"
    change = report.metric("robust_accuracy_change", where)
    if params["max_drop"] < NO_MARGIN and fell(change, params["max_drop"]):
        assert change is not None
        reason = f"{seen}; surely more than {params['max_drop']:.3f} below the live release"
        return GateResult(NAME, "failed", reason, change.value, -params["max_drop"], None, metric.items)
    return judge_rate(NAME, metric, params["min"], alpha, seen)


def fell(change: Metric | None, most: float) -> bool:
    """Whether the interval of the change lies wholly below the fall that is allowed."""
    return change is not None and change.high < -most


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The lowest accuracy under attack that passes, on as many items as are attacked; how low it falls is not known."""
    if not prospect.n_attacked:
        return foretells_nothing(
            NAME, alpha, prospect, params["min"], "nothing can pass: no item is attacked ([evaluate] n_attacked)"
        )
    tried = replace(prospect, n=min(prospect.n, prospect.n_attacked))
    return forecast_rate(NAME, params["min"], tried, alpha, power, what="accuracy under attack", assumed=None)


ADVERSARIAL = Gate(
    "under attack of `strength` accuracy is at least `min`, proven, and is not shown to be more than `max_drop` below "
    "the live release's",
    {"min": Parameter(RATE, 0.0), "max_drop": Parameter(RATE, NO_MARGIN), "strength": Parameter(LEVELS)},
    True,
    always,
    judge,
    foresee,
)
