"""Ask the bundle the team's own behaviour tests, and note what fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.label_sets import label_in_words
from passmuster.core.progress import Progress
from passmuster.core.records import Payload, Prediction
from passmuster.metrics.behaviour import direction_failed, failure_rate, functionality_failed, invariance_failed
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.behaviour_file import KINDS, Behaviour, Row
from passmuster.stages.evaluate.draft import Draft, interval_record

BLOCK = 256
MAX_FAILURES = 500  # in the page; the report numbers all of them


@dataclass(frozen=True)
class Failure:
    """One failed test, for the page: how its items look."""

    row: int
    item: str
    changed: str


def measure_behaviour(
    draft: Draft, predictor: Predictor, behaviour: Behaviour, *, progress: Progress
) -> list[Failure]:  # fmt: skip
    """Failure rates by test, and a section with every failure by its row; returns what the page shows of them."""
    rows = behaviour.rows
    progress.say(f"asking {len(rows):,} behaviour tests of {behaviour.name}")
    first = ask_all(predictor, [row.item for row in rows])
    second = dict(
        zip(
            [i for i, row in enumerate(rows) if row.changed is not None],
            ask_all(predictor, [row.changed for row in rows if row.changed is not None]),
        )
    )
    failed = np.zeros(len(rows), dtype=bool)
    for kind in KINDS:
        places = [i for i, row in enumerate(rows) if row.kind == kind]
        if places:
            failed[places] = fails(
                kind, predictor, [rows[i] for i in places], [first[i] for i in places],
                [second[i] for i in places if i in second],
            )  # fmt: skip
    groups: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((row.test, row.kind), []).append(i)
    tests: list[dict[str, Any]] = []
    for (test, kind), places in groups.items():
        rate = failure_rate(failed[places])
        draft.add("behaviour_failure_rate", rate, slice=f"test={test} kind={kind}")
        tests.append({"test": test, "kind": kind, "rate": interval_record(rate), "n_failed": int(failed[places].sum())})
    tests.sort(key=lambda t: (-t["rate"]["value"], t["test"], t["kind"]))
    failures = [
        failure_record(rows[int(i)], first[int(i)], second.get(int(i)), predictor) for i in np.flatnonzero(failed)
    ]
    draft.sections["behaviour"] = {
        "file": behaviour.name, "sha256": behaviour.sha256, "n": len(rows), "n_failed": int(failed.sum()),
        "tests": tests, "failures": failures,
    }  # fmt: skip
    preview = predictor.modality.preview
    shown = [rows[int(i)] for i in np.flatnonzero(failed)[:MAX_FAILURES]]
    return [Failure(r.row, preview(r.item), "" if r.changed is None else preview(r.changed)) for r in shown]


def ask_all(predictor: Predictor, payloads: Sequence[Payload]) -> list[Prediction]:
    """The bundle's answers, block by block."""
    found: list[Prediction] = []
    for start in range(0, len(payloads), BLOCK):
        found += predictor.predict(payloads[start : start + BLOCK])
    return found


def fails(
    kind: str, predictor: Predictor, rows: Sequence[Row], before: Sequence[Prediction], after: Sequence[Prediction]
) -> np.ndarray:
    """Which rows of one kind (n,) the answers fail."""
    said = np.array([p.label for p in before], dtype=object)
    if kind == "MFT":
        return functionality_failed(np.array([row.expected for row in rows], dtype=object), said)
    if kind == "INV":
        return invariance_failed(said, np.array([p.label for p in after], dtype=object))
    places = [predictor.classes.index(row.expected) for row in rows]
    old, new = (np.array([p.probabilities[k] for p, k in zip(given, places)]) for given in (before, after))
    not_lower = np.array([row.direction == "not lower" for row in rows])
    return direction_failed(old, new, not_lower, np.array([row.tolerance for row in rows]))


def failure_record(row: Row, before: Prediction, after: Prediction | None, predictor: Predictor) -> dict[str, Any]:
    """What was expected and what was said, in words; the items stand in the file at that row."""
    if row.kind == "DIR" and after is not None:
        k = predictor.classes.index(row.expected)
        expected = f"{row.expected} {row.direction}"
        said, then = (f"{p.probabilities[k]:.3f}" for p in (before, after))
    else:
        expected = label_in_words(row.expected) if row.kind == "MFT" else "the same answer"
        said, then = label_in_words(before.label), "" if after is None else label_in_words(after.label)
    return {
        "row": row.row, "test": row.test, "kind": row.kind, "expected": expected, "said": said, "said_changed": then
    }  # fmt: skip
