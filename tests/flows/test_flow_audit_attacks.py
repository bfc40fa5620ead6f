"""An audit makes the attacks that the signed report has once more, and says what fell since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import release_case as case
from evaluate_case import add_model, image_store, make_digits
from passmuster.core.config import Policy
from passmuster.core.records import Report
from passmuster.flows.audit import audit
from passmuster.flows.audit_attacks import attacks_held
from passmuster.stages.evaluate import evaluate
from passmuster.stages.release import approve, judge, sign
from passmuster.store.releases import read_report

pytest.importorskip("torch", reason="gradients need the extra `train`")
GATE = {"adversarial.v1": {"strength": 1, "min": 0.1}}


def test_the_same_items_fall_to_the_same_attacks(tmp_path: Path) -> None:
    digits = make_digits(image_store(tmp_path))
    bundle = add_model(digits)
    before = evaluate(digits.store, n_attacked=8).report
    store = case.with_policy(digits.store, Policy(gates=GATE))
    sign(store, judge(store))
    approve(store)
    evaluate(store)  # a later report, which has no attacks
    found = audit(store, again=True)
    assert {check.name: check.state for check in found.checks}["attacks"] == "passed"
    assert {check.name: check.state for check in found.checks}["adversarial.v1"] == "passed"
    with store.read() as db:
        latest = read_report(db, bundle.digest)
    assert latest is not None
    now = latest[1]
    sets = [name for name in before.item_sets if name.startswith("attacked")]
    assert len(sets) > 2
    assert all(now.item_sets[name] == before.item_sets[name] for name in sets)
    assert now.sections["attacks"]["rows"] == before.sections["attacks"]["rows"]
    assert "attacks" not in {check.name for check in audit(store).checks}


def report(fell: dict[float, int], n: int = 40, left_out: str = "") -> Report:
    """On n items the first so many of which fell at each size of change."""
    keys = tuple(f"k{i}" for i in range(n))
    sets = {"attacked": keys} | {f"attacked strength={size:g}": keys[:k] for size, k in fell.items() if k}
    section: dict[str, Any] = {
        "n": n, "seed": 5, "not_loaded": {}, "rows": [{"strength": size} for size in fell],
        "attacks": [{"name": "square.v1", "left_out": left_out}],
    }  # fmt: skip
    return Report(
        bundle="b", snapshot="s", created="2026-01-01T00:00:00+00:00", modality="image", classes=("a", "b"), n_test=n,
        look=1, metrics=(), item_sets=sets, sections={"attacks": section if n else {"n": 0, "why": "no labels"}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("now", "state", "words"),
    [
        (report({0: 0, 1: 10, 2: 20}), "passed", "of 40 attacked again, none fell"),
        (report({0: 0, 1: 5, 2: 20}), "passed", "none fell"),
        (report({0: 0, 1: 11, 2: 20}), "warning", "at 1, 30 of 40 stood and 29 do"),
        (report({0: 0, 1: 30, 2: 35}), "failed", "at 1, 30 of 40 stood and 10 do; at 2, 20 of 40 stood and 5 do"),
        (report({0: 0, 1: 30, 2: 21}), "failed", "at 2, 20 of 40 stood and 19 do"),
        (report({0: 0, 1: 10, 2: 15}, n=30), "passed", "(10 without a label now)"),
        (report({0: 0, 1: 0}, left_out="no torch twin"), "insufficient", "square.v1 was made for the report and not"),
        (report({}, n=0), "insufficient", "no labels"),
    ],
)
def test_what_fell_since(now: Report, state: str, words: str) -> None:
    found = attacks_held(report({0: 0, 1: 10, 2: 20}), now)
    assert found[0] == state
    assert words in found[1]
