"""`leakage.v1`: at most `max_twins` test items have a copy among the training items."""

from __future__ import annotations

from typing import Any

from passmuster.core.ranges import NOT_NEGATIVE
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, missing

NAME = "leakage.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Counts the distinct test items with a twin in training; a fact, so `alpha` is not spent."""
    data: Any = report.sections.get("data")
    pairs = data.get("leakage") if isinstance(data, dict) else None
    if not isinstance(pairs, (list, tuple)):
        return missing(NAME, "leakage from training into the test")
    most = params["max_twins"]
    n_twins = len({pair_key(pair, "test") for pair in pairs})
    if n_twins <= most:
        return GateResult(NAME, "passed", f"{n_twins} test items have a twin in training", n_twins, most)
    shown = "; ".join(in_words(pair) for pair in pairs[:3])
    more = f" and {len(pairs) - 3:,} more" if len(pairs) > 3 else ""
    reason = f"{n_twins:,} test items have a twin in training: {shown}{more}"
    return GateResult(NAME, "failed", reason, n_twins, most, None, "leakage")


def pair_key(pair: Any, side: str) -> str:
    """The item on one side, "train" or "test", of a pair given as ``{"train", "test"}`` or ``[train, test]``."""
    return str(pair[side] if isinstance(pair, dict) else pair[("train", "test").index(side)])


def in_words(pair: Any) -> str:
    """A pair of keys, shortened."""
    return f"{pair_key(pair, 'test')[:8]} = {pair_key(pair, 'train')[:8]}"


LEAKAGE = Gate(
    "at most `max_twins` test items have a copy among the training items",
    {"max_twins": Parameter(NOT_NEGATIVE)},
    False,
    always,
    judge,
)
