"""`non_inferiority.v1` and `negative_flips.v1`: the candidate against the live release, on the same items."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from passmuster.core.paired import more_labels_for_non_inferiority, non_inferiority
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
    n, better, worse = worth_of(report, counts)
    margin = params["margin"]
    test = non_inferiority(better, worse, n, margin=margin)
    loss = (worse - better) / max(n, 1)
    seen = f"{worse:,} got worse and {better:,} better of {_words(n, counts)}"
    if test.p_not_worse <= alpha:
        reason = f"{seen}; a loss of {margin:g} or more is refuted (p = {test.p_not_worse:.2g})"
        return GateResult(name, "passed", reason, -loss, -margin, None, "changed")
    if test.p_worse <= alpha:
        reason = f"{seen}; it is surely worse than the live release (p = {test.p_worse:.2g})"
        return GateResult(name, "failed", reason, -loss, -margin, None, "changed")
    n_more = more_labels_for_non_inferiority(better, worse, n, margin=margin, alpha=alpha)
    n_more = None if n_more is None else max(1, math.ceil(n_more * sum(counts.values()) / max(n, 1)))
    reason = f"{seen}; a loss of {margin:g} is neither refuted nor shown; {labels_in_words(n_more)}"
    return GateResult(name, "insufficient", reason, -loss, -margin, n_more, "changed")


def judge_negative_flips(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact binomial tests at `alpha` of the share of answers that go from right to wrong."""
    name = "negative_flips.v1"
    counts = counts_of(report)
    if counts is None:
        return missing(name, "the comparison with the live release")
    (n, _, worse), most = worth_of(report, counts), params["max_rate"]
    rate = worse / max(n, 1)
    metric = Metric("negative_flip_rate", rate, 0.0, 1.0, n, method="wilson")
    low, high = rate_bounds(metric, alpha)
    seen = f"{worse:,} of {_words(n, counts)} went from right to wrong ({rate:.3f})"
    if high <= most:
        return GateResult(name, "passed", f"{seen}; surely at most {high:.3f}", rate, most, None, "changed")
    if low > most:
        return GateResult(name, "failed", f"{seen}; surely more than {most:g}", rate, most, None, "changed")
    n_more = more_labels_for_rate(metric, most, alpha)
    n_more = None if n_more is None else max(1, math.ceil(n_more * sum(counts.values()) / max(n, 1)))
    reason = f"{seen} leaves {low:.3f} to {high:.3f}, and {most:g} lies between; {labels_in_words(n_more)}"
    return GateResult(name, "insufficient", reason, rate, most, n_more, "changed")


def worth_of(report: Report, counts: Mapping[str, int]) -> tuple[int, int, int]:
    """Items, answers that got better and that got worse, in random labels: as counted, or what drawn ones are worth.

    `metrics.versions.worth_of_disagreements` says how; a broken entry counts as no labels, so that nothing passes.
    """
    worth: Any = report.sections["versions"].get("worth")
    if worth is None:
        return sum(counts.values()), counts["only_candidate"], counts["only_incumbent"]
    found = [worth.get(key) if isinstance(worth, dict) else None for key in ("n", "only_candidate", "only_incumbent")]
    whole = [value for value in found if isinstance(value, int) and not isinstance(value, bool) and value >= 0]
    n, better, worse = whole if len(whole) == 3 else (0, 0, 0)
    return (n, better, worse) if better + worse <= n else (0, 0, 0)


def _words(n: int, counts: Mapping[str, int]) -> str:
    n_labels = sum(counts.values())
    return f"{n:,} answers" if n == n_labels else f"{n:,} answers, which {n_labels:,} chosen labels are worth,"


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


NON_INFERIORITY = Gate(
    "accuracy is less than `margin` below the live release's, proven on the same items",
    {"margin": Parameter(OPEN_RATE)},
    True,
    needs_incumbent,
    judge_non_inferiority,
)
NEGATIVE_FLIPS = Gate(
    "at most a share `max_rate` of answers goes from right to wrong, proven",
    {"max_rate": Parameter(RATE)},
    True,
    needs_incumbent,
    judge_negative_flips,
)
