"""The A/A noise bound: what a model does not repeat, asked otherwise or learnt again, and the words that rest on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="bundles are written with the package onnx")

from evaluate_case import Digits, add_model, go_live, make_digits
from passmuster.cli.evaluate_verb import lines_of
from passmuster.cli.release_plan import plan_lines
from passmuster.core.config import Policy
from passmuster.core.records import Metric, Payload, Prediction, Report
from passmuster.core.statistics import wilson
from passmuster.flows.diff import compare_bundles
from passmuster.flows.release_plan import plan_release
from passmuster.metrics.aa_noise import SEED, bound_words, inside_words, noise_bound
from passmuster.metrics.gates import decide
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate import aa_noise, evaluate
from passmuster.stages.evaluate.aa_noise import OTHERWISE
from passmuster.stages.evaluate.diff_words import noise_of_changes, summary_lines
from passmuster.stages.evaluate.draft import Scope
from passmuster.store.store import Store

QUICK = Scope(n_corrupted=0, n_fit=50, n_classes_left_out=1, n_resamples=20, n_timed=0, n_again=150)
GATES = {"negative_flips.v1": {"max_rate": 0.5}, "non_inferiority.v1": {"margin": 0.5}}


@pytest.fixture
def digits(new_store: Callable[..., Store]) -> Digits:
    return make_digits(new_store("image"))


def rows_of(report: Report) -> dict[str, dict[str, Any]]:
    return {row["source"]: row for row in report.sections["noise"]["rows"]}


class Fickle(Predictor):
    """On one thread it says something else of dark items, as a model whose answers lie on the edge."""

    def __init__(self, bundle: Any, *, threads: int = 0, optimised: bool = True) -> None:
        super().__init__(bundle, threads=threads, optimised=optimised)
        self._fickle = threads == 1

    def predict(self, payloads: Sequence[Payload], *, degraded: bool = False) -> list[Prediction]:
        found = super().predict(payloads, degraded=degraded)
        if not self._fickle:
            return found
        return [replace(p, label="?") if np.mean(x) < 75 else p for p, x in zip(found, payloads, strict=True)]


def test_what_repeats_itself_has_a_bound_all_the_same(digits: Digits) -> None:
    add_model(digits)
    result = evaluate(digits.store, scope=QUICK)
    rows = rows_of(result.report)
    assert list(rows) == [OTHERWISE, "batch of one", "one thread", "engine, nothing fused"]
    assert all((row["n"], row["value"]) == (150, 0.0) for row in rows.values())
    high = wilson(0.0, 150).high
    assert noise_bound(result.report) == pytest.approx(high)
    said = f"A/A noise bound {100 * high:.1f} points (asked otherwise: 0 of 150 answers)"
    assert any(line.startswith(said) for line in lines_of(result, 5))
    assert "What it does not repeat" in result.path.read_text()
    assert "noise" not in evaluate(digits.store, scope=replace(QUICK, n_again=0)).report.sections


def test_answers_that_tip_are_counted_named_and_asked_for_on_both_sides(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aa_noise, "Predictor", Fickle)
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    go_live(digits.store, old)
    report = evaluate(digits.store, new.digest, scope=replace(QUICK, n_again=200)).report
    rows, section = rows_of(report), report.sections["noise"]
    tips = rows["one thread"]
    dark = (255 * digits.pixels["test"]).mean(axis=1) < 75
    assert tips["value"] == pytest.approx(dark.mean(), abs=0.02)
    assert rows["batch of one"]["value"] == rows["engine, nothing fused"]["value"] == 0.0
    assert rows[OTHERWISE]["value"] == tips["value"] > 0
    assert len(report.item_sets["not repeated"]) == round(tips["value"] * 200)
    assert section["bound"] == rows[OTHERWISE]["high"] > tips["value"]
    changed = section["changed"]
    keys = {row["key"] for row in report.sections["versions"]["changed"]}
    assert (changed["n"], changed["n_asked"]) == (len(keys), len(keys))
    assert changed["n_unstable"] == len(keys & set(report.item_sets["not repeated"]))


def test_slow_models_are_asked_about_fewer_items(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aa_noise, "AGAIN_S", 0.0)
    add_model(digits)
    assert rows_of(evaluate(digits.store, scope=QUICK).report)[OTHERWISE]["n"] == aa_noise.FEWEST


def test_no_other_figure_moves(digits: Digits) -> None:
    add_model(digits)
    a, b = (evaluate(digits.store, scope=replace(QUICK, n_again=n)).report for n in (0, 150))
    assert a.metrics == b.metrics


def test_the_draw_of_a_seed_where_the_same_was_learnt_twice(digits: Digits) -> None:
    first, again = (add_model(digits, n_fit=n, run=f"run-{n}") for n in (60, 200))
    before = evaluate(digits.store, first.digest, scope=QUICK).report
    after = evaluate(digits.store, again.digest, scope=QUICK).report
    assert SEED not in rows_of(before)
    row, said = rows_of(after)[SEED], [report.sections["answers"]["predicted"] for report in (before, after)]
    assert row["bundle"] == first.digest
    assert row["value"] == pytest.approx(sum(a != b for a, b in zip(*said, strict=True)) / len(said[0]))
    assert (after.sections["noise"]["bound"], after.sections["noise"]["by"]) == (row["high"], SEED)


def test_a_difference_by_a_seed_alone_is_called_so_by_every_gate(digits: Digits) -> None:
    """The live release is the same recipe learnt again: whatever the p-value, the difference is that draw."""
    old, new = (add_model(digits, n_fit=n, run=f"run-{n}") for n in (60, 200))
    go_live(digits.store, old)
    result = evaluate(digits.store, new.digest, scope=QUICK)
    report = result.report
    gain = report.metric("accuracy_difference")
    assert gain is not None
    assert gain.low > 0  # surely better, by its interval
    words = inside_words(report, gain.value)
    assert "inside the A/A noise bound" in words
    assert "noise alone could make such a difference" in words
    for gate in decide(report, Policy(gates=GATES)).gates:
        assert "inside the A/A noise bound" in gate.reason, gate
    assert words in result.path.read_text()
    assert any(words in line for line in lines_of(result, 5))
    good = " ".join(line["text"] for line in report.sections["summary"]["good"])
    assert "lie inside the A/A noise bound" in good
    planned = list(plan_lines(plan_release(digits.store, new.digest)))
    assert any(bound_words(report.sections["noise"]) in line for line in planned)


def compared(worse: int, better: int, bound: float | None) -> Report:
    """400 items against the live release."""
    gain = (better - worse) / 400
    metric = Metric("accuracy_difference", gain, gain - 0.01, gain + 0.01, 400)
    section = {"incumbent": "old", "n": 400, "both_right": 400 - worse - better, "only_candidate": better,
               "only_incumbent": worse, "both_wrong": 0, "changed": [{}] * (worse + better)}  # fmt: skip
    noise = {} if bound is None else {"noise": {"bound": bound, "by": OTHERWISE, "rows": []}}
    return Report(
        "b", "s", "2026-01-01", "text", ("x", "y"), 400, 1, (metric,), {}, {"versions": section, **noise},
        incumbent="old",
    )  # fmt: skip


@pytest.mark.parametrize(("bound", "said"), [(None, False), (0.01, False), (0.03, True), (0.05, True)])
@pytest.mark.parametrize(("worse", "better"), [(12, 0), (0, 12)])
def test_a_gate_never_calls_noise_a_change_without_saying_so(
    worse: int, better: int, bound: float | None, said: bool
) -> None:
    """Twelve of 400 are three points: proven by the exact test, and inside a bound of three points or more."""
    policy = Policy(gates={"non_inferiority.v1": {"margin": 0.02}})
    (gate,) = decide(compared(worse, better, bound), policy).gates
    (plain,) = decide(compared(worse, better, None), policy).gates
    assert gate.state == plain.state == ("failed" if worse else "passed")
    assert ("3.0 points lie inside the A/A noise bound" in gate.reason) == said


def test_diff_names_its_bound(digits: Digits) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    found = compare_bundles(digits.store, new.digest, old.digest, labels=True).diff
    high = max(found.noise.rate.high, *(other.differ.high for other in found.noise.retrained), 0.0)
    said = f"no difference between the two below {100 * high:.1f} points can be told from noise"
    assert said in list(summary_lines(found))
    alone = replace(found, noise=replace(found.noise, retrained=()))
    assert noise_of_changes(alone) == 0.0  # every change was asked again and repeated
    tipped = frozenset([found.changes[0].position])
    assert noise_of_changes(replace(alone, noise=replace(alone.noise, unstable=tipped))) == found.noise.rate.high


def test_an_endpoint_is_not_asked_again(tmp_path: Path) -> None:
    pytest.importorskip("httpx", reason="asking endpoints needs the extra `endpoint`")
    from endpoint_case import chat, serve
    from passmuster.stages.importing import import_endpoint
    from train_case import new_project, write_texts

    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=150, n_labels=20, n_test=120))
    with serve(chat) as served:
        import_endpoint(store, f"{served.url}/v1", model="tiny", n_asked=40)
        counts = []
        for n_again in (0, 150):
            before = len(served.asked)
            report = evaluate(store, scope=replace(QUICK, n_again=n_again)).report
            counts.append(len(served.asked) - before)
    assert counts[0] == counts[1]
    (row,) = report.sections["noise"]["rows"]
    assert (row["source"], row["value"], row["n"]) == ("asked since its import", 0.0, 40)
    assert report.sections["noise"]["not_asked"] == ["this model"]
