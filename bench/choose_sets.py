"""Embeddings of the sets on which choosing is measured, made once and kept in a folder.

Texts by the local pretrained encoder in float32; Fashion-MNIST by `conv.v1`, trained for four minutes on its training
images, of which no label is read.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from answers import read_set

BATCH = 64
CONV_S, QUICK_CONV_S = 280.0, 30.0
N_QUICK = (2_500, 700)  # items of the training split and of the test


def embedded(data: Path, name: str, folder: Path, *, quick: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (n, d), label names (n,), and the mask of the test, from `folder` when they lie there.

    When quick, of a part of each set, and the image encoder is trained on that part for a fraction of the time.
    """
    path = folder / f"{name}{'-quick' if quick else ''}.npz"
    if not path.is_file():
        print(f"embedding {name}", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        matrix, labels, test = _fashion(data, quick) if name == "fashion_mnist" else _texts(data, name, quick)
        part = path.with_suffix(".part.npz")
        np.savez(part, embeddings=matrix, labels=labels, test=test)
        part.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return kept["embeddings"], kept["labels"], kept["test"]


def _part(test: np.ndarray, quick: bool) -> np.ndarray:
    """Positions of all items, or of so many of each split."""
    if not quick:
        return np.arange(len(test))
    rng = np.random.default_rng(0)
    sides = [rng.permutation(np.flatnonzero(side))[:n] for side, n in zip((~test, test), N_QUICK, strict=True)]
    return np.sort(np.concatenate(sides))


def _texts(data: Path, name: str, quick: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    texts, labels, test = read_set(data, name)
    chosen = _part(test, quick)
    matrix = embed_by("text", "pretrained.v1", [], [texts[i] for i in chosen], CONV_S)
    return matrix, labels[chosen], test[chosen]


def _fashion(data: Path, quick: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(data / "fashion_mnist" / "fashion_mnist.npz", allow_pickle=False) as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])[..., None]
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(str)
        test = np.arange(len(labels)) >= len(arrays["y_train"])
    chosen = _part(test, quick)
    images, labels, test = images[chosen], labels[chosen], test[chosen]
    seconds = QUICK_CONV_S if quick else CONV_S
    return embed_by("image", "conv.v1", list(images[~test]), list(images), seconds), labels, test


def embed_by(
    modality_name: str, rung_name: str, learnt: Sequence[Any], payloads: Sequence[Any], seconds: float
) -> np.ndarray:
    """Embeddings of `payloads` by a rung fitted to `learnt` in so many seconds."""
    from passmuster.core.budget import Deadline
    from passmuster.core.config import TrainConfig
    from passmuster.learn.checkpoint import FileCheckpoint
    from passmuster.modality.base import FitView
    from passmuster.modality.find import modalities
    from passmuster.runtime.engine import Engine, EngineChoice

    modality = modalities[modality_name]
    rung = modality.rungs[rung_name]
    with tempfile.TemporaryDirectory() as scratch:
        view = FitView(learnt, np.full(len(learnt), -1), 2, TrainConfig())
        checkpoint = FileCheckpoint(Path(scratch))
        graph = rung.export(rung.fit(view, Deadline.after(seconds), checkpoint, np.random.default_rng(0)))
        for name, content in graph.assets.items():
            (Path(scratch) / name).write_bytes(content)
        prepare = modality.preparer(graph.preprocess, Path(scratch))
    engine = Engine(graph.onnx, EngineChoice())
    order = np.argsort([len(payload) for payload in payloads], kind="stable")
    rows = [
        engine.run(prepare([payloads[i] for i in order[at : at + BATCH]]))["embedding"]
        for at in range(0, len(order), BATCH)
    ]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return np.asarray(np.concatenate(rows)[back], dtype=np.float32)
