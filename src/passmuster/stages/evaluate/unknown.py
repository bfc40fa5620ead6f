"""What the report cannot say, in plain words, and what would let it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passmuster.core.records import Item, Metric
from passmuster.core.statistics import detectable_drop
from passmuster.metrics.nonresponse import marked_more
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.stages.evaluate.draft import Draft, Evidence
from passmuster.stages.evaluate.groups import groups_not_known
from passmuster.stages.evaluate.words import count, points, some

ONE_CLASS = "All test labels are of one class: whether the model tells classes apart was not tested."
FEW = 10  # labelled test items below which little is said of a class
NOT_BY_LOT = 0.01  # chance below which it is said


def not_known(draft: Draft, evidence: Evidence, metrics: dict[tuple[str, str], Metric], incumbent: str) -> list[str]:
    """What this report cannot say, and what would let it."""
    headline = metrics["accuracy", ""]
    drop = detectable_drop(headline.value, headline.n)
    lines = [
        f"Small changes: with {count(headline.n, 'test label')}, a fall of accuracy of less than about {points(drop)} "
        "would most likely go unseen."
    ]
    lines += costs_not_said(draft, evidence)
    rows = draft.sections["per_class"]
    if absent := [r["class"] for r in rows if not r["n"] and r["class"] != NO_ANSWER]:
        lines.append(
            f"Classes without a test label ({len(absent)}): {some(absent)}. How well they are found is unknown."
        )
    if thin := [r["class"] for r in rows if 0 < r["n"] < FEW]:
        lines.append(
            f"Classes with fewer than {FEW} test labels ({len(thin)}): {some(thin)}. Their numbers are rough, and "
            "so is macro-F1, whose interval holds less often than it says."
        )
    lines += groups_not_known(draft)
    if len({r["class"] for r in rows if r["n"]}) == 1:
        lines.append(ONE_CLASS)
    if strangers := [r["class"] for r in rows if not r["known"]]:
        lines.append(f"Labels that the model does not know: {some(strangers)}. It can only be wrong on them.")
    if evidence.n_unlabelled:
        helped = (draft.sections.get("evidence") or {}).get("worth")
        part = "helped only by what the model answers to them" if helped else "played no part"
        lines.append(f"{count(evidence.n_unlabelled, 'test item')} without a label {part}.")
    lines += left_out_lines(draft.sections["test_labels"]["left_out"])
    if evidence.n_seen:
        lines.append(f"{count(evidence.n_seen, 'test item')} left out, because this model learned from them.")
    lines += not_known_of_imported(draft.sections.get("training", {}).get("imported"))
    unseen = draft.sections.get("versions", {}).get("n_seen_by_incumbent", 0)
    if unseen:
        lines.append(f"{count(unseen, 'test item')} left out of the comparison: the live release learned from them.")
    lines.append(
        "Tomorrow: whether the meaning of labels will change (concept drift) cannot be seen without new labels."
    )
    attacked = (draft.sections.get("attacks") or {}).get("n", 0)
    harm = "stronger attacks than those listed" if attacked else "inputs made to deceive (muster evaluate --attack 100)"
    lines.append(f"Faults other than those listed, and {harm}, were not tried.")
    if len(evidence.who) == 1:
        lines.append("Errors in the test labels themselves: all come from one hand, and none was checked by a second.")
    if not incumbent:
        lines.append("There is no live release to compare with.")
    elif why := draft.sections.get("versions", {}).get("unopened"):
        lines.append(f"Whether it is better or worse than the live release, which does not open: {why}.")
    if evidence.look > 1:
        lines.append(
            f"These test labels were looked at {evidence.look} times: choosing by looking makes the test easier."
        )
    if draft.sections["novelty"]["setting"] != "named":
        lines.append(
            "How truly foreign items are met: none were named (muster evaluate --novel near=PATH --novel far=PATH)."
        )
    if not any(groups_of(item) for item in evidence.items):
        lines.append("Whether some people are served worse than others: items carry no group, so it was not measured.")
    return lines


def costs_not_said(draft: Draft, evidence: Evidence) -> list[str]:
    """That nobody has said what mistakes cost, and where to say it; of sets of classes nothing can be said."""
    if draft.sections.get("costs") or evidence.targets is not None:
        return []
    return [
        "What mistakes cost: nobody has said it, so that every mistake counts alike ([policy.costs] in muster.toml)."
    ]


def left_out_lines(left: Mapping[str, Any] | None) -> list[str]:
    """What was drawn for the test and has no label, and whether that may be by lot.

    >>> left = {"n_drawn": 84, "n_left": 19, "mark": "spam", "n_marked_left": 19, "n_marked_told": 0, "p": 1e-9}
    >>> left_out_lines(left | {"n_passed": 0, "p": 0.5})[0]
    '19 of 84 items that were drawn for the test have no label.'
    >>> left_out_lines(left | {"n_passed": 18})[0].partition(" label, ")[2]
    '18 of them passed over, and were not left out by lot: the model calls 19 of them “spam”, and 0 of the 65 labelled.'
    """
    if not left:
        return []
    numbers = {k: left[k] for k in ("mark", "n_left", "n_drawn", "n_marked_left", "n_marked_told")}
    passed = f", {left['n_passed']:,} of them passed over" if left["n_passed"] else ""
    how = f", and were not left out by lot: {marked_more(**numbers)}" if left["p"] <= NOT_BY_LOT else ""
    how_many = f"{left['n_left']:,} of {count(left['n_drawn'], 'item')} that were drawn for the test"
    return [f"{how_many} have no label{passed}{how}."]


def not_known_of_imported(imported: Mapping[str, Any] | None) -> list[str]:
    """What a model that was made elsewhere leaves open; nothing of one that was trained here.

    >>> len(not_known_of_imported({"n_calibration": 0, "lacks": ["embedding"]})), not_known_of_imported(None)
    (3, [])
    """
    if not imported:
        return []
    n_learnt = (imported.get("learnt") or {}).get("n", 0)
    if n_learnt:
        known = (
            f"{count(n_learnt, 'item')} were named, and copies of them left out. If there were others, or near-copies"
        )
    else:
        known = "it was made elsewhere. If it has met these test items, or copies of them"
    lines = [f"What the model learnt from: {known}, it does better here than it will in service."]
    if "embedding" in (imported.get("lacks") or ()):
        lines.append(
            "Strange items that the model is sure about: it gives no embedding, so that its guard sees scores alone."
        )
    if not imported.get("n_calibration"):
        lines.append(
            "Which other classes remain possible: prediction sets hold every class, because no labels were given to "
            "fit them (muster import --calibrate)."
        )
    return lines


def groups_of(item: Item) -> Any:
    """What is known of whom an item is about."""
    return item.groups or item.subject
