"""How much of a change is the draw of a seed, from a report that is there: in the report, the page and the verdict."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evaluate_case import Digits, add_model, go_live, make_digits
from passmuster.core.config import Policy
from passmuster.metrics.gates import decide
from passmuster.metrics.versions import retrain_words
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.draft import Scope
from passmuster.store.store import Store

QUICK = Scope(n_corrupted=0, n_fit=50, n_classes_left_out=1, n_resamples=20)


@pytest.fixture
def digits(new_store: Callable[..., Store]) -> Digits:
    return make_digits(new_store("image"))


def test_a_verdict_says_what_learning_again_changes(digits: Digits) -> None:
    old, again, new = (add_model(digits, n_fit=n, run=f"run-{n}") for n in (60, 180, 200))
    first = evaluate(digits.store, again.digest, scope=QUICK).report
    go_live(digits.store, old)
    found = evaluate(digits.store, new.digest, scope=QUICK)
    section = found.report.sections["versions"]
    told = section["retrain"]
    before, after = (report.sections["answers"]["predicted"] for report in (first, found.report))
    assert told["bundle"] == again.digest
    assert told["value"] == pytest.approx(sum(a != b for a, b in zip(before, after, strict=True)) / len(after))
    words = retrain_words(section)
    assert "learning the same again changes anyway" in words
    assert words[1:] in found.path.read_text(encoding="utf-8")
    gates = {"negative_flips.v1": {"max_rate": 0.5}, "non_inferiority.v1": {"margin": 0.5}}
    assert all(result.reason.endswith(words) for result in decide(found.report, Policy(gates=gates)).gates)


def test_where_none_is_at_hand_nothing_is_said(digits: Digits) -> None:
    """Neither a bundle without a report, nor the live release itself, nor one of other data or recipe."""
    old, _, new = (add_model(digits, n_fit=n, run=f"run-{n}") for n in (60, 180, 200))
    evaluate(digits.store, old.digest, scope=QUICK)
    go_live(digits.store, old)
    report = evaluate(digits.store, new.digest, scope=QUICK).report
    assert "retrain" not in report.sections["versions"]
    assert retrain_words(report.sections["versions"]) == ""
    (result,) = decide(report, Policy(gates={"negative_flips.v1": {"max_rate": 0.5}})).gates
    assert "again" not in result.reason


def test_a_change_that_is_all_chance_is_said_to_be() -> None:
    known = {"bundle": "f" * 64, "value": 0.05, "low": 0.0, "high": 0.1, "n": 100}
    assert retrain_words({"n": 100, "changed": [{}] * 3, "retrain": known}).startswith("the 3 changed decisions are no")
    assert retrain_words({"n": 100, "changed": [], "retrain": known}) == ""
