"""`guard.v1`: the guard withholds about as much as the live release's, and still notices what is strange.

A guard whose threshold is wrong changes no answer: it withholds all of them, or none, ever.
"""

from __future__ import annotations

from typing import Any

from passmuster.core.ranges import OPEN_RATE, Range
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, missing, needs_incumbent
from passmuster.metrics.gates.holding import ALPHA, against_live, numbers_of
from passmuster.metrics.regressions import sign_test

NAME = "guard.v1"
READ = ("n", "withheld_more", "withheld_less", "n_strange", "missed", "noticed", "set_size", "set_size_live", "p_size")


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact sign tests, and Student's for set sizes, a third of the gate's own `alpha` each; holds, never proves."""
    found = numbers_of(against_live(report, "guard"), *READ)
    if found is None or not found[0]:
        return missing(NAME, "what the guard withholds")
    n, more, less, n_strange, missed, noticed, size, size_live, p_size = found
    level, most = params["alpha"] / 3, params["max_change"]
    rise, lost = (more - less) / n, (missed - noticed) / max(1.0, n_strange)
    if rise >= most and sign_test(int(more), int(less)) <= level:
        reason = f"{more:,.0f} answers of {n:,.0f} are withheld that the live release gives, and {less:,.0f} given"
        return GateResult(NAME, "failed", f"{reason} that it withholds", rise, most, None, "withheld_more")
    if lost >= most and sign_test(int(missed), int(noticed)) <= level:
        reason = f"{missed:,.0f} of {n_strange:,.0f} scrambled items are no longer noticed as strange"
        return GateResult(NAME, "failed", reason, lost, most)
    if size >= params["max_growth"] * size_live and p_size <= level:
        reason = f"prediction sets hold {size:.1f} classes on average, with the live release {size_live:.1f}"
        reason += "" if fitted(report) else "; they hold every class, because it was imported without --calibrate"
        return GateResult(NAME, "failed", reason, size, params["max_growth"] * size_live)
    seen = f"withheld: {rise:+.3f} of the answers; strange items noticed: {-lost:+.3f}; sets: {size:.2f} classes"
    return GateResult(NAME, "passed", seen, rise, most)


def fitted(report: Report) -> bool:
    """Whether the prediction sets were fitted to labels, which of an imported model they may not be."""
    training: Any = report.sections.get("training")
    imported = training.get("imported") if isinstance(training, dict) else None
    return not isinstance(imported, dict) or bool(imported.get("n_calibration"))


GUARD = Gate(
    "the guard withholds, notices and keeps possible about what the live release's does: shares change by less than "
    "`max_change`, sets grow less than `max_growth` times",
    {"max_change": Parameter(OPEN_RATE, 0.05), "max_growth": Parameter(Range(1, low_open=True), 2.0), "alpha": ALPHA},
    False,
    needs_incumbent,
    judge,
)
