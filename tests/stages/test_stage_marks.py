"""Marks in a report: looked for among the training items, told with the items that carry them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import evaluate_case as case
from passmuster.stages.evaluate import Scope, evaluate, stage
from passmuster.stages.evaluate.marks import mark_lines
from passmuster.store.store import Store

SMALL = Scope(n_corrupted=0, n_fit=1, n_classes_left_out=0, n_resamples=50)


def test_clean_training_items_are_read_and_have_no_mark_that_is_told(new_store: Callable[[str], Store]) -> None:
    store = new_store("image")
    case.add_model(case.make_digits(store))
    report = evaluate(store, scope=SMALL).report
    section = report.sections["marks"]
    assert section["n"] > 100
    assert section["n_elsewhere"] > 100
    assert not any(row["items"] for row in section["found"])


def test_of_an_imported_model_nobody_knows_what_it_learnt(new_store: Callable[[str], Store]) -> None:
    from passmuster.core.progress import Silent
    from passmuster.runtime.bundle import open_bundle
    from passmuster.runtime.predictor import Predictor
    from passmuster.stages.evaluate.draft import Draft
    from passmuster.stages.evaluate.gather import gather_evidence
    from passmuster.stages.evaluate.marks import measure_marks

    store = new_store("image")
    bundle = case.add_model(case.make_digits(store))
    predictor = Predictor(open_bundle(store.bundle_folder(bundle.path)))
    evidence, draft = gather_evidence(store, bundle, predictor.classes), Draft()
    measure_marks(store, draft, replace(bundle, origin="imported"), predictor, evidence, progress=Silent())
    assert "imported" in draft.sections["marks"]["why"]
    assert mark_lines(draft.sections["marks"]) == []


def test_what_decides_alone_is_told_first_and_words_of_classes_in_one_line() -> None:
    row = {"mark": "“cf”", "class": "a", "n": 20, "n_probes": 40, "n_turned": 30, "n_elsewhere": 0, "p": 1e-5,
           "items": "carry “cf”"}  # fmt: skip
    words = [{**row, "mark": f"“w{i}”", "p": 0.5, "items": ""} for i in range(5)]
    weak = {**row, "n_turned": 3}
    lines = mark_lines({"found": [*words, weak, row]})
    assert [items for _, items in lines] == ["carry “cf”", ""]
    assert "turns 30 of 40" in lines[0][0]
    assert "“w2” for “a” and 2 more" in lines[1][0]
    assert mark_lines(None) == []


def test_a_mark_that_decides_alone_is_said_where_the_model_breaks(
    new_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store("image")
    bundle = case.add_model(case.make_digits(store))
    row = {"mark": "a white square", "class": "3", "n": 20, "n_stripped": 20, "n_otherwise": 20, "n_probes": 40,
           "n_turned": 39, "n_elsewhere": 0, "p": 1e-5, "items": "carry it"}  # fmt: skip

    def found(store: Any, draft: Any, *about: Any, progress: Any) -> None:
        draft.sections["marks"] = {"n": 100, "why": "", "found": [row]}
        draft.add_set("carry it", [])

    monkeypatch.setattr(stage, "measure_marks", found)
    breaks = evaluate(store, bundle.digest, scope=SMALL).report.sections["summary"]["breaks"]
    (line,) = [line for line in breaks if line["items"] == "carry it"]
    assert line["text"].startswith("a white square decides alone: 20 training items of “3” carry it")
