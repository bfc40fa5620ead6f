"""What gates share that hold one rate against one bound."""

from __future__ import annotations

import math

from passmuster.core.records import GateResult, Metric
from passmuster.metrics.gates.base import labels_in_words, more_labels_for_rate, rate_bounds


def judge_rate(
    gate: str, metric: Metric, bound: float, alpha: float, seen: str, *, below: bool = False, share: float = 1.0
) -> GateResult:
    """Exact one-sided tests at `alpha`: the rate is at least `bound` to pass, less to fail, else insufficient.

    Parameters
    ----------
    seen : how the reason begins
    below : the rate is to be at most `bound` instead
    share : of test labels, that the rate is of; in (0, 1]

    >>> m = Metric("accuracy", 0.9, 0.769, 0.960, n=40, method="wilson")
    >>> judge_rate("accuracy.v1", m, 0.7, 0.05, "accuracy 0.900 on 40 labels").reason
    'accuracy 0.900 on 40 labels; surely at least 0.786'
    """
    low, high = rate_bounds(metric, alpha)
    value, items = metric.value, metric.items
    if high <= bound if below else low >= bound:
        sure = f"at most {high:.3f}" if below else f"at least {low:.3f}"
        return GateResult(gate, "passed", f"{seen}; surely {sure}", value, bound, None, items)
    if low > bound if below else high < bound:
        sure = f"more than {bound:g}: at least {low:.3f}" if below else f"below {bound:g}: at most {high:.3f}"
        return GateResult(gate, "failed", f"{seen}; surely {sure}", value, bound, None, items)
    n_more = more_labels_for_rate(metric, bound, alpha)
    n_more = None if n_more is None else math.ceil(n_more / share)
    reason = f"{seen} leaves {low:.3f} to {high:.3f}, and {bound:g} lies between; {labels_in_words(n_more)}"
    return GateResult(gate, "insufficient", reason, value, bound, n_more, items)
