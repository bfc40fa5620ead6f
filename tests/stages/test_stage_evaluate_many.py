"""A report on thousands of classes: nothing in it grows with their square, and the page stays readable."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from passmuster.core.records import Report
from passmuster.stages.evaluate import Scope
from passmuster.stages.evaluate.draft import Draft
from passmuster.stages.evaluate.headline import DENSE_CLASSES, measure_classes
from passmuster.stages.evaluate.page import confusion, sections
from passmuster.stages.evaluate.page.cards import Library


def report_of(n_classes: int) -> Report:
    """One right answer for each class, and three wrong ones."""
    y = np.arange(n_classes)
    predicted = y.copy()
    predicted[:3] = [1, 2, 0]
    keys = tuple(f"k{i}" for i in y)
    classes = tuple(f"class {i}" for i in y)
    evidence = SimpleNamespace(
        y=y, classes=classes, keys=keys, items=tuple(SimpleNamespace(key=key) for key in keys), n_known=n_classes,
        targets=None, weights=np.ones(n_classes), clusters=np.array(keys),
    )  # fmt: skip
    answers = SimpleNamespace(predicted=predicted, confidence=np.full(n_classes, 0.5))
    draft = Draft()
    measure_classes(draft, evidence, answers)  # type: ignore[arg-type]
    return Report(
        "b" * 64, "s" * 64, "", "text", classes, n_classes, 1, tuple(draft.metrics), draft.item_sets, draft.sections
    )


@pytest.mark.parametrize("n_classes", [10, 3_000])
def test_the_confusion_is_whole_and_as_large_as_its_answers(n_classes: int) -> None:
    section = report_of(n_classes).sections["confusion"]
    assert len(section["cells"]) == n_classes
    assert sum(n for i, j, n in section["cells"] if i == j) == n_classes - 3
    assert [(m["label"], m["predicted"]) for m in section["most_confused"]] == [
        ("class 0", "class 1"), ("class 1", "class 2"), ("class 2", "class 0"),
    ]  # fmt: skip
    assert ("counts" in section) == (n_classes <= DENSE_CLASSES)
    assert len(json.dumps(section)) < 40 * n_classes + 1_000


def test_the_page_shows_the_worst_and_says_what_it_leaves_out() -> None:
    report = report_of(3_000)
    page = sections.classes(report, Library(report, Scope(), {}))
    assert page.count("<tr>") < sections.ROWS_SHOWN + sections.MORE_ROWS + confusion.WORST_CLASSES + 5
    assert f"the next {sections.MORE_ROWS} of 2,988 more classes; report.json has them all" in page
    assert "The 12 classes with most mistakes; 2,988 others are left out." in page
    assert "<b>class 0</b> taken for <b>class 1</b>" in page
