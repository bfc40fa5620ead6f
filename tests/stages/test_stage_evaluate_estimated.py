"""Accuracy without labels in a report: what teaches, what is estimated, and what is said where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import evaluate_case as case
from passmuster.cli.evaluate_verb import lines_of
from passmuster.core.codec import from_plain
from passmuster.core.errors import NotFoundError
from passmuster.core.records import Report
from passmuster.modality.find import modalities
from passmuster.signals.label_free import AccuracyEstimator
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.draft import Scope
from passmuster.stages.evaluate.page.estimated import estimated as section_of

SCOPE = Scope(n_corrupted=60, n_fit=100, n_classes_left_out=2, n_resamples=200, page=False)
FAULTS = ("gaussian_noise.v1", "contrast.v2", "occlusion.v1", "brightness.v2", "pixelation.v1", "shot_noise.v1")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> case.Digits:
    made = case.make_digits(case.image_store(tmp_path_factory.mktemp("estimated")))
    case.add_model(made)
    return made


@pytest.fixture(scope="module")
def report(digits: case.Digits, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("unlabelled")
    rng, image = np.random.default_rng(0), modalities["image"]
    spoil = image.corruptions["occlusion.v1"]
    for i, pixels in enumerate(digits.pixels["test"][:120]):
        picture = (pixels * 255).reshape(8, 8, 1).astype(np.uint8)
        (folder / f"{i:03}.png").write_bytes(image.encode(spoil(picture, 5, rng)))
    return evaluate(digits.store, unlabelled=folder, corruptions=FAULTS, scope=SCOPE).report


def test_the_report_holds_what_the_watch_needs(report: Report) -> None:
    section = report.sections["estimated"]
    taught = from_plain(AccuracyEstimator, section["estimator"])
    accuracy = report.metric("accuracy")
    assert accuracy is not None
    assert taught.names == ("confidence", "above", "familiarity")
    assert taught.accuracy == pytest.approx(accuracy.value)
    assert taught.n_families == len(FAULTS)
    assert taught.estimate(taught.home, 500).value == pytest.approx(accuracy.value)
    assert section["seen"] == ["confidence", "above", "familiarity", "agreement", "votes"]


def test_spoilt_items_are_estimated_below_the_test_and_near_what_is_so(digits: case.Digits, report: Report) -> None:
    accuracy, found = report.metric("accuracy"), report.metric("estimated_accuracy", "unlabelled=named")
    assert accuracy is not None
    assert found is not None
    so = next(m for m in report.metrics if m.slice == "corruption=occlusion.v1 severity=5")
    assert found.value < accuracy.value - 0.1
    assert found.low <= so.value <= found.high
    assert (found.n, found.level) == (120, 0.9)


def test_the_page_and_the_command_say_that_it_is_an_estimate(digits: case.Digits, report: Report) -> None:
    page = section_of(report)
    assert "Where there are no labels" in page
    assert "the items named" in page
    assert "Labels decide" in page

    class Shown:
        path = Path("report.html")

        def __init__(self) -> None:
            self.report = report

    lines = [line for line in lines_of(Shown(), 5) if "without labels" in line]  # type: ignore[arg-type]
    assert len(lines) == 1
    assert "estimated" in lines[0]
    assert "on 120 of the items named" in lines[0]


def test_too_few_faults_are_said(digits: case.Digits) -> None:
    found = evaluate(digits.store, corruptions=FAULTS[:2], scope=SCOPE).report
    assert found.sections["estimated"]["estimator"] is None
    assert found.sections["estimated"]["why_not"].startswith("2 natural faults")
    assert section_of(found) == ""


def test_without_faults_nothing_is_estimated(digits: case.Digits) -> None:
    found = evaluate(digits.store, scope=replace(SCOPE, n_corrupted=0)).report
    assert found.sections["estimated"]["why_not"].startswith("0 natural faults")


def test_a_path_that_is_not_there(digits: case.Digits, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as error:
        evaluate(digits.store, unlabelled=tmp_path / "gone", scope=SCOPE)
    assert error.value.code == "items.none"
