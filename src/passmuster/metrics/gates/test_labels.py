"""`test_labels.v1`: the labelled test items look like what the model will meet, and not like its own answers.

Evidence can be spoilt too: by labels that the model gave itself, by choosing what is easy, by leaving out a class or
what is hard to tell.
"""

from __future__ import annotations

import math
from typing import Any

from passmuster.core.ranges import OPEN_RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, missing
from passmuster.metrics.gates.holding import ALPHA, numbers_of
from passmuster.metrics.nonresponse import marked_more

NAME = "test_labels.v1"
N_TESTS = 3  # which share the gate's `alpha`
FAINT = 1e-3  # log-chance of no mistake in the whole test below which no number of labels is named
FEWEST_PASSED = 3  # one item that nobody can tell is no sign of anything, however few were drawn
LEFT_OUT = ("n_drawn", "n_left", "share", "n_marked_left", "n_marked_told", "p", "n_passed", "passed_share")


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Three tests that share the gate's own `alpha`, and one with `alpha_left_out`; they never prove.

    That every answer is right though the model doubted some; that it is surer of the labelled test items than of the
    unlabelled rest (Mann and Whitney 1947); that a class which it expects has no case: each holds. That what was drawn
    and has no label is `max_left_out` of the draw at least, and was not left out by lot, or was passed over while later
    items were labelled, three at least (`metrics/nonresponse.py`): insufficient, because labels for it would tell, also
    where a class has no case for that reason.
    """
    section: Any = report.sections.get("test_labels")
    found = numbers_of(section, "n", "n_wrong", "log_chance", "confidence", "confidence_rest", "n_rest", "p_easier")
    absent = section.get("absent") if isinstance(section, dict) else None
    if found is None or not found[0] or not isinstance(absent, (list, tuple)):
        return missing(NAME, "whether the test labels can be what they seem")
    n, n_wrong, log_chance, sure, sure_rest, n_rest, p_easier = found
    level = params["alpha"] / N_TESTS
    if not n_wrong and log_chance <= math.log(level):
        reason = f"all {n:,.0f} test labels agree with the model, even where it doubts: are they its own answers?"
        return GateResult(NAME, "failed", reason, math.exp(log_chance), level)
    if sure - sure_rest >= params["max_gap"] and p_easier <= level:
        reason = (
            f"the model is {sure:.3f} sure of the labelled test items and {sure_rest:.3f} of the {n_rest:,.0f} "
            "unlabelled ones: were the easy ones labelled?"
        )
        return GateResult(NAME, "failed", reason, sure - sure_rest, params["max_gap"])
    if (missed := numbers_of(section.get("left_out"), *LEFT_OUT)) is not None:
        n_drawn, n_left, share, n_marked_left, n_marked_told, p, n_passed, passed_share = missed
        if share >= params["max_left_out"] and p <= params["alpha_left_out"]:
            which = marked_more(str(section["left_out"].get("mark")), n_left, n_drawn, n_marked_left, n_marked_told)
            reason = (
                f"{n_left:,.0f} of {n_drawn:,.0f} items drawn for the test have no label, and not by lot: {which}; "
                "what is labelled does not speak for them"
            )
            return GateResult(NAME, "insufficient", reason, share, params["max_left_out"], math.ceil(n_left))
        if passed_share >= params["max_left_out"] and n_passed >= FEWEST_PASSED:
            reason = (
                f"{n_passed:,.0f} of {n_drawn:,.0f} items drawn for the test were passed over, and later ones "
                "labelled; what is labelled does not speak for them"
            )
            return GateResult(NAME, "insufficient", reason, passed_share, params["max_left_out"], math.ceil(n_passed))
    if gone := [row for row in absent if isinstance(row, dict) and float(row.get("p", 1.0)) <= level]:
        row = gone[0]
        reason = (
            f"“{row.get('class')}” has no case among {n:,.0f} test labels, and about {row.get('expected'):.0f} were due"
        )
        return GateResult(NAME, "failed", reason, 0.0, None)
    return GateResult(NAME, "passed", f"{n:,.0f} test labels look like what the model meets", None, None)


def labels_that_would_tell(report: Report, params: Parameters) -> int | None:
    """About how many test labels, all of them the model's own answers, would not be taken for anything else.

    None where some contradict it, or its doubt is too small for any number to tell.
    """
    found = numbers_of(report.sections.get("test_labels"), "n", "n_wrong", "log_chance")
    if found is None or found[1] or not found[2] < -FAINT:
        return None
    n, _, log_chance = found
    return math.ceil(n * math.log(params["alpha"] / N_TESTS) / log_chance)


TEST_LABELS = Gate(
    "test labels are not the model's own answers, not only the easy items, and leave out no class, nor what is hard",
    {
        "max_gap": Parameter(OPEN_RATE, 0.03),
        "max_left_out": Parameter(OPEN_RATE, 0.05),
        "alpha_left_out": Parameter(OPEN_RATE, 0.01),
        "alpha": ALPHA,
    },
    False,
    always,
    judge,
)
