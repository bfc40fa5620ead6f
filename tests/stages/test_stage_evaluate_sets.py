"""Prediction sets and the promised risk in an evaluation: by hand, by class and group, and of old bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate_case import Digits, add_model, make_digits
from passmuster.core.config import Config, GuardPolicy
from passmuster.core.config_file import render_config
from passmuster.runtime.answers import softmax
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate import EvaluateResult, Scope, evaluate
from passmuster.stages.evaluate.gather import gather_evidence
from passmuster.stages.evaluate.sets import set_lines, slices_of
from passmuster.store.store import Store

SMALL = Scope(n_corrupted=4, n_fit=100, n_classes_left_out=1, n_resamples=50, n_previews=20)


def digits_with(folder: Path, guard: GuardPolicy) -> Digits:
    config = Config()
    project = replace(config.project, modality="image", name="digits")
    config = replace(config, project=project, policy=replace(config.policy, guard=guard))
    folder.mkdir()
    (folder / "muster.toml").write_text(render_config(config))
    return make_digits(Store.create(folder))


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, Predictor, EvaluateResult]:
    digits = digits_with(tmp_path_factory.mktemp("sets") / "project", GuardPolicy(sets="aps.v1", set_coverage=0.95))
    bundle = add_model(digits)
    predictor = Predictor(open_bundle(digits.store.bundle_folder(bundle.path)))
    return digits, predictor, evaluate(digits.store, scope=SMALL)


def test_coverage_and_length_are_those_of_the_sets_as_served(
    adaptive: tuple[Digits, Predictor, EvaluateResult],
) -> None:
    digits, predictor, result = adaptive
    said = predictor.predict([np.uint8(row.reshape(8, 8, 1) * 255) for row in digits.pixels["test"]])
    holds = [truth in p.prediction_set for truth, p in zip(digits.shown["test"], said, strict=True)]
    found, size = (result.report.metric(name) for name in ("set_coverage", "set_size"))
    assert found
    assert size
    assert found.value == pytest.approx(np.mean(holds))
    assert size.value == pytest.approx(np.mean([len(p.prediction_set) for p in said]))
    assert all(p.label in p.prediction_set for p in said)
    section = result.report.sections["prediction_sets"]
    assert (section["served"], section["target"], section["n_calibration"]) == ("aps.v1", 0.95, 300)
    by_class = {row["slice"]: row["coverage"]["value"] for row in section["slices"]}
    for name in "0123456789":
        own = [h for h, truth in zip(holds, digits.shown["test"], strict=True) if truth == name]
        assert by_class[f"class={name}"] == pytest.approx(np.mean(own))
    for name in ("lac.v1", "aps.v1", "raps.v1"):
        assert result.report.metric("set_coverage", f"method={name}")


def test_the_page_shows_the_methods_and_the_least_covered(adaptive: tuple[Digits, Predictor, EvaluateResult]) -> None:
    text = adaptive[2].path.read_text(encoding="utf-8")
    assert "Which classes stay possible" in text
    assert text.index("<code>aps.v1</code> <b>served</b>") > 0
    assert "randomised by a digest" in text
    assert "Thresholds come from 300 labels" in text


def test_groups_are_slices_of_their_own(adaptive: tuple[Digits, Predictor, EvaluateResult]) -> None:
    digits, predictor, _ = adaptive
    with digits.store.read() as db:
        from passmuster.store.releases import read_bundle

        bundle = read_bundle(db, "")
    evidence = gather_evidence(digits.store, bundle, predictor.classes)
    items = [replace(item, groups={"pen": "red" if i % 3 else "blue"} | ({"lang": "de"} if i < 5 else {}))
             for i, item in enumerate(evidence.items)]  # fmt: skip
    found = {name: int(mask.sum()) for name, mask in slices_of(replace(evidence, items=tuple(items)))}
    assert found["group=pen=blue"] == 67
    assert found["group=pen=red"] == 133
    assert found["group=lang=de"] == 5
    assert "group=lang=" not in found


def test_what_falls_short_is_said() -> None:
    row = {"slice": "class=rare", "below": True}
    low = {"target": 0.9, "n_calibration": 50, "coverage": {"value": 0.8, "high": 0.85}, "slices": [row]}
    lines = set_lines(low)
    assert "80.0" in lines[0]
    assert "“rare”" in lines[1]
    assert set_lines({**low, "coverage": {"value": 0.9, "high": 0.95}, "slices": [{**row, "below": False}]}) == []


def test_a_bundle_from_before_the_methods_is_still_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate_case

    whole = evaluate_case.fit_guard
    old = ("detector", "novelty", "set_threshold", "n_")

    def fit_guard(**given: object) -> dict[str, np.ndarray]:
        return {k: v for k, v in whole(**given).items() if k.startswith(old)}  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate_case, "fit_guard", fit_guard)
    digits = digits_with(tmp_path / "project", GuardPolicy())
    add_model(digits)
    section = evaluate(digits.store, scope=SMALL).report.sections["prediction_sets"]
    assert section["served"] == "lac.v1"
    assert section["methods"] == []
    assert section["coverage"]["n"] == 200


def promised(folder: Path, max_risk: float) -> tuple[Predictor, Digits, EvaluateResult]:
    digits = digits_with(folder, GuardPolicy(max_risk=max_risk))
    bundle = add_model(digits)
    predictor = Predictor(open_bundle(digits.store.bundle_folder(bundle.path)))
    return predictor, digits, evaluate(digits.store, scope=SMALL)


def test_a_promised_risk_is_obeyed_in_serving_and_checked_on_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evaluate_case

    whole = evaluate_case.fit_guard

    def fit_guard(*, oof_logits: np.ndarray, oof_labels: np.ndarray, **given: Any) -> dict[str, np.ndarray]:
        """As if a third of the least sure held-out labels had been answered wrongly."""
        unsure = np.argsort(softmax(oof_logits).max(axis=1))[:90:3]
        labels = oof_labels.copy()
        labels[unsure] = (labels[unsure] + 1) % 10
        return whole(oof_logits=oof_logits, oof_labels=labels, **given)

    monkeypatch.setattr(evaluate_case, "fit_guard", fit_guard)
    predictor, digits, result = promised(tmp_path / "project", 0.03)
    threshold = float(predictor.bundle.guard["risk.threshold"])
    assert 0 < threshold < 1
    said = predictor.predict([np.uint8(row.reshape(8, 8, 1) * 255) for row in digits.pixels["test"]])
    assert [("risk" in p.reasons) for p in said] == [p.probability < threshold for p in said]
    assert all(p.abstained for p in said if "risk" in p.reasons)
    given = [(p, truth) for p, truth in zip(said, digits.shown["test"], strict=True) if p.probability >= threshold]
    section = result.report.sections["promised_risk"]
    assert section["risk"]["value"] == pytest.approx(np.mean([p.label != truth for p, truth in given]))
    assert section["share"]["value"] == pytest.approx(len(given) / 200)
    lines = [row["text"] for part in ("good", "breaks") for row in result.report.sections["summary"][part]]
    assert any("wrong at most 3" in line and "on this test" in line for line in lines)


def test_a_risk_that_cannot_be_shown_withholds_everything_and_says_what_would_help(tmp_path: Path) -> None:
    predictor, digits, result = promised(tmp_path / "project", 0.001)
    said = predictor.predict([np.uint8(row.reshape(8, 8, 1) * 255) for row in digits.pixels["test"][:20]])
    assert all("risk" in p.reasons for p in said)
    lines = [row["text"] for row in result.report.sections["summary"]["breaks"]]
    assert any("could not be shown from 300 labels" in line and "more training labels" in line for line in lines)
    assert result.report.metric("promised_risk") is None
    assert result.report.sections["promised_risk"]["kept"] is None
