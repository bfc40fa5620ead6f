"""`parity.v1`: what is served answers as what was trained, on the user's own items."""

from __future__ import annotations

from typing import Any

from passmuster.core.ranges import COUNT, RATE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, missing

NAME = "parity.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Reads the share of equal answers on at least `min_items` items; a fact, so `alpha` is not spent."""
    section: Any = report.sections.get("parity")
    if not isinstance(section, dict) or not section.get("n") or section.get("agreement") is None:
        return missing(NAME, "agreement with the trained model")
    n, agreement, least = int(section["n"]), float(section["agreement"]), params["min_agreement"]
    seen = f"{agreement:.4f} of the answers on {n:,} items are those of the trained model"
    if not agreement >= least:
        return GateResult(NAME, "failed", seen, agreement, least)
    if n < params["min_items"]:
        reason = f"{seen}; at least {params['min_items']:g} items are needed to tell: add items and train again"
        return GateResult(NAME, "insufficient", reason, agreement, least)
    return GateResult(NAME, "passed", seen, agreement, least)


PARITY = Gate(
    "the served graph gives at least a share `min_agreement` of the trained model's answers",
    {"min_agreement": Parameter(RATE), "min_items": Parameter(COUNT, 20)},
    False,
    always,
    judge,
)
