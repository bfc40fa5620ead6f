"""`class_log_loss.v1`: in no class does the truth get surely less probability than by the live release.

Half of a class's labels may have been guessed when the model learnt, and no answer to a test item be another. Classes
have few items each and share one level, so it is larger than that of other gates that only hold; and so is the rise.
"""

from __future__ import annotations

from passmuster.core.ranges import OPEN_RATE, POSITIVE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, missing, needs_incumbent
from passmuster.metrics.gates.holding import and_others, class_rows

NAME = "class_log_loss.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Signed ranks, one test per class, sharing the gate's own `alpha` (Bonferroni); the rise as large as stated."""
    found = class_rows(report, "n", "rise", "p_rise")
    if found is None:
        return missing(NAME, "the log-loss of every class against the live release")
    counts = {name: numbers for name, numbers in found.items() if numbers[0] > 0}
    level, most = params["alpha"] / max(1, len(counts)), params["max_rise"]
    proven = {name: rise for name, (_, rise, p) in counts.items() if rise >= most and p <= level}
    if not proven:
        return GateResult(NAME, "passed", f"no class of {len(counts):,} surely loses {most:g} nats", None, most)
    name = max(proven, key=lambda c: (proven[c], c))
    more = and_others(len(proven) - 1)
    seen = f"“{name}”: log-loss is {proven[name]:+.2f} nats from the live release's on its {counts[name][0]:.0f} cases"
    return GateResult(NAME, "failed", f"{seen}{more}; surely worse (p = {counts[name][2]:.2g})", proven[name], most)


CLASS_LOG_LOSS = Gate(
    "in no class does log-loss surely rise by `max_rise` nats or more against the live release",
    {"max_rise": Parameter(POSITIVE, 0.5), "alpha": Parameter(OPEN_RATE, 0.005)},
    False,
    needs_incumbent,
    judge,
)
