"""Priors say what the benchmarks measured, and widen with ignorance."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from passmuster.learn.priors import MANY_CLASSES, SEEN, SMALLEST_SPREAD, gain_of, of_kind, prior_gain

BENCH = Path(__file__).parents[2] / "bench"


def test_more_agreement_is_a_narrower_prior() -> None:
    agreed, apart = gain_of({"a": 0.1, "b": 0.11}), gain_of({"a": -0.3, "b": 0.5})
    assert agreed.spread == SMALLEST_SPREAD
    assert apart.spread > 0.5
    assert apart.mean == pytest.approx(0.1)
    assert gain_of({"a": 0.3}).spread == pytest.approx(0.3)


def test_the_table_is_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import fewlabel_text

    result = BENCH / "results" / "fewlabel_text.json"
    if not result.is_file():
        pytest.skip("the benchmark's result is not there: nothing to compare the table with")
    measured = fewlabel_text.rung_gains(json.loads(result.read_text(encoding="utf-8"))["runs"])
    for rung, seen in measured.items():
        assert SEEN["text", rung] == pytest.approx(seen, abs=5e-4), f"stale: {rung} is {seen}"


def test_training_that_lost_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """`transformer.v1` quotes more than any training that was measured to lose to static vectors."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import fewlabel_text
    from passmuster.modality.text.rungs.transformer import LEAST_FLOPS

    result = BENCH / "results" / "pretrain.json"
    if not result.is_file():
        pytest.skip("the benchmark's result is not there: nothing to compare the quote with")
    runs = json.loads(result.read_text(encoding="utf-8"))["runs"]
    gains = fewlabel_text.rung_gains(runs)["transformer.v1"]
    assert all(gain < 0 for gain in gains.values()), "it pays on a set: quote less than LEAST_FLOPS"
    speeds = [run["fitted"]["transformer.v1"]["speed"] for run in runs]
    assert all(1e9 * speed["model_gflops"] * speed.get("busy_s", speed["seconds"]) < LEAST_FLOPS for speed in speeds)


def test_gains_are_looked_up_among_sets_with_as_many_classes() -> None:
    seen = {"sms_spam": 0.3, "ag_news": 0.2, "banking77": -0.1, "clinc150": -0.2}
    assert of_kind(seen, 4) == {"sms_spam": 0.3, "ag_news": 0.2}
    assert of_kind(seen, MANY_CLASSES) == {"banking77": -0.1, "clinc150": -0.2}
    assert of_kind({"sms_spam": 0.3, "banking77": -0.1}, 2) == {"sms_spam": 0.3, "banking77": -0.1}
    few, many = prior_gain("text", "tuned.v1", 2), prior_gain("text", "tuned.v1", 150)
    assert (few.source, many.source) == ("ag_news, amazon, sms_spam", "banking77, clinc150")
