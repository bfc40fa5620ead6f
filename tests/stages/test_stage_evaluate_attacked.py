"""Attacks in an evaluation: metrics, the live release beside, the page, and what cannot be attacked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("torch", reason="gradients need the extra `train`")

from evaluate_case import add_model, go_live, make_digits
from passmuster.core.records import Metric, Report
from passmuster.core.statistics import wilson
from passmuster.metrics.gates.base import read_parameters
from passmuster.metrics.gates.find import gates
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.attacked import beside
from passmuster.store.store import Store


def image_project(folder: Path) -> Store:
    (folder / "muster.toml").write_text('[project]\nmodality = "image"\n[evaluate]\nn_corrupted = 5\n')
    return Store.create(folder)


def test_a_curve_that_falls_beside_the_live_release(tmp_path: Path) -> None:
    digits = make_digits(image_project(tmp_path))
    go_live(digits.store, add_model(digits, run="run-0"))
    add_model(digits, n_fit=40)
    found = evaluate(digits.store, n_attacked=16)
    section = found.report.sections["attacks"]
    assert section["n"] == 16
    values = [row["accuracy"]["value"] for row in section["rows"]]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]
    assert [row["strength"] for row in section["rows"]] == [0, 1, 2, 4, 8]
    assert [a["left_out"] for a in section["attacks"]] == ["", "", ""]
    assert all("incumbent" in row for row in section["rows"][1:])
    assert found.report.metric("robust_accuracy", "strength=8").value == values[-1]  # type: ignore[union-attr]
    assert found.report.metric("robust_accuracy_change", "strength=8") is not None
    page = found.path.read_text()
    assert "means harm" in page
    assert "would you still say" in page


def test_nothing_is_attacked_unasked(tmp_path: Path) -> None:
    digits = make_digits(image_project(tmp_path))
    add_model(digits)
    assert "attacks" not in evaluate(digits.store).report.sections


def test_a_live_endpoint_is_not_attacked_beside_another_model() -> None:
    """Every attack is hundreds of requests that somebody pays for."""
    asked, ours = (SimpleNamespace(classes=classes) for classes in (("a", "b", NO_ANSWER), ("a", "b")))
    live = cast(Any, SimpleNamespace(predictor=asked, fresh=None))
    nothing = cast(Any, None)
    why = beside(nothing, {}, live, cast(Any, ours), (), nothing, nothing, (), nothing, 0, nothing)
    assert why == "the live release is an endpoint, which is attacked only where it is evaluated itself"


def under_attack(n_right: int, n: int, name: str = "robust_accuracy", where: str = "strength=2") -> Metric:
    found = wilson(n_right, n)
    return Metric(name, found.value, found.low, found.high, n, "rate", where, "", found.method, found.level)


FALLEN = Metric("robust_accuracy_change", -0.12, -0.18, -0.06, 200, "rate", "strength=2", "", "tango", 0.95)


@pytest.mark.parametrize(
    ("metrics", "params", "state"),
    [
        ([under_attack(190, 200)], {"strength": 2, "min": 0.8}, "passed"),
        ([under_attack(100, 200)], {"strength": 2, "min": 0.8}, "failed"),
        ([under_attack(8, 10)], {"strength": 2, "min": 0.8}, "insufficient"),
        ([under_attack(190, 200)], {"strength": 4, "min": 0.8}, "failed"),  # not measured there
        ([under_attack(190, 200), FALLEN], {"strength": 2, "max_drop": 0.05}, "failed"),
        ([under_attack(190, 200), FALLEN], {"strength": 2, "max_drop": 0.2}, "passed"),
    ],
)
def test_the_gate(metrics: list[Metric], params: dict[str, Any], state: str) -> None:
    gate = gates["adversarial.v1"]
    report = Report(
        bundle="b", snapshot="s", created="2026-01-01T00:00:00+00:00", modality="text", classes=("a", "b"), n_test=200,
        look=1, metrics=tuple(metrics), item_sets={}, sections={}, incumbent="", task="single-label",
    )  # fmt: skip
    assert gate.judge(report, read_parameters("adversarial.v1", gate, params), 0.05).state == state
