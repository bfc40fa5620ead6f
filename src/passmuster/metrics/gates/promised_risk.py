"""`promised_risk.v1`: answers above the threshold of the guard are wrong about as rarely as it promises, proven.

The threshold was chosen on labels that training held out, with the confidence that the policy names; the test took no
part in it. A risk that is met exactly cannot be proven, so that `max_ratio` times as much is allowed.
"""

from __future__ import annotations

import math

from passmuster.core.ranges import Range
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import (
    Gate,
    Parameter,
    Parameters,
    is_measured,
    labels_in_words,
    missing,
)
from passmuster.metrics.gates.holding import numbers_of
from passmuster.metrics.gates.one_rate import judge_rate
from passmuster.metrics.gates.prospect import Forecast, Prospect, forecast_rate_below, foretells_nothing

NAME = "promised_risk.v1"
MOST = 0.999  # a risk that is no promise at all


def promises(report: Report, params: Parameters) -> str:
    """The `applies` of a gate about a promise: the policy may ask for none."""
    asked = numbers_of(report.sections.get("promised_risk"), "max_risk")
    return "this bundle promises no risk: policy.guard.max_risk was 0 when it was trained" if asked == [0.0] else ""


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact one-sided binomial tests at `alpha`, of a risk above `max_ratio` times the promised one, and of at most it.

    Only answers above the threshold tell. Where no threshold kept the risk in training, all are withheld, and nothing
    is shown: the gate is insufficient, because training labels, not test labels, are what is missing.
    """
    section, risk = report.sections.get("promised_risk"), report.metric("promised_risk")
    asked, share = numbers_of(section, "max_risk"), report.metric("promised_share")
    if asked is None or risk is None or not is_measured(share) or not isinstance(section, dict):
        return missing(NAME, "how often answers at the promised risk are wrong")
    most = bound_of(asked[0], params)
    if not section.get("reached"):
        words = "no threshold kept the promised risk in training, so every answer is withheld; label more for training"
        return GateResult(NAME, "insufficient", words, None, most)
    if not risk.n:
        n_more = None if share.value <= 0 else math.ceil(math.log(alpha) / math.log1p(-most) / share.value)
        reason = f"on this test no answer is as sure as the promise asks; {labels_in_words(n_more)}"
        return GateResult(NAME, "insufficient", reason, None, most, n_more, share.items)
    if not is_measured(risk):
        return missing(NAME, "how often answers at the promised risk are wrong")
    seen = f"{risk.value:.3f} of {risk.n:,} answers at the promised risk of {asked[0]:g} are wrong"
    return judge_rate(NAME, risk, most, alpha, seen, below=True, share=share.value)


def bound_of(max_risk: float, params: Parameters) -> float:
    """The risk that the gate lets pass."""
    return min(MOST, max_risk * params["max_ratio"])


def foresee(params: Parameters, prospect: Prospect, alpha: float, power: float) -> Forecast:
    """The largest risk that passes; as many answers are given, and as many wrong, as where it was promised."""
    told = prospect.promise
    if told is None or not told.share:
        why = "not known: how many answers are given at the promised risk"
        return foretells_nothing(NAME, alpha, prospect, 0.0, why)
    most = bound_of(told.max_risk, params)
    return forecast_rate_below(NAME, most, prospect, alpha, power, what="a risk", assumed=told.risk, share=told.share)


PROMISED_RISK = Gate(
    "answers above the guard's threshold are wrong at most `max_ratio` times as often as it promises "
    "(`policy.guard.max_risk`), proven",
    {"max_ratio": Parameter(Range(1), 1.5)},
    True,
    promises,
    judge,
    foresee,
)
