"""An encoder taught by labels: its graph, its folds that see none of theirs, and a kill that changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import FitView, Profile
from passmuster.modality.text.rungs.known_encoders import find_encoders

pytest.importorskip("torch", reason="teaching an encoder needs the extra `train`")
pytest.importorskip("onnx", reason="training needs the extra `train`")

from passmuster.modality.text.rungs import stacked, teach, tuned

WORDS = (("card", "stolen"), ("train", "late"))
TEXTS = [f"my {a} was {b} on day {i}" for i in range(40) for a, b in WORDS]
LABELS = np.array([i % 2 if i < 16 else -1 for i in range(len(TEXTS))])
FOLDS = np.array([i // 2 % 4 if i < 16 else -1 for i in range(len(TEXTS))])


@pytest.fixture(autouse=True)
def _short_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    if not find_encoders(()).found:
        pytest.skip("no known encoder on this machine: nothing to teach")
    monkeypatch.setattr(teach, "N_STEPS_FEW", 4)


def view() -> FitView:
    return FitView(TEXTS, LABELS, 2, TrainConfig())


def fit(folder: Path):
    return tuned.fit(view(), Deadline.after(3600), FileCheckpoint(folder), np.random.default_rng(0))


def test_the_graph_holds_the_taught_weights(tmp_path: Path) -> None:
    encoder = fit(tmp_path)
    taught = stacked.embed(tuned.export(encoder), TEXTS[:20])
    before = stacked.embed(stacked.STACKED.export(encoder), TEXTS[:20])
    assert taught.shape == before.shape
    width = taught.shape[1] - 384
    np.testing.assert_array_equal(taught[:, :width], before[:, :width])  # the static view is not taught
    assert np.abs(taught[:, width:] - before[:, width:]).max() > 1e-3


def test_what_was_done_before_a_kill_is_not_done_again(tmp_path: Path) -> None:
    whole = fit(tmp_path / "once")
    (tmp_path / "once" / "tuned.safetensors").unlink()
    again = fit(tmp_path / "once")
    assert {name: value.tobytes() for name, value in whole.arrays.items()} == {
        name: value.tobytes() for name, value in again.arrays.items()
    }


def test_a_fold_is_blind_to_its_own_labels(tmp_path: Path) -> None:
    """Turning every label of fold 1 round changes the other folds' encoders and not its own."""
    items = np.arange(24)
    turned = np.where(FOLDS == 1, 1 - LABELS, LABELS)
    rows = [
        list(
            tuned.held_out(
                FitView(TEXTS, labels, 2, TrainConfig()), items, FOLDS, Deadline.after(3600),
                FileCheckpoint(tmp_path / name), np.random.default_rng(0),
            )
        )
        for name, labels in (("a", LABELS), ("b", turned))
    ]  # fmt: skip
    assert len(rows[0]) == 4
    np.testing.assert_array_equal(rows[0][1], rows[1][1])
    assert all(np.abs(rows[0][fold] - rows[1][fold]).max() > 1e-4 for fold in (0, 2, 3))


def test_folds_end_when_time_is_up_and_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    checkpoint, items = FileCheckpoint(tmp_path), np.arange(20)

    def folds(seconds: float) -> list[np.ndarray]:
        generator = np.random.default_rng(0)
        return list(tuned.held_out(view(), items, FOLDS, Deadline.after(seconds), checkpoint, generator))

    assert folds(-1.0) == []
    whole = folds(3600.0)
    again = folds(-1.0)  # nothing is left to do
    for before, after in zip(whole, again, strict=True):
        np.testing.assert_array_equal(before, after)


def test_it_costs_more_than_the_views_alone_and_more_with_more_labels() -> None:
    machine = Machine(n_cores=2, memory_bytes=2**33, matmul_gflops=50.0)
    few, many = (Profile(5_000, n, 4, 200.0, 900.0) for n in (32, 512))
    assert stacked.quote(machine, few).seconds < tuned.quote(machine, few).seconds
    assert tuned.quote(machine, few).seconds < tuned.quote(machine, many).seconds
