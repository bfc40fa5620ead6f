"""`non_inferiority.v1` and `negative_flips.v1`: the candidate against the live release, on the same items."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from passmuster.core.paired import more_labels_for_non_inferiority, n_for_non_inferiority, non_inferiority
from passmuster.core.ranges import OPEN_RATE, RATE
from passmuster.core.records import GateResult, Metric, Report
from passmuster.metrics.aa_noise import noted
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
from passmuster.metrics.gates.paired_counts import Worth, counts_of, sharper
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate_below, spread
from passmuster.metrics.versions import is_weighed, retrain_words


def judge_non_inferiority(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Passes when a loss of `margin` or more is refuted at `alpha`, fails when any loss is proven at `alpha`.

    Both tests are exact (see `passmuster.core.paired.non_inferiority`). At a loss equal to the margin it passes with
    probability `alpha` at most; at no loss it passes with 80 % where the set is large enough for it.
    """
    name = "non_inferiority.v1"
    counts = counts_of(report)
    if counts is None:
        return missing(name, "the comparison with the live release")
    margin = params["margin"]

    def p_not_worse_of(worth: Worth) -> float:
        n, better = math.floor(worth.n), math.floor(worth.better)  # rounded, and the unknown read, against passing
        worse = math.ceil(worth.worse + worth.unknown)
        return non_inferiority(better, min(worse, n - better), n, margin=margin).p_not_worse

    worth = sharper(report, counts, p_not_worse_of)
    p_not_worse = p_not_worse_of(worth)
    gain = _shown(report, "accuracy_difference", worth, (worth.better - worth.worse) / max(worth.n, 1.0))
    seen = f"{counts['only_incumbent']:,} got worse and {counts['only_candidate']:,} better of {_words(worth, counts)}"
    if not worth.words and is_weighed(counts["only_candidate"] - counts["only_incumbent"], sum(counts.values()), gain):
        seen += f"; weighted by their chances {gain:+.3f}"
    again = _again(report, gain)
    if p_not_worse <= alpha:
        reason = f"{seen}; a loss of {margin:g} or more is refuted (p = {p_not_worse:.2g}){again}"
        return GateResult(name, "passed", reason, gain, -margin, None, "changed")
    better, worse = math.ceil(worth.better + worth.unknown), math.floor(worth.worse)  # all against failing
    n = math.floor(worth.n)
    p_worse = non_inferiority(better, worse, max(n, better + worse), margin=margin).p_worse
    if p_worse <= alpha:
        reason = f"{seen}; it is surely worse than the live release (p = {p_worse:.2g}){again}"
        return GateResult(name, "failed", reason, gain, -margin, None, "changed")
    n_more = more_labels_for_non_inferiority(round(worth.better), round(worth.worse), n, margin=margin, alpha=alpha)
    n_more = None if n_more is None else max(1, math.ceil(n_more * sum(counts.values()) / max(n, 1)))
    if worth.unknown and p_not_worse_of(replace(worth.undecided, unknown=0.0)) <= alpha:
        n_more = math.ceil(worth.unknown)  # those labels alone would tell, if gains and losses are as many
    reason = f"{seen}; a loss of {margin:g} is neither refuted nor shown; {labels_in_words(n_more)}{again}"
    return GateResult(name, "insufficient", reason, gain, -margin, n_more, "changed")


def judge_negative_flips(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact binomial tests at `alpha` of the share of answers that go from right to wrong."""
    name = "negative_flips.v1"
    counts = counts_of(report)
    if counts is None:
        return missing(name, "the comparison with the live release")
    most = params["max_rate"]

    def at_most(worth: Worth) -> float:
        n = math.floor(worth.n_flips)
        return rate_bounds(_rate(min(n, math.ceil(worth.flips + worth.unknown)), n), alpha)[1]

    worth = sharper(report, counts, at_most)
    rate = _shown(report, "negative_flip_rate", worth, worth.flips / max(worth.n_flips, 1.0))
    n, high = math.floor(worth.n_flips), at_most(worth)
    low, _ = rate_bounds(_rate(math.floor(worth.flips), n), alpha)
    n_worse, n_labels = counts["only_incumbent"], sum(counts.values())
    seen = f"{n_worse:,} of {_words(worth, counts)} went from right to wrong"
    if worth.words:
        up_to = f" to {n_worse + worth.n_unlabelled:,}" if worth.n_unlabelled else ""
        seen += f", so {n_worse:,}{up_to} of all {worth.n_items:,}"
    else:
        seen += f"; weighted by their chances {rate:.3f}" if is_weighed(n_worse, n_labels, rate) else f" ({rate:.3f})"
    again = _again(report, rate)
    if high <= most:
        return GateResult(name, "passed", f"{seen}; surely at most {high:.3f}{again}", rate, most, None, "changed")
    if low > most:
        return GateResult(name, "failed", f"{seen}; surely more than {most:g}{again}", rate, most, None, "changed")
    n_more = more_labels_for_rate(_rate(round(worth.flips), n), most, alpha)
    n_more = None if n_more is None else max(1, math.ceil(n_more * sum(counts.values()) / max(n, 1)))
    reason = f"{seen} leaves {low:.3f} to {high:.3f}, and {most:g} lies between; {labels_in_words(n_more)}{again}"
    return GateResult(name, "insufficient", reason, rate, most, n_more, "changed")


def _again(report: Report, difference: float) -> str:
    """The end of a reason: how much of the change is the draw of a seed, and whether the difference may be noise."""
    words = retrain_words(report.sections["versions"])
    return noted(report, difference) + (f"; {words}" if words else "")


def _rate(count: int, n: int) -> Metric:
    return Metric("negative_flip_rate", count / max(n, 1), 0.0, 1.0, n, method="wilson")


def _shown(report: Report, name: str, worth: Worth, of_counts: float) -> float:
    """The estimate as the report shows it; what the counts say where the whole test is read, or it shows none."""
    metric = report.metric(name)
    is_shown = not worth.words and metric is not None and math.isfinite(metric.value)
    return metric.value if metric is not None and is_shown else of_counts


def _words(worth: Worth, counts: Mapping[str, int]) -> str:
    n, n_labels = round(worth.n), sum(counts.values())
    if worth.words:
        return f"{n_labels:,} labelled items ({worth.words})"
    return f"{n_labels:,} labelled items" + ("" if n == n_labels else f" (worth {n:,} drawn at random)")


def foresee_non_inferiority(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The smallest loss that an equally good candidate's labels refute."""
    name, margin, n = "non_inferiority.v1", params["margin"], prospect.n
    if prospect.differ is None:
        return Forecast(name, alpha, n, -margin, None, None, None, "not known: how often the two answer differently")
    differ = prospect.differ
    worst = math.ceil(differ * prospect.n_compared)
    if prospect.n_compared and non_inferiority(0, worst, prospect.n_compared, margin=margin).p_not_worse <= alpha:
        largest = -worst / prospect.n_compared
        reason = f"whatever labels say, no loss of {margin:g} is possible where the two differ on {differ:.1%}"
        return Forecast(name, alpha, n, -margin, largest, largest, 0, reason)

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
    if prospect.differ is not None and prospect.n_compared:
        worst = math.ceil(prospect.differ * prospect.n_compared)
        if rate_bounds(_rate(worst, prospect.n_compared), alpha)[1] <= most:
            reason = f"whatever labels say, no more than {prospect.differ:.1%} flip, where the two differ"
            return Forecast(name, alpha, prospect.n, most, prospect.differ, prospect.differ, 0, reason)
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
