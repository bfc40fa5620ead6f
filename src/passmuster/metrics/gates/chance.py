"""The chance that so many more labels decide a gate that is still open."""

from __future__ import annotations

from passmuster.core.distributions import binomial_cdf, binomial_isf, binomial_ppf, binomial_sf
from passmuster.core.records import Metric
from passmuster.metrics.gates.base import effective_n


def chance_to_settle(metric: Metric, bound: float, alpha: float, n_more: int) -> float:
    """The chance, in [0, 1], that `n_more` labels settle by the exact test whether a rate lies above or below `bound`.

    What was seen is kept and what comes has the rate ``(right + 1) / (n + 2)``, as in
    `passmuster.metrics.gates.base.more_labels_for_rate`, whose answer is the number at which this reaches its power.

    >>> m = Metric("accuracy", 0.9, 0.769, 0.960, n=40, method="wilson")
    >>> chance_to_settle(m, 0.8, 0.05, 66) >= 0.8 > chance_to_settle(m, 0.8, 0.05, 24) > 0.4
    True
    """
    if n_more < 1:
        return 0.0
    share = effective_n(metric) / max(metric.n, 1)
    n_seen = round(effective_n(metric))
    more = max(1, round(n_more * share))
    n_right = round(metric.value * n_seen)
    to_come = (n_right + 1) / (n_seen + 2)
    total = n_seen + more
    above, below = binomial_isf(alpha, total, bound) + 1, binomial_ppf(alpha, total, bound) - 1
    return float(binomial_sf(above - n_right - 1, more, to_come) + binomial_cdf(below - n_right, more, to_come))
