"""Near and far strange items: each set by itself, classes left out besides, one evaluation and one look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="bundles are written with the package onnx")

from command_case import muster
from evaluate_case import Digits, add_model, image_store, make_digits
from passmuster.core.errors import UsageError
from passmuster.core.records import Metric, Report
from passmuster.flows.project import Project
from passmuster.metrics.novelty import detectors
from passmuster.modality.find import modalities
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.draft import Scope
from passmuster.stages.evaluate.novel_items import named_sets
from passmuster.stages.evaluate.novelty_words import novelty_lines, worst_words
from passmuster.store.ledger import read as read_events

SCOPE = Scope(n_corrupted=0, n_fit=150, n_classes_left_out=3, n_resamples=20, n_previews=40, n_timed=0)


@pytest.fixture
def digits(tmp_path: Path) -> Digits:
    made = make_digits(image_store(tmp_path / "p"))
    add_model(made)
    return made


def write_images(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        (folder / f"{i}.png").write_bytes(modalities["image"].encode(image))
    return folder


@pytest.fixture
def near(digits: Digits, tmp_path: Path) -> Path:
    """Digits upside down: of the same strokes."""
    images = [np.uint8(255 * row.reshape(8, 8, 1))[::-1] for row in digits.pixels["reference"][:40]]
    return write_images(tmp_path / "flipped digits", images)


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """Noise: like nothing that was learnt."""
    rng = np.random.default_rng(0)
    return write_images(tmp_path / "noise", [rng.integers(0, 256, (8, 8, 1), dtype=np.uint8) for _ in range(40)])


def found(report: Report, name: str, where: str) -> Metric:
    metric = report.metric(name, where)
    assert metric is not None, (name, where)
    return metric


def test_near_and_far_are_measured_by_themselves_in_one_look(digits: Digits, near: Path, far: Path) -> None:
    result = evaluate(digits.store, novel={"near": near, "far": far}, scope=SCOPE)
    report = result.report
    section = report.sections["novelty"]
    guard = section["guard"]
    assert [one["set"] for one in section["sets"]] == ["near", "far", "classes left out"]
    areas = {one["set"]: found(report, "novelty_auroc", f"detector={guard} set={one['set']}").value
             for one in section["sets"]}  # fmt: skip
    assert areas["near"] < areas["far"]
    for one in section["sets"]:
        assert [row["detector"] for row in one["rows"]] == [guard, *detectors]
        own = found(report, "novelty_auroc", f"detector={guard} set={one['set']}")
        assert one["rows"][0]["auroc"]["value"] == pytest.approx(own.value)
    assert found(report, "novelty_auroc", f"detector={guard}").value == pytest.approx(areas["near"])  # the worst named
    assert (section["setting"], section["set"], section["n_strange"]) == ("named", "near", 40)
    assert found(report, "novelty_flagged", "set=far").value > found(report, "novelty_flagged", "set=near").value
    assert len(report.item_sets["novel=near"]) == len(report.item_sets["novel=far"]) == 40
    with digits.store.read() as db:
        assert sum(event.kind == "test.open" for event in read_events(db)) == 1
    assert report.look == 1


def test_what_is_told_worst_is_said(digits: Digits, near: Path, far: Path) -> None:
    result = evaluate(digits.store, novel=[f"near={near}", f"far={far}"], scope=SCOPE)
    section = result.report.sections["novelty"]
    areas = {one["set"]: one["rows"][0]["auroc"]["value"] for one in section["sets"]}
    worst = min(areas, key=lambda name: areas[name])
    said = f"Of 3 kinds of strange items its guard tells {worst} worst (AUROC {areas[worst]:.3f}), far best"
    assert worst_words(section).startswith(said)
    lines = list(novelty_lines(section))
    assert sum(line.startswith(f"novelty, {section['guard']} (near): AUROC") for line in lines) == 1
    assert lines[-1].strip() == worst_words(section)
    page = result.path.read_text()
    assert worst_words(section) in page
    assert all(f"{name}: every detector" in page for name in ("near", "far", "classes left out"))
    if (flagged := found(result.report, "novelty_flagged", "set=near")).value < 0.5:
        broken = " ".join(line["text"] for line in result.report.sections["summary"]["breaks"])
        assert "Strange items of “near”: the guard calls only" in broken
        assert f"{100 * flagged.value:.1f}".rstrip("0").rstrip(".") in broken


def test_a_bare_path_keeps_its_names_and_classes_are_left_out_besides(digits: Digits, far: Path) -> None:
    report = evaluate(digits.store, novel=far, scope=SCOPE).report
    section = report.sections["novelty"]
    assert [one["set"] for one in section["sets"]] == ["novel", "classes left out"]
    assert len(report.item_sets["novel"]) == 40
    assert found(report, "novelty_flagged", "set=novel").value > 0.5
    assert found(report, "novelty_auroc", "detector=knn.v1").value > 0.9
    alone = evaluate(digits.store, scope=SCOPE).report
    besides = found(report, "novelty_auroc", "detector=knn.v1 set=classes left out")
    assert besides.value == pytest.approx(found(alone, "novelty_auroc", "detector=knn.v1").value)
    assert not any("set=" in m.slice for m in alone.metrics if m.name == "novelty_auroc")  # one kind needs no name


def test_where_no_class_can_be_left_out_that_is_said_beside_the_sets(digits: Digits, far: Path) -> None:
    result = evaluate(digits.store, novel={"far": far}, scope=replace(SCOPE, n_smallest_left_out=1_000))
    section = result.report.sections["novelty"]
    assert [(one["set"], one["setting"]) for one in section["sets"]] == [("far", "named"), ("classes left out", "none")]
    assert "leaving a class out needs three classes" in result.path.read_text()


@pytest.mark.parametrize(
    "given", [["near=a", "near=b"], ["test=a"], ["=a"], {"a b": "x"}, ["one/x.csv", "two/x.csv"]]
)  # fmt: skip
def test_names_that_would_hide_a_set(given: object) -> None:
    with pytest.raises(UsageError) as caught:
        named_sets(given)  # type: ignore[arg-type]
    assert caught.value.code == "novel.name"


def test_a_path_may_hold_the_sign(tmp_path: Path) -> None:
    path = tmp_path / "a=b.csv"
    path.write_text("text\nhello\n")
    assert named_sets(str(path)) == {"novel": path}
    assert named_sets([f"near={path}"]) == {"near": path}


def test_from_the_command_and_from_python(digits: Digits, near: Path, far: Path) -> None:
    done = muster(digits.store.folder, "evaluate", "--novel", f"near={near}", "--novel", f"far={far}")
    assert done.returncode == 0, done.stderr
    assert "40 strange items of near read" in done.stderr
    assert "(far): AUROC" in done.stdout
    assert "Of 3 kinds of strange items its guard tells" in done.stdout
    refused = muster(digits.store.folder, "--json", "evaluate", "--novel", f"near={near}", "--novel", f"near={far}")
    assert refused.returncode == 2
    assert "novel.name" in refused.stdout
    report = Project(digits.store).evaluate(novel={"far": far}).report
    assert found(report, "novelty_flagged", "set=far").n == 40
    assert report.look == 2  # what can be refused beforehand costs no look
