"""`test_labels.v1`: the labelled test items look like what the model will meet, and not like its own answers.

Evidence can be spoilt too: by labels that the model gave itself, by choosing what is easy, by leaving a class out.
"""

from __future__ import annotations

import math
from typing import Any

from passmuster.core.ranges import OPEN_RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, missing
from passmuster.metrics.gates.holding import ALPHA, numbers_of

NAME = "test_labels.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Three tests that share the gate's own `alpha`; holds, never proves.

    That every answer is right though the model doubted some; that it is surer of the labelled test items than of the
    unlabelled rest (Mann and Whitney 1947); that a class which it expects has no case.
    """
    section: Any = report.sections.get("test_labels")
    found = numbers_of(section, "n", "n_wrong", "log_chance", "confidence", "confidence_rest", "n_rest", "p_easier")
    absent = section.get("absent") if isinstance(section, dict) else None
    if found is None or not found[0] or not isinstance(absent, (list, tuple)):
        return missing(NAME, "whether the test labels can be what they seem")
    n, n_wrong, log_chance, sure, sure_rest, n_rest, p_easier = found
    level = params["alpha"] / 3
    if not n_wrong and log_chance <= math.log(level):
        reason = f"all {n:,.0f} test labels agree with the model, even where it doubts: are they its own answers?"
        return GateResult(NAME, "failed", reason, math.exp(log_chance), level)
    if sure - sure_rest >= params["max_gap"] and p_easier <= level:
        reason = (
            f"the model is {sure:.3f} sure of the labelled test items and {sure_rest:.3f} of the {n_rest:,.0f} "
            "unlabelled ones: were the easy ones labelled?"
        )
        return GateResult(NAME, "failed", reason, sure - sure_rest, params["max_gap"])
    if gone := [row for row in absent if isinstance(row, dict) and float(row.get("p", 1.0)) <= level]:
        row = gone[0]
        reason = (
            f"“{row.get('class')}” has no case among {n:,.0f} test labels, and about {row.get('expected'):.0f} were due"
        )
        return GateResult(NAME, "failed", reason, 0.0, None)
    return GateResult(NAME, "passed", f"{n:,.0f} test labels look like what the model meets", None, None)


TEST_LABELS = Gate(
    "test labels are not the model's own answers, not only the easy items, and leave no class out",
    {"max_gap": Parameter(OPEN_RATE, 0.03), "alpha": ALPHA},
    False,
    always,
    judge,
)
