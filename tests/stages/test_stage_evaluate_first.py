"""The first screen in words: nothing lost, nothing twice, and no praise of a model that says nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace
from typing import Any, cast

import pytest

from evaluate_case import add_model, image_store, make_digits
from passmuster.core.records import Metric
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.stages.evaluate import EvaluateResult, Scope, evaluate
from passmuster.stages.evaluate.page.first import ROOM, filled, n_lines, room_for
from passmuster.stages.evaluate.summary import withheld

SMALL = Scope(n_corrupted=4, n_fit=100, n_classes_left_out=1, n_resamples=20, n_previews=10)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> EvaluateResult:
    """Of a guard that lets nothing through."""
    digits = make_digits(image_store(tmp_path_factory.mktemp("silent") / "project"))
    config = digits.store.config
    guard = replace(config.policy.guard, min_confidence=1.0)
    digits.store.config = replace(config, policy=replace(config.policy, guard=guard))
    add_model(digits)
    return evaluate(digits.store, scope=SMALL)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> EvaluateResult:
    digits = make_digits(image_store(tmp_path_factory.mktemp("usual") / "project"), n_twins=3)
    add_model(digits)
    return evaluate(digits.store, scope=SMALL)


def test_a_model_that_says_nothing_is_not_praised(silent: EvaluateResult) -> None:
    rate = silent.report.metric("abstention_rate")
    assert rate
    assert rate.value == 1
    summary = silent.report.sections["summary"]
    assert [line["text"] for line in summary["good"]] == [
        "Nothing: what is not said is of no use, however right it would be."
    ]
    assert summary["breaks"][0]["text"].startswith("It gives no answer: all are withheld. What it would have said is ")
    page = silent.path.read_text(encoding="utf-8")
    assert "if it answered: <button" in page
    assert "every answer is withheld</button>" in page


def test_that_most_is_withheld_is_where_it_breaks() -> None:
    given = cast(Any, SimpleNamespace(predictions=(SimpleNamespace(abstained=True), SimpleNamespace(abstained=False))))
    rate, right = (
        Metric("abstention_rate", 0.6, 0.5, 0.7, 50, items="abstained"),
        Metric("accuracy_answered", 1, 0.8, 1, 20),
    )
    (line,) = withheld(given, {("abstention_rate", ""): rate, ("accuracy_answered", ""): right})
    rates = "60.0\u00a0% (50.0 to 70.0\u00a0%, 50 items)"
    text = f"It withholds {rates} of its answers; of those it gives, 100\u00a0% are right."
    assert line == {"text": text, "items": "abstained"}
    assert withheld(given, {("abstention_rate", ""): replace(rate, value=0.4)}) == []


def test_what_is_withheld_is_said_beside_the_number(usual: EvaluateResult) -> None:
    page = usual.path.read_text(encoding="utf-8")
    head = page[page.index("<header") : page.index("</header>")]
    assert re.search(r"[0-9.]+\u00a0% of answers are withheld</button>, and counted as suggested", head)


def test_every_sentence_stands_once_in_a_box_or_right_below(usual: EvaluateResult) -> None:
    page = unescape(usual.path.read_text(encoding="utf-8"))
    words = page[page.index('<section class="words"') : page.index("The numbers</h2>")]
    summary, unknown = usual.report.sections["summary"], usual.report.sections["unknown"]
    told = [line["text"] for part in ("good", "breaks", "whom") for line in summary[part]] + unknown
    assert len(told) > 12
    assert [words.count(text) for text in told] == [1] * len(told)
    for kind in re.findall(r'href="#([a-z-]+)"', words):
        assert f'id="{kind}"' in words


def test_boxes_hold_what_has_room_and_the_rest_goes_on(usual: EvaluateResult) -> None:
    boxes = filled(usual.report)
    assert all(first for first, _ in boxes)
    assert all(n_lines(first) <= ROOM for first, _ in boxes)
    assert n_lines(boxes[0][0]) + n_lines(boxes[2][0]) <= ROOM  # they share a column
    long = [{"text": "word " * 400}, {"text": "short"}]
    assert room_for(long, ROOM) == (long[:1], long[1:])  # one at least, however long


def test_on_whom_and_what_mistakes_cost_are_seen_without_opening(usual: EvaluateResult) -> None:
    page = usual.path.read_text(encoding="utf-8")
    first = page[: page.index('<section class="continued"')]
    assert 'On whom</h2><ul><li><span class="line">Not measured: items carry no group' in first
    assert "What mistakes cost: nobody has said it" in first
    assert NO_ANSWER not in first
