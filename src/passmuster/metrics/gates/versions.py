"""`non_inferiority.v1` and `negative_flips.v1`: the candidate against the live release, on the same items."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from passmuster.core.paired import more_labels_for_non_inferiority, n_for_non_inferiority, non_inferiority
from passmuster.core.ranges import OPEN_RATE, RATE
from passmuster.core.records import GateResult, Metric, Report
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    labels_in_words,
    missing,
    more_labels_for_rate,
    needs_incumbent,
    rate_bounds,
)
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate_below, spread
from passmuster.metrics.versions import retrain_words

COUNTS = ("both_right", "only_candidate", "only_incumbent", "both_wrong")


def judge_non_inferiority(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Passes when a loss of `margin` or more is refuted at `alpha`, fails when any loss is proven at `alpha`.

    Both tests are exact (see `passmuster.core.paired.non_inferiority`). At a loss equal to the margin it passes with
    probability `alpha` at most; at no loss it passes with 80 % where the set is large enough for it.
    """
    name = "non_inferiority.v1"
    counts = counts_of(report)
    if counts is None:
        return missing(name, "the comparison with the live release")
    worth = worth_of(report, counts)
    margin = params["margin"]
    n, better, worse = math.floor(worth.n), math.floor(worth.better), math.ceil(worth.worse)  # rounded against passing
    p_not_worse = non_inferiority(better, min(worse, n - better), n, margin=margin).p_not_worse
    loss = (worth.worse - worth.better) / max(worth.n, 1.0)
    seen = f"{counts['only_incumbent']:,} got worse and {counts['only_candidate']:,} better of {_words(worth, counts)}"
    again = _again(report)
    if p_not_worse <= alpha:
        reason = f"{seen}; a loss of {margin:g} or more is refuted (p = {p_not_worse:.2g}){again}"
        return GateResult(name, "passed", reason, -loss, -margin, None, "changed")
    better, worse = math.ceil(worth.better), math.floor(worth.worse)  # rounded against failing
    p_worse = non_inferiority(better, worse, max(n, better + worse), margin=margin).p_worse
    if p_worse <= alpha:
        reason = f"{seen}; it is surely worse than the live release (p = {p_worse:.2g}){again}"
        return GateResult(name, "failed", reason, -loss, -margin, None, "changed")
    n_more = more_labels_for_non_inferiority(round(worth.better), round(worth.worse), n, margin=margin, alpha=alpha)
    n_more = None if n_more is None else max(1, math.ceil(n_more * sum(counts.values()) / max(n, 1)))
    reason = f"{seen}; a loss of {margin:g} is neither refuted nor shown; {labels_in_words(n_more)}{again}"
    return GateResult(name, "insufficient", reason, -loss, -margin, n_more, "changed")


def judge_negative_flips(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact binomial tests at `alpha` of the share of answers that go from right to wrong."""
    name = "negative_flips.v1"
    counts = counts_of(report)
    if counts is None:
        return missing(name, "the comparison with the live release")
    worth, most = worth_of(report, counts), params["max_rate"]
    n, rate = math.floor(worth.n_flips), worth.flips / max(worth.n_flips, 1.0)
    low, _ = rate_bounds(_rate(math.floor(worth.flips), n), alpha)
    _, high = rate_bounds(_rate(min(n, math.ceil(worth.flips)), n), alpha)
    seen = f"{counts['only_incumbent']:,} of {_words(worth, counts)} went from right to wrong ({rate:.3f})"
    again = _again(report)
    if high <= most:
        return GateResult(name, "passed", f"{seen}; surely at most {high:.3f}{again}", rate, most, None, "changed")
    if low > most:
        return GateResult(name, "failed", f"{seen}; surely more than {most:g}{again}", rate, most, None, "changed")
    n_more = more_labels_for_rate(_rate(round(worth.flips), n), most, alpha)
    n_more = None if n_more is None else max(1, math.ceil(n_more * sum(counts.values()) / max(n, 1)))
    reason = f"{seen} leaves {low:.3f} to {high:.3f}, and {most:g} lies between; {labels_in_words(n_more)}{again}"
    return GateResult(name, "insufficient", reason, rate, most, n_more, "changed")


@dataclass(frozen=True)
class Worth:
    """The paired counts in items that tell as much as one: those of the difference, and those of negative flips."""

    n: float
    better: float
    worse: float
    n_flips: float
    flips: float


def worth_of(report: Report, counts: Mapping[str, int]) -> Worth:
    """The counts as they are, or what drawn, weighted or clustered ones are worth.

    `metrics.versions.worth_of_disagreements` and `worth_of_pairs` say how; a broken entry counts as no labels, so that
    nothing passes.
    """
    given: Any = report.sections["versions"].get("worth")
    if given is None:
        n_all, n_worse = sum(counts.values()), counts["only_incumbent"]
        return Worth(n_all, counts["only_candidate"], n_worse, n_all, n_worse)
    read = given if isinstance(given, dict) else {}
    n, better, worse = (_number(read.get(key)) for key in ("n", "only_candidate", "only_incumbent"))
    n_flips, flips = _number(read.get("n_flips", n)), _number(read.get("flips", worse))
    fits = better + worse <= n + 1e-9 and flips <= n_flips + 1e-9
    whole = min(n, better, worse, n_flips, flips) >= 0
    return Worth(n, better, worse, n_flips, flips) if fits and whole else Worth(0, 0, 0, 0, 0)


def _again(report: Report) -> str:
    """The end of a reason: how much of the change is the draw of a seed."""
    words = retrain_words(report.sections["versions"])
    return f"; {words}" if words else ""


def _number(value: Any) -> float:
    """A finite number, else -1."""
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_one else -1.0


def _rate(count: int, n: int) -> Metric:
    return Metric("negative_flip_rate", count / max(n, 1), 0.0, 1.0, n, method="wilson")


def _words(worth: Worth, counts: Mapping[str, int]) -> str:
    n, n_labels = round(worth.n), sum(counts.values())
    return f"{n_labels:,} answers" if n == n_labels else f"{n_labels:,} answers (worth {n:,} drawn at random)"


def counts_of(report: Report) -> dict[str, int] | None:
    """The four counts of the paired comparison; None when absent, broken, or of another release than the report's."""
    section: Any = report.sections.get("versions")
    if not isinstance(section, dict) or section.get("incumbent") != report.incumbent:
        return None
    counts = {key: section.get(key) for key in COUNTS}
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 0 for value in counts.values()):
        return None
    whole = {key: int(value) for key, value in counts.items() if value is not None}
    return whole if sum(whole.values()) > 0 else None


def foresee_non_inferiority(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The smallest loss that an equally good candidate's labels refute."""
    name, margin, n = "non_inferiority.v1", params["margin"], prospect.n
    if prospect.differ is None:
        return Forecast(name, alpha, n, -margin, None, None, None, "not known: how often the two answer differently")
    differ = prospect.differ

    def needed(loss: float) -> int:
        return n_for_non_inferiority(differ, loss, alpha=alpha, power=power)

    steps = [step / 1_000 for step in range(1, 1_000)]
    found = next((loss for loss in steps if needed(loss) <= prospect.n_effective), None)
    n_needed = spread(needed(margin), prospect.design_effect)
    least = None if found is None else -found
    reason = "no loss can be refuted" if found is None else f"a loss of {found:.3f} or more would be refuted"
    end = f"; {margin:g} needs about {n_needed:,} labels if the two are equally good and differ on {differ:.1%}"
    return Forecast(name, alpha, n, -margin, least, 0.0, n_needed, reason + end)


def foresee_negative_flips(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The largest share of negative flips that passes; if the two are equally good, half of what differs flips so."""
    name, most = "negative_flips.v1", params["max_rate"]
    assumed = None if prospect.differ is None else prospect.differ / 2
    return forecast_rate_below(name, most, prospect, alpha, power, what="a true share", assumed=assumed)


NON_INFERIORITY = Gate(
    "accuracy is less than `margin` below the live release's, proven on the same items",
    {"margin": Parameter(OPEN_RATE)},
    True,
    needs_incumbent,
    judge_non_inferiority,
    foresee_non_inferiority,
)
NEGATIVE_FLIPS = Gate(
    "at most a share `max_rate` of answers goes from right to wrong, proven",
    {"max_rate": Parameter(RATE)},
    True,
    needs_incumbent,
    judge_negative_flips,
    foresee_negative_flips,
)
