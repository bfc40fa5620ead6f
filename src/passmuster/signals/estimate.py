"""Estimated accuracy of recent answers, block by block, without labels: it asks for labels where it looks too low.

A block of answers has one estimate with an interval (`passmuster.signals.label_free`), and is looked at once. The
signal fires when the interval's upper end lies below the bound: the release's accuracy less the rise in errors worth an
alarm, or the policy's own bound, if higher. The level is chosen so that this signal keeps its share of the declared
rate of false alarms: a block of b answers is allowed an error of b over what is declared, and as errors of blocks add
up however they hang together, false alarms among N answers are at most N over what is declared, in the mean. That holds
as far as the interval covers what it says; `bench/labelfree.py` says how far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from passmuster.core.config import WatchPolicy
from passmuster.core.statistics import Interval
from passmuster.signals.label_free import AccuracyEstimator
from passmuster.signals.label_free_seen import features_of_answer

NAME = "estimate.v1"
LARGEST_ERROR = 0.25  # of a block, where few observations between false alarms are declared
SHOWN_LEVEL = 0.9  # of the interval that people are shown


@dataclass(frozen=True)
class Estimating:
    """Estimates after `n_seen` answers; `sums` (f,) are of the block begun, `latest` is what the last whole one said.

    `level` is that of the interval whose upper end, `highest`, is held against `bound`.
    """

    estimator: AccuracyEstimator
    bound: float
    level: float
    block: int
    declared_between: float
    sums: tuple[float, ...]
    n_seen: int = 0
    latest: Interval | None = None
    highest: float = 1.0
    fired: bool = False


def start_estimating(
    estimator: AccuracyEstimator, policy: WatchPolicy, least: float | None, n_signals: int
) -> Estimating | None:
    """Estimates of a release that have seen nothing; None where the policy wants none.

    `least` is the accuracy that the policy asks for, if any; it counts where the test showed as much. The declared
    number of observations between false alarms is shared by `n_signals` signals.
    """
    if not policy.estimated_answers:
        return None
    between = policy.mean_observations_between_false_alarms * n_signals
    error = min(LARGEST_ERROR, policy.estimated_answers / between)
    bound = estimator.accuracy - policy.smallest_error_increase
    if least is not None and least <= estimator.accuracy:
        bound = max(bound, least)
    nothing = (0.0,) * len(estimator.names)
    return Estimating(estimator, bound, 1 - 2 * error, policy.estimated_answers, between, nothing)


def see(state: Estimating, probability: float, novelty: float) -> Estimating:
    """The estimates after one more answer. Once fired they go on, and stay fired."""
    features = features_of_answer(state.estimator, probability, novelty)
    sums = tuple(a + b for a, b in zip(state.sums, features, strict=True))
    n_seen = state.n_seen + 1
    if n_seen % state.block:
        return replace(state, sums=sums, n_seen=n_seen)
    means = [total / state.block for total in sums]
    latest = state.estimator.estimate(means, state.block, level=SHOWN_LEVEL)
    highest = state.estimator.estimate(means, state.block, level=state.level).high
    fired = state.fired or highest < state.bound
    return replace(state, sums=(0.0,) * len(sums), n_seen=n_seen, latest=latest, highest=highest, fired=fired)
