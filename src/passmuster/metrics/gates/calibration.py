"""`calibration.v1`: the expected calibration error is at most `max_ece`, proven."""

from __future__ import annotations

import math

from passmuster.core.ranges import RATE
from passmuster.core.records import GateResult, Report
from passmuster.core.statistics import MAX_MORE, smallest
from passmuster.metrics.calibration import N_BINS
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    always,
    effective_n,
    exact_bounds,
    is_measured,
    labels_in_words,
    missing,
    more_labels_for_width,
    rescaled,
)
from passmuster.metrics.gates.prospect import Forecast, Prospect, needs, spread

NAME = "calibration.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Passes when the upper bound is at most `max_ece`, fails when the lower bound, less its bias, is above.

    The bootstrap of an ECE says too little on few items: five right answers at confidence .99 have an ECE of .01 and no
    spread. ECE is never below the gap between mean confidence and accuracy (Jensen), and accuracy itself is known only
    to an exact half-width, so that is the least width on either side. Downwards the estimate is biased too: a perfectly
    calibrated model shows about ``sqrt(2 p (1 - p) bins / (pi n))`` (half-normal mean of each bin's error; the bias is
    that of Roelofs et al. 2022), taken off before it can fail. Both take the `n` of accuracy in items of their own,
    where items share clusters or have weights.
    """
    ece, accuracy = report.metric("ece"), report.metric("accuracy")
    if not is_measured(ece) or not is_measured(accuracy):
        return missing(NAME, "calibration error")
    most = params["max_ece"]
    low, high = rescaled(ece, alpha)
    n = max(1.0, min(float(ece.n), effective_n(accuracy)))
    high = max(high, ece.value + spread_of_accuracy(accuracy.value, n, alpha))
    low = min(low, ece.value - max(abs(end - accuracy.value) for end in exact_bounds(accuracy.value, n, alpha)))
    bias = shown_by_chance(accuracy.value, n)
    seen = f"calibration error {ece.value:.3f} on {ece.n:,} labels"
    if high <= most:
        return GateResult(NAME, "passed", f"{seen}; at most {high:.3f}", ece.value, most, None, ece.items)
    if low - bias > most:
        reason = f"{seen}; at least {low - bias:.3f}"
        return GateResult(NAME, "failed", reason, ece.value, most, None, ece.items)
    far, middle = (high, ece.value) if ece.value <= most else (low - bias, ece.value)
    n_more = more_labels_for_width(middle, far, most, ece.n)
    reason = f"{seen} leaves {max(0.0, low - bias):.3f} to {min(1.0, high):.3f}; {labels_in_words(n_more)}"
    return GateResult(NAME, "insufficient", reason, ece.value, most, n_more, ece.items)


def spread_of_accuracy(accuracy: float, n: float, alpha: float) -> float:
    """Exact half-width of a rate; below one half that of one half, so that it never shrinks as rates fall."""
    rate = max(accuracy, 0.5)
    low, _ = exact_bounds(rate, n, alpha)
    return rate - low


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The largest measured error that passes; even a perfect model shows one, which is what is assumed."""
    most, rate = params["max_ece"], 0.8 if prospect.accuracy is None else prospect.accuracy

    def room(n: int) -> float:
        return most - spread_of_accuracy(rate, n, alpha) if n else -1.0

    def works(n: int) -> bool:
        return room(n) >= shown_by_chance(rate, n) if n else False

    found = room(prospect.n_effective)
    detectable = found if found >= 0 else None
    n_needed = spread(smallest(works, MAX_MORE), prospect.design_effect)
    n = prospect.n
    reason = (
        f"a measured error of at most {found:.3f} would pass" if found >= 0 else f"nothing can pass on {n:,} labels"
    )
    return Forecast(NAME, alpha, n, most, detectable, 0.0, n_needed, f"{reason}{needs(n_needed, 0.0, most)}")


def shown_by_chance(accuracy: float, n: float) -> float:
    """The calibration error that a perfectly calibrated model shows on n labels."""
    return math.sqrt(2 / math.pi * accuracy * (1 - accuracy) * N_BINS / n)


CALIBRATION = Gate(
    "the calibration error is at most `max_ece`, proven", {"max_ece": Parameter(RATE)}, True, always, judge, foresee
)
