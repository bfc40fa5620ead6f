"""`score_parity.v1`: what is served is as sure of its answers as what was trained, on the user's own items.

`parity.v1` compares answers; a lost temperature or a coarse quantisation changes what is said of their certainty first.
"""

from __future__ import annotations

from passmuster.core.ranges import RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, missing
from passmuster.metrics.gates.holding import numbers_of

NAME = "score_parity.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Reads the mean over items of the largest change of any class's probability; a fact, so `alpha` is not spent.

    Against the trained model in float32, a lower precision may change some; against what training packed, engine and
    precision included, next to nothing, where training wrote that down: twice what another batch changes, and a little.
    """
    section = report.sections.get("parity")
    found = numbers_of(section, "n", "mean_shift")
    if found is None or not found[0]:
        return missing(NAME, "how sure the trained model was")
    packed, noise = numbers_of(section, "n_packed", "packed_shift"), numbers_of(section, "batch_shift") or [0.0]
    if packed is not None and packed[1] > params["max_packed_shift"] + 2 * noise[0]:
        seen = f"probabilities are {packed[1]:.4f} from those of the model as training packed it"
        reason = f"{seen}, on {packed[0]:,.0f} items"
        return GateResult(NAME, "failed", reason, packed[1], params["max_packed_shift"])
    (n, shift), most = found, params["max_shift"]
    seen = f"probabilities are {shift:.4f} from those of the trained model on average, on {n:,.0f} items"
    return GateResult(NAME, "passed" if shift <= most else "failed", seen, shift, most)


SCORE_PARITY = Gate(
    "the served probabilities are on average within `max_shift` of the trained model's, and within `max_packed_shift` "
    "of those that training packed",
    {"max_shift": Parameter(RATE, 0.02), "max_packed_shift": Parameter(RATE, 0.001)},
    False,
    always,
    judge,
)
