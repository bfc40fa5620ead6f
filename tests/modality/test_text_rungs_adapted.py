"""Views with a layer learnt from raw texts: what is served, that no label is read, and a kill that changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.learn.places import learn_places
from passmuster.modality.base import THROUGH, Embedded, Encoder, FitView, Profile
from passmuster.modality.text.rungs import adapted, pretrained, stacked, static
from passmuster.modality.text.rungs.known_encoders import find_encoders

pytest.importorskip("onnx", reason="training needs the extra `train`")
TEXTS = [f"my {w} was {v} on day {i}" for i in range(30) for w in ("card", "train") for v in ("lost", "late")]


@pytest.fixture(autouse=True)
def _needs_an_encoder() -> None:
    if not find_encoders(()).found:
        pytest.skip("no known encoder on this machine: nothing to adapt")


def fit(folder: Path, labels: np.ndarray | None = None, **more: object) -> Encoder:
    told = np.full(len(TEXTS), -1) if labels is None else labels
    view = replace(FitView(TEXTS, told, 2, TrainConfig()), **more)
    return adapted.fit(view, Deadline.after(60), FileCheckpoint(folder), np.random.default_rng(0))


def test_the_graph_is_the_views_side_by_side_times_the_layer(tmp_path: Path) -> None:
    encoder = fit(tmp_path)
    asked = [*TEXTS[:20], "", "ünheard of £1.50 http://a.b/c " * 90]
    beside = stacked.embed(stacked.export(encoder), asked)
    served = stacked.embed(adapted.export(encoder), asked)
    np.testing.assert_allclose(served, beside @ encoder.arrays[THROUGH], atol=1e-4)
    assert np.abs(served - beside).max() > 0.01


def test_labels_are_not_read(tmp_path: Path) -> None:
    plain, told = fit(tmp_path / "a"), fit(tmp_path / "b", np.arange(len(TEXTS)) % 2)
    for name, value in plain.arrays.items():
        np.testing.assert_array_equal(value, told.arrays[name])


def test_a_fit_that_was_killed_ends_at_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(tmp_path / "once")
    monkeypatch.setattr(adapted, "learn_places", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path / "twice")  # as a kill before the layer is there
    monkeypatch.setattr(adapted, "learn_places", learn_places)
    again = fit(tmp_path / "twice")
    assert {n: v.tobytes() for n, v in whole.arrays.items()} == {n: v.tobytes() for n, v in again.arrays.items()}


def test_what_is_embedded_already_is_not_embedded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer is that of the rows given, of the texts that both views have."""
    before = stacked.fit(
        FitView(TEXTS, np.full(len(TEXTS), -1), 2, TrainConfig()),
        Deadline.after(60), FileCheckpoint(tmp_path), np.random.default_rng(0),
    )  # fmt: skip
    seen = np.arange(0, len(TEXTS), 2)
    rows = [
        stacked.embed(static.export(stacked.part_of(before, "static")), TEXTS),
        stacked.embed(pretrained.export(stacked.part_of(before, "pretrained")), [TEXTS[i] for i in seen]),
    ]
    there = {
        "static.v1": Embedded(np.arange(len(TEXTS)), rows[0]),
        "pretrained.v1": Embedded(seen, rows[1]),
    }
    monkeypatch.setattr(stacked, "embed", lambda *_: pytest.fail("embedded again"))
    found = fit(tmp_path, fitted={"stacked.v1": before}, embedded=there)
    a, b = before.arrays["scales"]
    np.testing.assert_allclose(
        found.arrays[THROUGH], learn_places(np.hstack([a * rows[0][seen], b * rows[1]])), atol=1e-5
    )


def test_its_price_is_little_more_than_that_of_the_views() -> None:
    machine = Machine(n_cores=2, memory_bytes=2**33, matmul_gflops=50.0)
    few, many = (Profile(20_000, n, 4, 200.0, 900.0) for n in (32, 512))
    for profile in (few, many):
        assert 0 < adapted.quote(machine, profile).seconds - stacked.quote(machine, profile).seconds < 10
    extra = [adapted.quote(machine, p).seconds - stacked.quote(machine, p).seconds for p in (few, many)]
    assert extra[0] < extra[1]


def test_it_needs_the_pretrained_encoder() -> None:
    assert "switched off" in adapted.unavailable(TrainConfig(pretrained=False))
