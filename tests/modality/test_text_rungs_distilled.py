"""`distilled.v1` before its head: static vectors to the byte, and a price for what is added to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="rungs need the extra `train`")

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import FitView, Profile
from passmuster.modality.text.rungs import distilled, static

TEXTS = [f"text {i % 7} about {'cats and dogs' if i % 2 else 'ships and sails'}" for i in range(60)]


def test_its_graph_is_that_of_the_static_vectors_fitted_before_it(tmp_path: Path) -> None:
    view = FitView(TEXTS, np.full(len(TEXTS), -1), 2, TrainConfig())
    rest = Deadline.after(60), FileCheckpoint(tmp_path), np.random.default_rng(0)
    before = static.fit(view, *rest)
    encoder = distilled.fit(replace(view, fitted={"static.v1": before}), *rest)
    assert encoder.arrays["scales"].tolist() == [1.0]
    graphs = static.export(before), distilled.export(encoder)
    assert graphs[0] == graphs[1]


def test_its_price_grows_with_classes() -> None:
    machine = Machine(n_cores=2, memory_bytes=2**33, matmul_gflops=50.0)
    few = Profile(n_pool=5_000, n_labels=32, n_classes=4, mean_size=200.0, max_size=900.0)
    quotes = [distilled.quote(machine, p) for p in (few, replace(few, n_classes=77))]
    heads = [quote.heads_s or 0.0 for quote in quotes]
    assert 0.0 < heads[0] < heads[1]
    assert all(quote.seconds == pytest.approx(static.quote(machine, few).seconds, abs=0.2) for quote in quotes)


def test_without_an_encoder_there_is_no_teacher() -> None:
    assert "switched off" in distilled.unavailable(TrainConfig(pretrained=False))
