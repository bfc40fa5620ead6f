"""Two views whose embeddings are there are measured on those: nothing is embedded, and no encoder has to lie here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from passmuster.core.budget import Deadline
from passmuster.core.config import TrainConfig
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import Embedded, Encoder, FitView
from passmuster.modality.text.rungs import stacked

TEXTS = [f"text {i}" for i in range(40)]


def test_spreads_are_of_what_both_have_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(*_: object) -> np.ndarray:
        raise AssertionError("it was embedded before")

    monkeypatch.setattr(stacked, "embed", embed)
    rng = np.random.default_rng(0)
    seen = np.arange(0, 40, 2)  # by the dear one; the static view has seen all
    rows = {"static.v1": 3.0 * rng.normal(size=(40, 4)), "pretrained.v1": 0.5 * rng.normal(size=(20, 6))}
    rows["static.v1"][1::2] += 1_000.0  # of texts that the other has not seen: they do not count
    embedded = {
        "static.v1": Embedded(np.arange(40), rows["static.v1"]),
        "pretrained.v1": Embedded(seen, rows["pretrained.v1"]),
    }
    fitted = {name: Encoder(name, {}, {}) for name in rows}
    view = FitView(TEXTS, np.full(40, -1), 2, TrainConfig(), fitted, embedded)
    encoder = stacked.fit(view, Deadline.after(60), FileCheckpoint(tmp_path), np.random.default_rng(0))
    np.testing.assert_allclose(
        encoder.arrays["scales"], stacked.scales_of([rows["static.v1"][seen], rows["pretrained.v1"]]), rtol=1e-6
    )
