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

MAX_CHARS = 1_200  # the encoder reads 256 tokens
BATCH = 64
CONV_S = 280.0
FILES = {
    "banking77": "banking77/banking77.parquet",
    "clinc150": "clinc150_oos/clinc150.parquet",
    "ag_news": "ag_news/ag_news_test.parquet",
    "sms_spam": "sms_spam/sms_spam.parquet",
}


def embedded(data: Path, name: str, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (n, d), label names (n,), and the mask of the test, from `folder` when they lie there."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        print(f"embedding {name}", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        matrix, labels, test = _fashion(data) if name == "fashion_mnist" else _texts(data, name)
        part = path.with_suffix(".part.npz")
        np.savez(part, embeddings=matrix, labels=labels, test=test)
        part.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return kept["embeddings"], kept["labels"], kept["test"]


def _texts(data: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits without an official test are halved by a fixed seed."""
    import polars as pl

    table = pl.read_parquet(data / FILES[name])
    if name == "clinc150":
        table = table.filter(~pl.col("is_oos")).rename({"intent": "label"})
    if name == "sms_spam":
        table = table.unique("text", maintain_order=True)  # it holds 403 exact copies
    if "split" in table.columns:
        test = (table["split"] == "test").to_numpy()
    else:
        test = np.zeros(len(table), bool)
        test[np.random.default_rng(0).permutation(len(table))[: len(table) // 2]] = True
    texts = [text[:MAX_CHARS] for text in table["text"]]
    return _embed("text", "pretrained.v1", [], texts), table["label"].cast(pl.String).to_numpy().astype(str), test


def _fashion(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(data / "fashion_mnist" / "fashion_mnist.npz", allow_pickle=False) as arrays:
        train, test = list(arrays["x_train"][..., None]), list(arrays["x_test"][..., None])
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(str)
    return _embed("image", "conv.v1", train, train + test), labels, np.arange(len(labels)) >= len(train)


def _embed(modality_name: str, rung_name: str, learnt: Sequence[Any], payloads: Sequence[Any]) -> np.ndarray:
    """Embeddings of `payloads` by a rung fitted to `learnt`."""
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
        graph = rung.export(rung.fit(view, Deadline.after(CONV_S), checkpoint, np.random.default_rng(0)))
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
