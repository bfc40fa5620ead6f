"""What gates share that only hold: they never prove that something is good, so that they spend nothing of `alpha`.

Such a gate fails where harm is proven at its own small `alpha` and is as large as stated; otherwise it passes. A copy
without a fault is therefore stopped with a probability of `alpha` at most, at each look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from passmuster.core.ranges import OPEN_RATE
from passmuster.core.records import Report
from passmuster.metrics.gates.base import Parameter

ALPHA = Parameter(OPEN_RATE, 0.002)


def part_of(report: Report, section: str, key: str) -> Mapping[str, Any] | None:
    """One mapping of a section; None when it is absent or broken."""
    found: Any = report.sections.get(section)
    inner = found.get(key) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else None


def against_live(report: Report, key: str) -> Any:
    """What the comparison with the report's own live release says under `key`; None when it is not there."""
    section: Any = report.sections.get("versions")
    if not isinstance(section, dict) or section.get("incumbent") != report.incumbent:
        return None
    return section.get(key)


def numbers_of(part: Any, *names: str) -> list[float] | None:
    """Finite numbers by name, none negative but where a rise is; None when one is missing."""
    if not isinstance(part, dict):
        return None
    found = [part.get(name) for name in names]
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not math.isfinite(v) for v in found):
        return None
    return [float(v) for v in found if v is not None]


def class_rows(report: Report, *names: str) -> dict[str, list[float]] | None:
    """Numbers of every class in the comparison with the live release, by class; None when any is missing."""
    rows: Any = against_live(report, "classes")
    found = {row["class"]: numbers_of(row, *names) for row in rows or () if isinstance(row, dict)}
    known = {name: numbers for name, numbers in found.items() if numbers is not None}
    return known if found and len(known) == len(found) else None


def and_others(n: int) -> str:
    """How many classes fare like the one that is named: the end of a reason.

    >>> and_others(0), and_others(1), and_others(2)
    ('', ', and 1 more class', ', and 2 more classes')
    """
    return f", and {n:,} more class{'es' if n > 1 else ''}" if n > 0 else ""
