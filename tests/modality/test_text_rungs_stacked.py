"""Stacked views: one graph that computes both, each brought to one spread; and a fit that a kill does not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import Encoder, EncoderGraph, FitView, Profile
from passmuster.modality.find import modalities
from passmuster.modality.text.rungs import pretrained, stacked, static
from passmuster.modality.text.rungs.known_encoders import find_encoders
from passmuster.runtime.engine import Engine

pytest.importorskip("onnx", reason="training needs the extra `train`")
TEXTS = [f"my {w} was {v} on day {i}" for i in range(30) for w in ("card", "train") for v in ("lost", "late")]


@pytest.fixture(autouse=True)
def _needs_an_encoder() -> None:
    if not find_encoders(()).found:
        pytest.skip("no known encoder on this machine: nothing to stack on the static view")


def fit(folder: Path, rung=stacked) -> Encoder:
    view = FitView(TEXTS, np.full(len(TEXTS), -1), 2, TrainConfig())
    return rung.fit(view, Deadline.after(60), FileCheckpoint(folder), np.random.default_rng(0))


def embed(graph: EncoderGraph, folder: Path, texts: list[str]) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    for name, data in graph.assets.items():
        (folder / name).write_bytes(data)
    inputs = modalities["text"].preparer(graph.preprocess, folder)(texts)
    return Engine(graph.onnx, threads=1).run(inputs)["embedding"]


def test_the_graph_is_both_views_side_by_side_at_one_spread(tmp_path: Path) -> None:
    encoder = fit(tmp_path / "stacked")
    asked = [*TEXTS, "", "ünheard of £1.50 http://a.b/c " * 90]
    whole = embed(stacked.export(encoder), tmp_path / "a", asked)
    parts = [
        embed(static.export(stacked.part_of(encoder, "static")), tmp_path / "b", asked),
        embed(pretrained.export(stacked.part_of(encoder, "pretrained")), tmp_path / "c", asked),
    ]
    expected = np.hstack([part * scale for part, scale in zip(parts, encoder.arrays["scales"], strict=True)])
    np.testing.assert_allclose(whole, expected, atol=1e-4)
    width = parts[0].shape[1]
    for view in (whole[: len(TEXTS), :width], whole[: len(TEXTS), width:]):
        spread = ((view - view.mean(axis=0)) ** 2).sum(axis=1).mean()
        assert spread == pytest.approx(0.5, rel=0.01)  # all 120 texts were measured


def test_a_fit_begun_before_is_finished_the_same(tmp_path: Path) -> None:
    whole = fit(tmp_path / "once")
    begun = FileCheckpoint(tmp_path / "twice")
    saved = FileCheckpoint(tmp_path / "once").load("static")
    assert saved is not None  # what a kill between the views leaves
    begun.save("static", *saved)
    again = fit(tmp_path / "twice")
    assert set(whole.arrays) == set(again.arrays)
    for name, value in whole.arrays.items():
        np.testing.assert_array_equal(value, again.arrays[name])


def test_a_view_that_tells_nothing_apart_is_not_blown_up(tmp_path: Path) -> None:
    view = FitView(["the same words"] * 40, np.full(40, -1), 2, TrainConfig())
    encoder = stacked.fit(view, Deadline.after(60), FileCheckpoint(tmp_path), np.random.default_rng(0))
    assert encoder.arrays["scales"].max() <= np.sqrt(0.5) / stacked.SMALLEST_SPREAD + 1e-3


def test_its_price_is_that_of_both_views() -> None:
    machine = Machine(n_cores=2, memory_bytes=2**33, matmul_gflops=50.0)
    profile = Profile(n_pool=5_000, n_labels=32, n_classes=4, mean_size=200.0, max_size=900.0)
    both = static.quote(machine, profile).seconds + pretrained.quote(machine, profile).seconds
    assert both < stacked.quote(machine, profile).seconds < 1.2 * both


def test_without_the_encoder_it_says_so() -> None:
    assert "switched off" in stacked.unavailable(TrainConfig(pretrained=False))
