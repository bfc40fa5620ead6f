"""`behaviour.v1`: of each of the team's own behaviour tests, few rows fail."""

from __future__ import annotations

from passmuster.core.ranges import RATE
from passmuster.core.records import GateResult, Metric, Report
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    always,
    is_measured,
    missing,
    more_labels_for_rate,
    rate_bounds,
)
from passmuster.metrics.gates.prospect import Forecast, Prospect, foretells_nothing

NAME = "behaviour.v1"
METRIC = "behaviour_failure_rate"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Every test must meet `max_rate`, so the worst decides; failing shares `alpha` over the tests.

    With a `max_rate` of 0 the rows are the specification: all must hold, and that they do is a fact. Above 0 they are a
    sample of what may come: passing is proven by the exact upper bound of the worst test, failing by a lower bound.
    """
    tests = {m.slice.removeprefix("test="): m for m in report.metrics if m.name == METRIC}
    if not tests or not all(map(is_measured, tests.values())):
        return missing(NAME, "the behaviour tests (set [evaluate] behaviour)")
    most = params["max_rate"]
    name, worst = max(tests.items(), key=lambda test: (test[1].value, rate_bounds(test[1], alpha)[1], test[0]))
    if most == 0:
        n_failed = sum(round(m.value * m.n) for m in tests.values())
        n = sum(m.n for m in tests.values())
        if n_failed:
            reason = f"{n_failed:,} of {n:,} behaviour tests fail, most of {in_words(name)}"
            return GateResult(NAME, "failed", reason, worst.value, most, None, "")
        return GateResult(NAME, "passed", f"all {n:,} behaviour tests hold", 0.0, most, None, "")
    bounds = {test: rate_bounds(m, alpha) for test, m in tests.items()}
    name = max(tests, key=lambda test: (bounds[test][1], test))
    worst, (_, high) = tests[name], bounds[name]
    seen = f"worst {in_words(name)}: {seen_of(worst)}"
    if high <= most:
        return GateResult(NAME, "passed", f"{seen}; surely at most {high:.3f}", worst.value, most, None, "")
    for test, metric in sorted(tests.items(), key=lambda t: -t[1].value):
        if rate_bounds(metric, alpha / len(tests))[0] > most:
            reason = f"{in_words(test)}: {seen_of(metric)}; surely more than {most:g}"
            return GateResult(NAME, "failed", reason, metric.value, most, None, "")
    more = more_labels_for_rate(worst, most, alpha)
    ask = "" if more is None else f"; about {more:,} more rows of it would probably decide"
    reason = f"{seen} leaves up to {high:.3f}, and {most:g} is asked for{ask}"
    return GateResult(NAME, "insufficient", reason, worst.value, most, None, "")


def in_words(test: str) -> str:
    """
    >>> in_words("negation kind=MFT")
    'negation (MFT)'
    """
    name, _, kind = test.rpartition(" kind=")
    return f"{name} ({kind})"


def seen_of(metric: Metric) -> str:
    return f"{round(metric.value * metric.n):,} of {metric.n:,} rows fail"


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """Nothing: the rows of the team's own tests decide, not labels, and `judge` says how many more rows would."""
    why = "its rows decide, not labels: more rows prove more"
    return foretells_nothing(NAME, alpha, prospect, params["max_rate"], why)


BEHAVIOUR = Gate(
    "of each of your own behaviour tests at most `max_rate` of the rows fail, proven; 0: every row must hold",
    {"max_rate": Parameter(RATE)},
    True,
    always,
    judge,
    foresee,
)
