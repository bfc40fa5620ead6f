"""The attacks on a release made once more, with its items, seed and sizes of change, beside what was signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from passmuster.core.codec import from_plain
from passmuster.core.paired import paired_difference
from passmuster.core.records import Report
from passmuster.stages.release.signature import REPORT

State = Literal["passed", "failed", "insufficient", "not applicable", "warning"]


def attacked_report(folder: Path) -> Report | None:
    """The report in a bundle's folder, where items were attacked for it."""
    report = from_plain(Report, json.loads((folder / REPORT).read_bytes()))
    return report if report.sections.get("attacks", {}).get("n") else None


def attacks_held(before: Report, now: Report) -> tuple[State, str]:
    """Whether as many of the items stand as when the release was signed, and how many do not.

    "failed" where at some size of change fewer are shown to stand (Tango's interval of the paired difference lies below
    0), "warning" where any item fell that stood, "insufficient" where an attack could not be made.
    """
    then, today = before.sections["attacks"], now.sections.get("attacks", {})
    if not today.get("n"):
        return "insufficient", f"the attacks could not be made again: {today.get('why', 'none can be made here')}"
    made = {attack["name"]: attack["left_out"] for attack in today["attacks"]}
    for attack in then["attacks"]:
        missing = made.get(attack["name"], today["not_loaded"].get(attack["name"], "it is not known here"))
        if not attack["left_out"] and missing:
            return "insufficient", f"{attack['name']} was made for the report and not now: {missing}"
    state: State = "passed"
    words = []
    both = set(before.item_sets["attacked"]) & set(now.item_sets["attacked"])
    sizes = {row["strength"] for row in then["rows"]} & {row["strength"] for row in today["rows"]}
    for size in sorted(sizes):
        fell_then, fell_now = (
            both & set(report.item_sets.get(f"attacked strength={size:g}", ())) for report in (before, now)
        )
        if not fell_now - fell_then:
            continue
        change = paired_difference(len(fell_then - fell_now), len(fell_now - fell_then), len(both))
        state = "failed" if change.high < 0 or state == "failed" else "warning"
        words.append(
            f"at {size:g}, {len(both) - len(fell_then)} of {len(both)} stood and {len(both) - len(fell_now)} do"
        )
    said = "; ".join(words) or f"of {len(both)} attacked again, none fell that stood when the release was signed"
    lost = then["n"] - len(both)
    return state, f"{said} ({lost} without a label now)" if lost else said
