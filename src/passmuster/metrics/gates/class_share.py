"""`class_share.v1`: no class is surely expected far more, or less, often than it comes, where the live one is right.

A class that came too often in training draws probability from all others, and few answers with it.
"""

from __future__ import annotations

from passmuster.core.ranges import Range
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates.base import Gate, Parameter, Parameters, missing, needs_incumbent
from passmuster.metrics.gates.holding import ALPHA, and_others, class_rows

NAME = "class_share.v1"
ONE = 1.0  # item, added to both sides of a ratio


def judge(report: Report, params: Parameters, alpha: float) -> GateResult:
    """Tests, one per class, share the gate's own `alpha` (Bonferroni); holds where a class is off by a factor.

    What the live release gets wrong by the same factor is not this model's.
    """
    found = class_rows(report, "seen", "expected", "expected_live", "p_expected")
    if found is None:
        return missing(NAME, "how often every class is expected")
    level, most = params["alpha"] / max(1, len(found)), params["max_ratio"]
    off = {name: factor(numbers[1], numbers[0]) for name, numbers in found.items()}
    proven = [
        name for name, (seen, _, live, p) in found.items() if p <= level and off[name] >= most > factor(live, seen)
    ]
    if not proven:
        return GateResult(NAME, "passed", f"no class of {len(found):,} is surely off by {most:g} times", None, most)
    name = max(proven, key=lambda c: (off[c], c))
    seen, expected, live, _ = found[name]
    more = and_others(len(proven) - 1)
    reason = f"“{name}” comes {seen:.0f} times; {expected:.0f} are expected, by the live release {live:.0f}{more}"
    return GateResult(NAME, "failed", reason, off[name], most)


def factor(expected: float, seen: float) -> float:
    """By how many times two numbers differ.

    >>> factor(59.0, 19.0), factor(19.0, 59.0)
    (3.0, 3.0)
    """
    ratio = (expected + ONE) / (seen + ONE)
    return max(ratio, 1 / ratio)


CLASS_SHARE = Gate(
    "no class is surely expected `max_ratio` times as often, or as seldom, as it comes, where the live release is not "
    "as far off",
    {"max_ratio": Parameter(Range(1, low_open=True), 2.0), "alpha": ALPHA},
    False,
    needs_incumbent,
    judge,
)
