"""`class_loss.v1`: no class is surely found less often than by the live release.

A margin on the headline lets a fault through that ruins one class of eighty. This looks at each class for itself.
"""

from __future__ import annotations

import math

from passmuster.core.ranges import OPEN_RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.aa_noise import noted
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, missing, needs_incumbent
from passmuster.metrics.gates.holding import ALPHA, and_others, class_rows
from passmuster.metrics.regressions import sign_test

NAME = "class_loss.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact one-sided sign tests, one per class, sharing the gate's own `alpha` (Bonferroni); holds, never proves."""
    found = class_rows(report, "n", "worse", "better")
    if found is None:
        return missing(NAME, "the comparison of every class with the live release")
    counts = {name: numbers for name, numbers in found.items() if numbers[0] > 0}
    level, most = params["alpha"] / max(1, len(counts)), params["max_loss"]
    losses = {name: (worse - better) / n for name, (n, worse, better) in counts.items()}
    told = {name: (worse, better) for name, (_, worse, better) in counts.items()}
    # Where labels were drawn with unequal chances; reports from before have the counts alone.
    for name, (loss, worse, better) in (class_rows(report, "loss", "worth_worse", "worth_better") or {}).items():
        if name in counts:
            losses[name], told[name] = loss, (worse, better)
    proven = [
        name
        for name, (worse, better) in told.items()  # rounded against holding
        if losses[name] >= most and sign_test(math.floor(worse + 1e-9), math.ceil(better - 1e-9)) <= level
    ]
    if not proven:
        return GateResult(NAME, "passed", f"no class of {len(counts):,} is surely worse by {most:g}", None, most)
    name = max(proven, key=lambda c: (losses[c], c))
    n, worse, better = counts[name]
    more = and_others(len(proven) - 1)
    seen = f"“{name}”: {worse:.0f} of its {n:.0f} cases got worse and {better:.0f} better{more}"
    noise = noted(report, (worse - better) / max(1.0, float(report.sections["versions"].get("n") or 0)))
    reason = f"{seen}; surely worse than the live release{noise}"
    return GateResult(NAME, "failed", reason, losses[name], most, None, "changed")


CLASS_LOSS = Gate(
    "no class surely loses `max_loss` or more of its cases against the live release",
    {"max_loss": Parameter(OPEN_RATE, 0.05), "alpha": ALPHA},
    False,
    needs_incumbent,
    judge,
)
