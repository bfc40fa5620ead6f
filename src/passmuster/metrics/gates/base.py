"""What a gate is, and the bounds that gates share.

A gate that claims something of a population passes when the claim is proven at level `alpha`, fails when its opposite
is, and is insufficient between the two. A gate whose metric is missing fails: what was not measured proves nothing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from passmuster.core.distributions import (
    beta_isf,
    beta_ppf,
    binomial_cdf,
    binomial_ppf,
    binomial_sf,
    normal_isf,
    normal_ppf,
)
from passmuster.core.errors import UsageError
from passmuster.core.ranges import Range
from passmuster.core.records import GateResult, Metric, Report
from passmuster.core.statistics import MAX_MORE, smallest

if TYPE_CHECKING:
    from passmuster.metrics.gates.prospect import Forecast, Prospect

Parameters = Mapping[str, float]

POWER = 0.8  # chance with which the labels asked for are to decide
FEWEST = 1e-6  # effective labels
UNMEASURED = "was not measured, and a gate without its metric holds"  # how such a reason ends
UNTOLD = "cannot be told: the live release does not open"  # how such a reason begins
POWERED = "prediction-powered"  # how the method of an interval begins that may be worth more labels than it has


@dataclass(frozen=True)
class Parameter:
    """A number of a gate: where it may lie, and what it is when the policy does not name it; None: it must."""

    allowed: Range
    default: float | None = None


@dataclass(frozen=True)
class Gate:
    """One rule.

    Parameters
    ----------
    summary : what it asks for, in one sentence
    parameters : by name
    statistical : whether it spends part of the policy's `alpha`; others read a fact
    applies : "" when it applies to a report, else the reason why it does not
    judge : report, parameters and level to a result; called only where it applies
    foresee : parameters, what is known before the test is opened, level and power to what can be told; None: nothing
    """

    summary: str
    parameters: Mapping[str, Parameter]
    statistical: bool
    applies: Callable[[Report, Parameters], str]
    judge: Callable[[Report, Parameters, float], GateResult]
    foresee: Callable[[Parameters, Prospect, float, float], Forecast] | None = None


def always(report: Report, params: Parameters) -> str:
    """The `applies` of a gate that needs nothing but a report."""
    return ""


def needs_incumbent(report: Report, params: Parameters) -> str:
    """The `applies` of a gate that compares with the live release."""
    return "" if report.incumbent else "there is no live release to compare with yet"


def read_parameters(name: str, gate: Gate, given: Mapping[str, Any]) -> dict[str, float]:
    """The policy's numbers for one gate over its defaults.

    Raises
    ------
    UsageError
        ``policy.parameter`` for one that is unknown, missing, not a number or out of its range.
    """
    for key, value in given.items():
        if key not in gate.parameters:
            near = difflib.get_close_matches(key, list(gate.parameters), n=1)
            raise UsageError(
                "policy.parameter",
                f"gate {name} has no parameter {key!r}",
                limit=", ".join(gate.parameters),
                where=f"[policy.gates] {name}",
                next=f"use {near[0]!r}" if near else None,
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UsageError("policy.parameter", f"{key} must be a number", value=value, where=f"[policy.gates] {name}")
        if not gate.parameters[key].allowed.holds(value):
            raise UsageError(
                "policy.parameter", f"{key} is out of range", value=value, limit=gate.parameters[key].allowed,
                where=f"[policy.gates] {name}",
            )  # fmt: skip
    merged = {**{key: parameter.default for key, parameter in gate.parameters.items()}, **given}
    missing = [key for key, value in merged.items() if value is None]
    if missing:
        raise UsageError("policy.parameter", f"gate {name} needs {', '.join(missing)}", where=f"[policy.gates] {name}")
    return {key: float(value) for key, value in merged.items() if value is not None}


def missing(gate: str, what: str) -> GateResult:
    """The answer of a gate that applies but has nothing to judge."""
    return GateResult(gate, "failed", f"{what} {UNMEASURED}")


def is_measured(metric: Metric | None) -> TypeGuard[Metric]:
    """Whether there is a number at all: of at least one item, and finite."""
    return metric is not None and metric.n > 0 and all(map(math.isfinite, (metric.value, metric.low, metric.high)))


def rescaled(metric: Metric, alpha: float) -> tuple[float, float]:
    """One-sided bounds at `alpha`, each, of a metric whose interval was made at another level, as if it were normal.

    >>> m = Metric("ece", 0.1, 0.1 - 1.96 * 0.01, 0.1 + 1.96 * 0.01, n=400)
    >>> [round(b, 4) for b in rescaled(m, 0.05)]
    [0.0836, 0.1164]
    """
    factor = normal_isf(alpha) / normal_isf((1 - metric.level) / 2)
    return metric.value - factor * (metric.value - metric.low), metric.value + factor * (metric.high - metric.value)


def labels_in_words(n_more: int | None) -> str:
    """How many more labels would decide, as the end of a reason."""
    if n_more is None:
        return "the observed value lies too close to the bound for labels to decide"
    return f"about {n_more:,} more test labels would probably decide"


def rate_bounds(metric: Metric, alpha: float) -> tuple[float, float]:
    """Exact one-sided bounds of a rate, each missed with probability `alpha` at most (Clopper and Pearson 1934).

    Weighted or clustered rates count with their effective number of items (Korn and Graubard 1998).

    >>> low, high = rate_bounds(Metric("accuracy", 0.9, 0.769, 0.960, n=40, method="wilson"), 0.05)
    >>> round(low, 3), round(high, 3)
    (0.786, 0.965)
    """
    return exact_bounds(metric.value, effective_n(metric), alpha)


def exact_bounds(rate: float, n: float, alpha: float) -> tuple[float, float]:
    """One-sided bounds of a rate of `n` items, which need not be whole (Clopper and Pearson 1934).

    >>> [round(bound, 3) for bound in exact_bounds(0.9, 40, 0.05)]
    [0.786, 0.965]
    """
    n_right = rate * n
    low = 0.0 if n_right <= 0 else beta_ppf(alpha, n_right, n - n_right + 1)
    high = 1.0 if n_right >= n else beta_isf(alpha, n_right + 1, n - n_right)
    return low, high


def effective_n(metric: Metric) -> float:
    """How many independent items of equal weight would give this rate's Wilson interval.

    At most `n`, except where predictions stand in for labels: there forty labels can be worth eighty.

    >>> from passmuster.core.statistics import wilson
    >>> found = wilson(36.5, 42.25)
    >>> metric = Metric("accuracy", found.value, found.low, found.high, n=60, method="wilson, weighted")
    >>> round(effective_n(metric), 2)
    42.25
    """
    if metric.method in ("wilson", "clopper-pearson"):
        return float(metric.n)
    most = float(MAX_MORE) if metric.method.startswith(POWERED) else float(metric.n)
    # Wilson's interval is 2 z sqrt(n p q + z^2 / 4) / (n + z^2) wide: a quadratic equation in n.
    z2, width2 = normal_ppf(0.5 + metric.level / 2) ** 2, (metric.high - metric.low) ** 2
    if width2 <= 0 or width2 >= 1:
        return most if width2 <= 0 else FEWEST
    half = z2 * (2 * metric.value * (1 - metric.value) / width2 - 1)
    found = half + math.sqrt(max(0.0, half**2 + z2**2 * (1 / width2 - 1)))
    return min(most, max(FEWEST, found))


def more_labels_for_rate(
    metric: Metric, bound: float, alpha: float, *, rate: float | None = None, max_more: int = MAX_MORE
) -> int | None:
    """How many further labels would probably settle, by the exact test, whether a rate lies above or below `bound`.

    The smallest number with which that happens with probability `POWER`, if what was seen is kept and what comes has
    `rate`; by default ``(right + 1) / (n + 2)`` (Laplace's, so that a perfect start promises nothing). None: more than
    `max_more` labels of that worth, that is, the rate lies too near the bound.

    >>> more_labels_for_rate(Metric("accuracy", 0.9, 0.769, 0.960, n=40, method="wilson"), 0.8, 0.05)
    66
    """
    n = effective_n(metric)
    n_seen, n_right = round(n), round(metric.value * n)
    to_come = (n_right + 1) / (n_seen + 2) if rate is None else rate

    def settles(more: int) -> bool:
        total = n_seen + more
        above, below = binomial_ppf(1 - alpha, total, bound) + 1, binomial_ppf(alpha, total, bound) - 1
        chance = binomial_sf(above - n_right - 1, more, to_come) + binomial_cdf(below - n_right, more, to_come)
        return more > 0 and float(chance) >= POWER

    found = smallest(settles, max_more)
    return None if found is None else math.ceil(found * metric.n / max(n, 1e-9))


def fewest_perfect(least: float, alpha: float) -> int | None:
    """How many cases, all of them right, prove at `alpha` that a rate is at least `least`; None where none do.

    >>> fewest_perfect(0.5, 0.01), fewest_perfect(1.0, 0.01)
    (7, None)
    """
    return math.ceil(math.log(alpha) / math.log(least)) if 0 < least < 1 else None


def more_labels_for_width(value: float, far: float, bound: float, n: int) -> int | None:
    """Further labels after which an interval's end, now at `far`, would reach `bound`: widths shrink as ``1/sqrt(n)``.

    >>> more_labels_for_width(0.05, 0.25, 0.15, 100)
    300
    """
    room = abs(bound - value)
    if room < 1e-9 or (far - value) * (bound - value) <= 0:
        return None
    n_more = math.ceil(n * ((far - value) / room) ** 2 - 1e-9) - n
    return max(1, n_more) if n_more <= MAX_MORE else None
