"""The truth of a candidate: the policy's claims as plain numbers on hidden items, each with its standard error.

A claim is broken, or holds, where its number lies at least `SURE` standard errors beyond the margin that the gate
itself has; nearer than that the hidden items cannot tell either, and the truth is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite, sqrt
from typing import Any

from scipy import stats

from passmuster.core.records import Report
from passmuster.metrics.gates.class_share import factor

SURE = 1.96
Excess = tuple[float, float]  # by how much a claim is missed (negative: it holds), and the standard error of that


def truth_of(report: Report, gates: Mapping[str, Mapping[str, float]]) -> tuple[str, list[str], list[str]]:
    """SHIP, HOLD or undecided, the gates whose claim is surely broken, and those of which nobody can tell."""
    found = {gate: [e for e in excesses if isfinite(e[0])] for gate, excesses in claims(report, gates).items()}
    broken = [gate for gate, some in found.items() if any(e > SURE * se for e, se in some)]
    near = [gate for gate, some in found.items() if gate not in broken and any(e > -SURE * se for e, se in some)]
    return ("HOLD" if broken else "undecided" if near else "SHIP"), broken, near


def claims(report: Report, gates: Mapping[str, Mapping[str, float]]) -> dict[str, list[Excess]]:
    """Every claim; those of classes have a number for each class."""
    versions: Any = report.sections["versions"]
    parity, labels, guard = (report.sections["parity"], report.sections["test_labels"], versions["guard"])
    both, gained, lost, wrong = (versions[k] for k in ("both_right", "only_candidate", "only_incumbent", "both_wrong"))
    n = both + gained + lost + wrong
    accuracy, ece = report.metric("accuracy"), report.metric("ece")
    assert accuracy is not None
    assert ece is not None
    right, shift = accuracy.value, rate_error(accuracy.value, n)
    ratio = gates["overconfidence.v1"]["max_ratio"]
    loss, n_guard = versions["log_loss"], guard["n"]
    more, less, size, size_live = (guard[k] for k in ("withheld_more", "withheld_less", "set_size", "set_size_live"))
    return {
        "accuracy.v1": [(gates["accuracy.v1"]["min"] - right, shift)],
        "non_inferiority.v1": [((lost - gained) / n - gates["non_inferiority.v1"]["margin"], sqrt(lost + gained) / n)],
        "calibration.v1": [(ece.value - gates["calibration.v1"]["max_ece"], (ece.high - ece.low) / 2 / SURE)],
        "parity.v1": [
            (gates["parity.v1"]["min_agreement"] - parity["agreement"], rate_error(parity["agreement"], parity["n"]))
        ],
        "score_parity.v1": [(parity["mean_shift"] - gates["score_parity.v1"]["max_shift"], 0.0)],
        "class_loss.v1": [
            (
                (row["worse"] - row["better"]) / row["n"] - gates["class_loss.v1"]["max_loss"],
                sqrt(row["worse"] + row["better"]) / row["n"],
            )
            for row in versions["classes"]
            if row["n"]
        ],
        "class_log_loss.v1": [
            (row["rise"] - gates["class_log_loss.v1"]["max_rise"], error_of_rise(row["rise"], row["p_rise"], row["n"]))
            for row in versions["classes"]
            if row["n"]
        ],
        "class_share.v1": [
            (
                factor(row["expected"], row["seen"]) - gates["class_share.v1"]["max_ratio"],
                factor(row["expected"], row["seen"]) / sqrt(1 + min(row["expected"], row["seen"])),
            )
            for row in versions["classes"]
            if factor(row["expected_live"], row["seen"]) < gates["class_share.v1"]["max_ratio"]
        ],
        "class_found.v1": [
            (gates["class_found.v1"]["min"] - m.value, rate_error(m.value, m.n))
            for m in report.metrics
            if m.name == "recall" and m.n
        ],
        "log_loss.v1": [(loss["rise"] - gates["log_loss.v1"]["max_rise"], error_of_rise(loss["rise"], loss["p"], n))],
        "overconfidence.v1": [(1 - right - ratio * (1 - labels["confidence"]), shift)],
        "guard.v1": [
            ((more - less) / n_guard - gates["guard.v1"]["max_change"], sqrt(more + less) / n_guard),
            (size - 2 * size_live, size_live / sqrt(n)),  # a set's size spreads about as far as it is large
        ],
    }


def rate_error(rate: float, n: int) -> float:
    """Standard error of a share."""
    return sqrt(max(0.0, rate * (1 - rate)) / n) if n else inf


def error_of_rise(rise: float, p: float, n: int) -> float:
    """Standard error of a mean whose one-sided test gave `p`; where that tells nothing, one nat an item."""
    score = float(stats.norm.isf(p))
    return abs(rise / score) if abs(score) > 0.1 else 1 / sqrt(n)
