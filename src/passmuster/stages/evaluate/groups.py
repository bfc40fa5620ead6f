"""Whether groups that the user declared (`data.group_columns`) are served alike: rates of each, gaps between them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from passmuster.core.config import Config
from passmuster.core.records import Metric
from passmuster.core.statistics import Interval
from passmuster.metrics.fairness import ACCURACY, FEWEST, GAPS, Gap, group_accuracy, group_gaps
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, interval_record
from passmuster.stages.evaluate.headline import by_confidence, keys_where
from passmuster.stages.evaluate.words import between, percent

MOST_GROUPS = 20  # of a column, the largest; the others are counted together
MOST_CLASSES = 30  # whose gaps are measured, those with most test items
REST = "(all others)"
NO_GROUPS = (
    "Not measured: items carry no group, so whether some people are served worse than others is not known. "
    "[data] group_columns names columns that say whom an item is about."
)


def measure_groups(config: Config, draft: Draft, evidence: Evidence, answers: Answers) -> None:
    """Section ``groups``, and metrics: ``group_accuracy`` of each group, and the gaps of `metrics.fairness`.

    Items without a value in a column are in no group of it, and counted. Nothing is written where no column is
    declared.
    """
    columns = config.data.group_columns
    if not columns:
        return
    right, truth, said, numbers = as_masks(evidence, answers)
    order = by_confidence(evidence, answers)
    draft.sections["groups"] = {
        "fewest": FEWEST,
        "n_classes": len(numbers),
        "n_classes_left": len(evidence.classes) - len(numbers),
        "columns": [one_column(draft, evidence, name, right, truth, said, numbers, order) for name in columns],
    }


def as_masks(evidence: Evidence, answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Whether answers are right (n,); which of the commonest classes are carried, and said (n, k); their numbers."""
    right = np.asarray(answers.predicted == evidence.y)
    if evidence.targets is not None and answers.said is not None:
        truth, said = evidence.targets, answers.said
    else:
        every = np.arange(len(evidence.classes))
        truth, said = evidence.y[:, None] == every, answers.predicted[:, None] == every
    common = np.sort(np.argsort(-truth.sum(axis=0), kind="stable")[:MOST_CLASSES])
    return right, truth[:, common], said[:, common], [int(c) for c in common]


def one_column(
    draft: Draft, evidence: Evidence, column: str, right: np.ndarray, truth: np.ndarray, said: np.ndarray,
    numbers: list[int], order: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    """Metrics, sets of items and the record of one declared column."""
    names = group_names([str(item.groups.get(column, "")) for item in evidence.items])
    there = names != ""
    how: dict[str, Any] = {"weights": evidence.weights[there], "clusters": evidence.clusters[there]}
    rows = []
    for name, rate in group_accuracy(right[there], names[there], **how).items():
        where = f"{column}={name}"
        items = draft.add_set(where, keys_where(evidence, order, names == name))
        draft.add("group_accuracy", rate, slice=where, items=items)
        rows.append({"group": name, "accuracy": interval_record(rate), "enough": rate.n >= FEWEST, "items": items})
    found = group_gaps(right[there], truth[there], said[there], names[there], **how) if there.any() else []
    gaps = []
    for gap in found:
        of_class = evidence.classes[numbers[gap.number]] if gap.number >= 0 else ""
        where = f"{column} class={of_class}" if of_class else column
        draft.add(gap.kind, gap.found, slice=where, items="test")
        gaps.append(gap_record(gap, of_class))
    return {
        "column": column,
        "n_without": int((~there).sum()),
        "groups": sorted(rows, key=lambda row: (not row["enough"], row["accuracy"]["value"])),
        "gaps": gaps,
        "widest": [widest for kind in GAPS if (widest := widest_of(gaps, kind))],
    }


def gap_record(gap: Gap, of_class: str) -> dict[str, Any]:
    """A gap for the section."""
    found: Interval = gap.found
    return {
        "kind": gap.kind, "class": of_class, **interval_record(found), "most": gap.most, "least": gap.least,
        "untold": list(gap.untold),
    }  # fmt: skip


def widest_of(gaps: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """The gap of a kind whose lower bound is highest, then the widest; None where none was measured."""
    told = [gap for gap in gaps if gap["kind"] == kind and gap["value"] is not None]
    return max(told, key=lambda gap: (gap["low"], gap["value"]), default=None)


def group_names(values: list[str]) -> np.ndarray:
    """Names (n,), the smallest groups under one when there are too many; "" for an item without a value."""
    counts = Counter(value for value in values if value)
    kept = {name for name, _ in counts.most_common(MOST_GROUPS)}
    return np.array([value if value in kept or not value else REST for value in values], dtype=np.str_)


def on_whom(draft: Draft, headline: Metric) -> list[tuple[str, str]]:
    """For whom it is right least often, a sentence for each declared column, with items; what is not measured too."""
    columns = draft.sections.get("groups", {}).get("columns", ())
    if not columns:
        return [(NO_GROUPS, "")]
    told = [(column, widest_of(column["gaps"], ACCURACY)) for column in columns]
    told.sort(key=lambda pair: -pair[1]["low"] if pair[1] else 1.0)
    return [of_column(column, gap, headline) for column, gap in told]


def of_column(column: dict[str, Any], gap: dict[str, Any] | None, headline: Metric) -> tuple[str, str]:
    """The groups of one column that fare worst and best, whether that may be chance, and whom nothing is known of."""
    rows = {row["group"]: row for row in column["groups"]}
    enough = [row for row in column["groups"] if row["enough"]]
    small = len(rows) - len(enough)
    rest = f" {small:,} {'group has' if small == 1 else 'groups have'} too few items to tell." if small else ""
    if not enough:
        return f"By {column['column']}: no group has the {FEWEST} labelled test items that it takes to tell.", ""
    least = rows[gap["least"]] if gap else enough[0]  # the worst is first
    is_worse = least["accuracy"]["high"] < headline.value
    if gap is None:
        surely = ", surely less than the whole" if is_worse else ""
        return (
            f"By {column['column']}: right for “{least['group']}” on {share(least['accuracy'])}{surely}.{rest}",
            least["items"],
        )
    text = f"By {column['column']}: right least often for “{least['group']}”, {share(least['accuracy'])}"
    text += f"; most often for “{gap['most']}”, {share(rows[gap['most']]['accuracy'])}."
    if gap["low"] > 0:
        text += f" The gap is not chance: {100 * gap['low']:.1f} points or more."
    elif is_worse:
        text += " The gap may be chance, but the first is surely served worse than the whole."
    else:
        text += " The gap may be chance."
    return text + rest, least["items"]


def share(rate: dict[str, Any]) -> str:
    """A rate with its interval and its items.

    >>> share({"value": 0.5, "low": 0.25, "high": 0.75, "n": 12})
    '50.0\\xa0% (25.0 to 75.0\\xa0%, 12 items)'
    """
    return f"{percent(rate['value'])} ({between(rate['low'], rate['high'])}, {rate['n']:,} items)"


def groups_not_known(draft: Draft) -> list[str]:
    """Groups of which too few items carry a test label, and items that say no group."""
    lines = []
    for column in draft.sections.get("groups", {}).get("columns", ()):
        small = [f"“{row['group']}” ({row['accuracy']['n']})" for row in column["groups"] if not row["enough"]]
        if small:
            lines.append(
                f"Groups of {column['column']} with fewer than {FEWEST} labelled test items: {', '.join(small[:5])}"
                f"{f' and {len(small) - 5} more' if len(small) > 5 else ''}. That is too few to tell how they fare."
            )
        if column["n_without"]:
            lines.append(f"{column['n_without']:,} test items say nothing in the column {column['column']}.")
        if not any(gap["kind"] == ACCURACY and gap["value"] is not None for gap in column["gaps"]):
            lines.append(f"Gaps by {column['column']}: fewer than two groups are large enough to be compared.")
    return lines
