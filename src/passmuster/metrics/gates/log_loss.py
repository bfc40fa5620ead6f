"""`log_loss.v1`: the truth is given about as much probability as by the live release.

A model that is far too sure or far too unsure answers as often right; log-loss sees it, and needs no bins.
"""

from __future__ import annotations

from passmuster.core.ranges import POSITIVE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, missing, needs_incumbent
from passmuster.metrics.gates.holding import ALPHA, against_live, numbers_of

NAME = "log_loss.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Student's paired test at the gate's own `alpha`, and the rise as large as stated; holds, never proves."""
    found = numbers_of(against_live(report, "log_loss"), "n", "rise", "p")
    if found is None or not found[0]:
        return missing(NAME, "log-loss against the live release")
    (n, rise, p), most = found, params["max_rise"]
    seen = f"log-loss is {rise:+.3f} nats from the live release's on {n:,.0f} labels"
    if rise >= most and p <= params["alpha"]:
        return GateResult(NAME, "failed", f"{seen}; surely worse (p = {p:.2g})", rise, most)
    return GateResult(NAME, "passed", seen, rise, most)


LOG_LOSS = Gate(
    "log-loss does not surely rise by `max_rise` nats or more against the live release",
    {"max_rise": Parameter(POSITIVE, 0.05), "alpha": ALPHA},
    False,
    needs_incumbent,
    judge,
)
