"""What was found of sets of strange items, in words: which is told worst, and by what the others are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from passmuster.stages.evaluate.novel_items import UNNAMED
from passmuster.stages.evaluate.words import percent


def set_name(one: Mapping[str, Any]) -> str:
    """
    >>> set_name({"set": "near"}), set_name({"set": "novel"}), set_name({"set": "classes left out"})
    ('near', 'the items named', 'classes left out')
    """
    return "the items named" if one.get("set", UNNAMED) == UNNAMED else str(one["set"])


def own_areas(section: Mapping[str, Any]) -> list[tuple[float, str]]:
    """AUROC of the guard's own detector and the name of the set, the worst first."""
    found = []
    for one in section.get("sets") or [section]:
        own = next((row for row in one["rows"] if row["detector"] == section.get("guard")), None)
        if own and own["auroc"]["value"] is not None:
            found.append((float(own["auroc"]["value"]), set_name(one)))
    return sorted(found)


def worst_words(section: Mapping[str, Any]) -> str:
    """Which set the guard's own detector tells worst, beside the best told.

    >>> row = lambda area: [{"detector": "knn.v1", "auroc": {"value": area}}]
    >>> sets = [{"set": "near", "rows": row(0.71)}, {"set": "far", "rows": row(0.99)}]
    >>> worst_words({"guard": "knn.v1", "sets": sets})
    'Of 2 kinds of strange items its guard tells near worst (AUROC 0.710), far best (0.990).'
    """
    areas = own_areas(section)
    if len(areas) < 2:
        return str(section["said"])
    (low, worst), (high, best) = areas[0], areas[-1]
    return (
        f"Of {len(areas)} kinds of strange items its guard tells {worst} worst (AUROC {low:.3f}), {best} best "
        f"({high:.3f})."
    )


def novelty_lines(section: Mapping[str, Any]) -> Iterator[str]:
    """For the terminal: of each set the guard's own detector, and the best where that is another."""
    sets = section.get("sets") or [section]
    for one in sets:
        rows = sorted(one["rows"], key=lambda row: -row["auroc"]["value"])
        own = [row for row in rows if row["detector"] == section.get("guard")]
        for row in own + [row for row in rows[:1] if row not in own]:
            which = "" if row in own else ", the best here"
            called = one.get("flagged") if row in own else None
            flagged = f"; {percent(called['value'])} called novel" if called else ""
            yield (
                f"novelty, {row['detector']}{which} ({said_of(one)}): AUROC {row['auroc']['value']:.3f}, "
                f"FPR95 {percent(row['fpr95']['value'])} (ordinary as positive: "
                f"{percent(row['fpr95_ordinary_positive']['value'])}){flagged}"
            )
    if len(own_areas(section)) > 1:
        yield f"  {worst_words(section)}"


def said_of(one: Mapping[str, Any]) -> str:
    """
    >>> said_of({"set": "near", "setting": "named"}), said_of({"setting": "classes left out"})
    ('near', 'classes left out')
    """
    return str(one["set"]) if one["setting"] == "named" and one.get("set", UNNAMED) != UNNAMED else str(one["setting"])
