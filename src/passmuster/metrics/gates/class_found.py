"""`class_found.v1`: no class is surely missed most of the time.

`worst_class.v1` asks for proof that every class is found, which takes labels of every class. This one asks for nothing
and holds only where a class is proven to be lost: its name exchanged with another's, or left out of training.
"""

from __future__ import annotations

from typing import Any

from passmuster.core.ranges import OPEN_RATE
from passmuster.core.records import GateResult, Metric, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, always, is_measured, missing, rate_bounds
from passmuster.metrics.gates.holding import and_others

NAME = "class_found.v1"


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Exact upper bounds of every class's recall, sharing the gate's own `alpha` (Bonferroni); holds, never proves.

    Two classes that are mostly taken for each other are also judged together: exchanged names show so with half of the
    cases. The first half of `alpha` is for single classes, the other for pairs.
    """
    recalls = {name: report.metric("recall", f"class={name}") for name in report.classes}
    found = {name: metric for name, metric in recalls.items() if metric is not None and metric.n > 0}
    if not found or not all(is_measured(metric) for metric in found.values()):
        return missing(NAME, "recall of any class")
    least, level = params["min"], params["alpha"] / 2 / len(found)
    highs = {name: rate_bounds(metric, level)[1] for name, metric in found.items()}
    lost = sorted((name for name in found if highs[name] < least), key=lambda c: (found[c].value, c))
    if not lost and (pair := exchanged(report, least, params["alpha"] / 2)):
        a, b, right, n = pair
        reason = f"“{a}” and “{b}” are taken for each other: {right:,} of their {n:,} cases are found"
        return GateResult(NAME, "failed", reason, right / n, least, None, f"label={a} predicted={b}")
    if not lost:
        return GateResult(NAME, "passed", f"no class of {len(found):,} is surely found less often", None, least)
    name, metric = lost[0], found[lost[0]]
    more = and_others(len(lost) - 1)
    reason = (
        f"“{name}” is found in {metric.value:.3f} of its {metric.n:,} cases; surely at most {highs[name]:.3f}{more}"
    )
    return GateResult(NAME, "failed", reason, metric.value, least, None, metric.items)


def exchanged(report: Report, least: float, alpha: float) -> tuple[str, str, int, int] | None:
    """Two classes, most cases of each taken for the other, whose recall together is surely below `least`.

    Returns their names, how many of their cases are found, and how many there are.
    """
    section: Any = report.sections.get("confusion")
    cells = {(int(i), int(j)): int(n) for i, j, n in section.get("cells", ())} if isinstance(section, dict) else {}
    totals: dict[int, int] = {}
    for (i, _), n in cells.items():
        totals[i] = totals.get(i, 0) + n
    n_pairs = max(1, len(totals) * (len(totals) - 1) // 2)
    for (i, j), n in sorted(cells.items()):
        if i < j and 2 * n > totals[i] and 2 * cells.get((j, i), 0) > totals.get(j, 0) > 0:
            right, total = cells.get((i, i), 0) + cells.get((j, j), 0), totals[i] + totals[j]
            metric = Metric("recall", right / total, 0.0, 1.0, total, method="wilson")
            if rate_bounds(metric, alpha / n_pairs)[1] < least:
                return report.classes[i], report.classes[j], right, total
    return None


CLASS_FOUND = Gate(
    "no class is surely found in less than `min` of its cases",
    {"min": Parameter(OPEN_RATE, 0.4), "alpha": Parameter(OPEN_RATE, 0.005)},
    False,
    always,
    judge,
)
