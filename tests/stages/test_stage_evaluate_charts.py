"""Charts are drawn without a check of each part, and look as if every part had been checked."""

from __future__ import annotations

import re
from typing import Any, cast

from passmuster.stages.evaluate.page import charts

BINS = [
    {"confidence": 0.3 + 0.2 * i, "accuracy": {"value": 0.25 + 0.2 * i, "low": 0.1 * i, "high": 0.9, "n": 10 + i}}
    for i in range(3)
]
CURVE = {"coverage": [0.25, 0.5, 0.75, 1.0], "risk": [0.0, 0.02, 0.05, 0.1]}


def without_numbers_of_parts(svg: str) -> str:
    """Parts are numbered through one process."""
    return re.sub(r"(clip|gradient_|view_)\d+", r"\1", svg)


def test_unchecked_charts_are_those_that_checks_let_pass() -> None:
    for draw, told in ((charts.reliability_chart, BINS), (charts.risk_coverage_chart, CURVE)):
        checked = cast(Any, draw).__wrapped__(told)
        assert checked.startswith("<svg")
        assert without_numbers_of_parts(draw(cast(Any, told))) == without_numbers_of_parts(checked)
