"""Priors say what the benchmarks measured, and widen with ignorance."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from passmuster.learn.priors import (
    FIRST,
    MANY_CLASSES,
    NOTHING,
    SEEN,
    SMALLEST_SPREAD,
    UNKNOWN,
    gains_of,
    of_kind,
    prior_gains,
)

BENCH = Path(__file__).parents[2] / "bench"


def test_more_agreement_is_a_narrower_prior() -> None:
    agreed = gains_of({"a.v1": {"x": 0.1, "y": 0.11}, "b.v1": {"x": 0.1, "y": 0.11}})["a.v1"]
    apart = gains_of({"a.v1": {"x": -0.3, "y": 0.5}, "b.v1": {"x": 0.5, "y": -0.3}})["a.v1"]
    assert agreed.spread == pytest.approx(SMALLEST_SPREAD * np.sqrt(1.5), abs=1e-3)
    assert apart.spread > 0.5
    assert apart.shared == 0
    assert apart.mean == pytest.approx(0.1)
    assert gains_of({"a.v1": {"x": 0.3}})["a.v1"].spread == pytest.approx(0.3)
    assert gains_of({"a.v1": {}}) == {"a.v1": UNKNOWN}


def test_what_a_set_does_to_every_rung_is_told_from_what_it_does_to_one() -> None:
    """Drawn by the model that is estimated; the spread of a set more is wider by the error of the mean."""
    rng = np.random.default_rng(0)
    shared, own, n_sets = 0.3, 0.1, 2_000
    sets = shared * rng.normal(size=n_sets)
    seen = {
        rung: dict(enumerate((mean + sets + own * rng.normal(size=n_sets)).tolist()))
        for rung, mean in (("a.v1", 0.1), ("b.v1", 0.2), ("c.v1", 0.0))
    }
    found = gains_of({rung: {str(name): gain for name, gain in gains.items()} for rung, gains in seen.items()})
    assert [gain.mean for gain in found.values()] == pytest.approx([0.1, 0.2, 0.0], abs=0.03)
    for gain in found.values():
        assert gain.shared == pytest.approx(shared, rel=0.05)
        assert gain.spread == pytest.approx(np.hypot(shared, own), rel=0.05)
    few = gains_of({rung: {str(i): gains[i] for i in range(4)} for rung, gains in seen.items()})
    assert set(few["a.v1"].source) > set("0123")


def test_a_rung_without_a_benchmark_beside_those_with_one_knows_nothing() -> None:
    assert prior_gains("text", ["static.v1", "new.v1"], 2) == [NOTHING, UNKNOWN]
    assert set(FIRST) == {modality for modality, _ in SEEN}


def test_the_table_is_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import fewlabel_text

    result = BENCH / "results" / "fewlabel_text.json"
    if not result.is_file():
        pytest.skip("the benchmark's result is not there: nothing to compare the table with")
    measured = fewlabel_text.rung_gains(json.loads(result.read_text(encoding="utf-8"))["runs"])
    for rung, seen in measured.items():
        assert SEEN["text", rung] == pytest.approx(seen, abs=5e-4), f"stale: {rung} is {seen}"


def test_the_adapted_encoders_rows_are_its_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once all sets have run: a rung seen on fewer would leave all others with the sets in common."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import fewlabel_text

    result = BENCH / "results" / "adapted.json"
    if not result.is_file():
        pytest.skip("the benchmark's result is not there: nothing to compare the table with")
    measured = fewlabel_text.rung_gains(json.loads(result.read_text(encoding="utf-8"))["runs"])["adapted.v1"]
    if set(measured) == set(fewlabel_text.SETS):
        assert SEEN["text", "adapted.v1"] == pytest.approx(measured, abs=5e-4), f"stale: {measured}"
    else:
        assert ("text", "adapted.v1") not in SEEN, f"not of every set: {sorted(measured)}"


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
    (few,), (many,) = prior_gains("text", ["tuned.v1"], 2), prior_gains("text", ["tuned.v1"], 150)
    assert (few.source, many.source) == ("ag_news, amazon, sms_spam", "banking77, clinc150")
