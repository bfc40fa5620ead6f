"""`expected_cost.v1`, `cost_non_inferiority.v1`: the price of an answer by the policy's matrix, and of the live one.

Costs lie between 0 and the largest that the matrix holds. Bounds are those of a coin that costs the largest or nothing
with the same mean (Clopper and Pearson 1934, with a count that need not be whole): of all costs in that range it varies
most, so that a dear mistake that was not seen yet is allowed for.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from passmuster.core.distributions import binomial_ppf
from passmuster.core.label_sets import MULTI
from passmuster.core.ranges import NOT_NEGATIVE, POSITIVE
from passmuster.core.records import GateResult, Metric, Report
from passmuster.core.statistics import MAX_MORE, smallest
from passmuster.metrics.aa_noise import noted
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    exact_bounds,
    is_measured,
    labels_in_words,
    missing,
    more_labels_for_rate,
    more_labels_for_width,
    needs_incumbent,
    rate_bounds,
)
from passmuster.metrics.gates.prospect import Forecast, Price, Prospect, forecast_rate_below, foretells_nothing, spread

NAME, AGAINST_LIVE = "expected_cost.v1", "cost_non_inferiority.v1"


def needs_one_class(report: Report, params: Parameters) -> str:
    """The `applies` of a gate about costs, which are of one class taken for another."""
    return "costs are of one class taken for another, and items carry sets of classes here" * (report.task == MULTI)


def needs_both(report: Report, params: Parameters) -> str:
    return needs_one_class(report, params) or needs_incumbent(report, params)


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact one-sided tests at `alpha`: of a mean cost above `max` to pass, of at most `max` to fail."""
    metric, largest = report.metric("expected_cost"), largest_of(report)
    if not is_measured(metric) or largest is None:
        return missing(NAME, "what an answer costs ([policy.costs] in muster.toml)")
    most = params["max"]
    low, high = bounds(metric, largest, alpha)
    seen = f"an answer costs {metric.value:.3g} on {metric.n:,} labels{dearer_than_constant(report)}"
    if high <= most:
        return GateResult(NAME, "passed", f"{seen}; surely at most {high:.3g}", metric.value, most, None, metric.items)
    if low > most:
        reason = f"{seen}; surely more than {most:g}: at least {low:.3g}"
        return GateResult(NAME, "failed", reason, metric.value, most, None, metric.items)
    n_more = more_labels_for_rate(scaled(metric, largest), most / largest, alpha) if most > 0 else None
    reason = f"{seen} leaves {low:.3g} to {high:.3g}, and {most:g} lies between; {labels_in_words(n_more)}"
    return GateResult(NAME, "insufficient", reason, metric.value, most, n_more, metric.items)


def dearer_than_constant(report: Report) -> str:
    """A remark where always saying one class, or never answering, is shown to cost less; "" elsewhere."""
    prefix = "against=constant="
    found = next((m for m in report.metrics if m.name == "cost_difference" and m.slice.startswith(prefix)), None)
    if found is None or not found.low > 0:
        return ""
    said = found.slice.removeprefix(prefix)
    way = "never answering" if said == "withheld" else f"always saying “{said}”"
    span = f"{found.low:.2g} to {found.high:.2g} at {found.level:.0%}"
    return f", surely more than {way} would: by {found.value:.3g} ({span})"


def judge_against_live(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Passes when costing `margin` more than the live release is refuted, fails when costing more at all is proven.

    What is added on some items and saved on others are bounded apart, each at half of `alpha`.
    """
    added, saved = (report.metric(name, "against=live") for name in ("cost_added", "cost_saved"))
    largest = largest_of(report)
    section: Any = report.sections.get("versions")
    same = isinstance(section, dict) and section.get("incumbent") == report.incumbent
    if not is_measured(added) or not is_measured(saved) or largest is None or not same:
        return missing(AGAINST_LIVE, "what an answer costs more than the live release's ([policy.costs])")
    margin = params["margin"]
    (added_low, added_high), (saved_low, saved_high) = (bounds(m, largest, alpha / 2) for m in (added, saved))
    more, low, high = added.value - saved.value, added_low - saved_high, added_high - saved_low
    seen = f"an answer costs {more:+.3g} against the live release's on {added.n:,} labels"
    changed = len(section.get("changed") or ()) / max(1, section.get("n") or 0)
    noise = noted(report, changed) if more else ""
    seen += f" ({noise.removeprefix('; ')}, in decisions that change)" if noise else ""
    if high <= margin:
        reason = f"{seen}; surely at most {high:+.3g}"
        return GateResult(AGAINST_LIVE, "passed", reason, more, margin, None, added.items)
    if low > 0:
        return GateResult(AGAINST_LIVE, "failed", f"{seen}; it surely costs more", more, margin, None, added.items)
    n_more = more_labels_for_width(more, high, margin, added.n) if more < margin else None
    reason = f"{seen} leaves {low:+.3g} to {high:+.3g}; {margin:g} more is neither refuted nor shown"
    reason += f"; {labels_in_words(n_more)}"
    return GateResult(AGAINST_LIVE, "insufficient", reason, more, margin, n_more, added.items)


def largest_of(report: Report) -> float | None:
    """The most that one answer can cost; None where the report does not say."""
    section: Any = report.sections.get("costs")
    found: Any = section.get("largest") if isinstance(section, dict) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        return None
    return float(found) if found > 0 else None


def scaled(metric: Metric, largest: float) -> Metric:
    """A mean cost as a rate of the largest."""
    return replace(metric, value=metric.value / largest, low=metric.low / largest, high=metric.high / largest)


def bounds(metric: Metric, largest: float, alpha: float) -> tuple[float, float]:
    """One-sided bounds of a mean cost, each missed with probability `alpha` at most."""
    low, high = rate_bounds(scaled(metric, largest), alpha)
    return low * largest, high * largest


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The largest mean cost that passes; if every wrong answer costs the same, what is assumed of accuracy says it."""
    most, price = params["max"], prospect.price
    if price is None:
        return foretells_nothing(NAME, alpha, prospect, most, "not known: what an answer costs ([policy.costs])")
    known = prospect.accuracy is not None and price.wrong is not None
    assumed = (1 - (prospect.accuracy or 0.0)) * (price.wrong or 0.0) if known else None
    return forecast_rate_below(
        NAME, most, prospect, alpha, power, what="a mean cost", assumed=assumed, unit=price.largest
    )


def foresee_against_live(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The smallest rise in cost that an equally dear candidate's labels refute.

    Where the two answer differently, half of the answers are assumed to be dearer and half cheaper, by what a wrong one
    costs; both counts are taken where they lie worse with a chance of half of what may miss.
    """
    name, margin, price, n = AGAINST_LIVE, params["margin"], prospect.price, prospect.n_effective
    if price is None or price.wrong is None or prospect.differ is None:
        return foretells_nothing(name, alpha, prospect, margin, f"not known: {unknown_of(price, prospect)}")
    rate, misses = prospect.differ / 2 * price.wrong / price.largest, (1 - power) / 2

    def refuted(n: int) -> float:
        if n < 1:
            return math.inf
        added, saved = binomial_ppf(1 - misses, n, rate), binomial_ppf(misses, n, rate)
        return price.largest * (exact_bounds(added / n, n, alpha / 2)[1] - exact_bounds(saved / n, n, alpha / 2)[0])

    found = refuted(n)
    detectable = found if found < price.largest else None
    n_needed = spread(smallest(lambda m: refuted(m) <= margin, MAX_MORE), prospect.design_effect)
    reason = "no rise can be refuted" if detectable is None else f"a rise of {found:.3g} or more would be refuted"
    many = "no number of labels does" if n_needed is None else f"about {n_needed:,} labels"
    end = f"; {margin:g} needs {many} if the two are equally dear and differ on {prospect.differ:.1%}"
    return Forecast(name, alpha, prospect.n, margin, detectable, 0.0, n_needed, reason + end)


def unknown_of(price: Price | None, prospect: Prospect) -> str:
    """What of the two that a forecast of costs needs is not known.

    >>> unknown_of(Price(5.0, None), Prospect(100, differ=0.14))
    'what a wrong answer costs, because mistakes cost differently by class'
    """
    lacks = [] if prospect.differ is not None else ["how often the two answer differently"]
    if price is None:
        lacks.append("what an answer costs ([policy.costs])")
    elif price.wrong is None:
        lacks.append("what a wrong answer costs, because mistakes cost differently by class")
    return " and ".join(lacks)


EXPECTED_COST = Gate(
    "an answer costs at most `max` on average, by the policy's own costs, proven",
    {"max": Parameter(NOT_NEGATIVE)},
    True,
    needs_one_class,
    judge,
    foresee,
)
COST_NON_INFERIORITY = Gate(
    "an answer costs less than `margin` more than the live release's, proven on the same items",
    {"margin": Parameter(POSITIVE)},
    True,
    needs_both,
    judge_against_live,
    foresee_against_live,
)
