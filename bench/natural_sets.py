"""Embeddings for the natural faults: Amazon reviews by three encoders, Fashion-MNIST by one, made once.

`float32` is the pretrained encoder as it is, `int8` its export with eight-bit weights, `older` vectors of words that
know these texts only. Reviews are cut at 400 characters: what comes behind would take most of the time.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from choose_sets import BATCH, embed_by

MAX_CHARS = 400
FIT_S = 60.0


@dataclass(frozen=True)
class Data:
    """Items as a project would name them, embeddings by encoder (n, d), labels, and what a shift goes along."""

    names: list[str]
    embeddings: dict[str, np.ndarray]
    labels: np.ndarray
    group: np.ndarray  # kind of goods; of images ""
    year: np.ndarray


def amazon(data: Path, folder: Path, quick: bool) -> Data:
    """8,000 reviews of four kinds of goods, positive or negative, dated."""
    import polars as pl

    table = pl.read_parquet(data / "amazon_multidomain" / "amazon_multidomain.parquet")
    if quick:
        table = table.filter(pl.col("domain").is_in(["books", "kitchen"])).sample(1_600, seed=0)
    texts = [f"{title} {text}"[:MAX_CHARS] for title, text in zip(table["title"].fill_null(""), table["text"])]
    made: dict[str, Callable[[], np.ndarray]] = {
        "float32": lambda: embed_by("text", "pretrained.v1", [], texts, FIT_S),
        "int8": lambda: embed_int8(texts),
        "older": lambda: embed_by("text", "static.v1", texts[::4], texts, FIT_S),
    }
    part = "-quick" if quick else ""
    embeddings = {name: kept(folder / f"amazon-{name}{part}.npy", make) for name, make in made.items()}
    year = np.array([int(str(d)[:4]) if d else 0 for d in table["date"].to_list()])
    return Data(
        [f"{i}" for i in range(len(texts))], embeddings, np.array(table["label"].to_list()),
        np.array(table["domain"].to_list()), year,
    )  # fmt: skip


def fashion(data: Path, folder: Path, quick: bool) -> Data:
    """12,000 images of ten kinds of clothes, by histograms of gradients."""
    n = 2_500 if quick else 12_000
    with np.load(data / "fashion_mnist" / "fashion_mnist.npz", allow_pickle=False) as arrays:
        images, labels = arrays["x_train"][:n].reshape(n, 28, 28, 1), arrays["y_train"][:n]
        names = np.array([str(name) for name in arrays["class_names"]])
    path = folder / f"fashion-{n}.npy"
    matrix = kept(path, lambda: embed_by("image", "gradients.v1", list(images[:500]), list(images), FIT_S))
    return Data([f"{i}" for i in range(n)], {"float32": matrix}, names[labels], np.full(n, ""), np.zeros(n, int))


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A matrix from its file, made first where there is none."""
    if not path.is_file():
        print(f"embedding {path.stem}", file=sys.stderr, flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.asarray(np.load(path))


def embed_int8(texts: list[str]) -> np.ndarray:
    """By the pretrained encoder, its weights in eight bits as `choose_engine` makes them."""
    from passmuster.core.budget import Deadline
    from passmuster.core.config import TrainConfig
    from passmuster.learn.checkpoint import FileCheckpoint
    from passmuster.modality.base import FitView
    from passmuster.modality.find import modalities
    from passmuster.runtime.engine import Engine, EngineChoice, choose_engine

    modality = modalities["text"]
    rung = modality.rungs["pretrained.v1"]
    with tempfile.TemporaryDirectory() as scratch:
        view = FitView([], np.zeros(0, int), 2, TrainConfig())
        graph = rung.export(
            rung.fit(view, Deadline.after(FIT_S), FileCheckpoint(Path(scratch)), np.random.default_rng(0))
        )
        for name, content in graph.assets.items():
            (Path(scratch) / name).write_bytes(content)
        prepare = modality.preparer(graph.preprocess, Path(scratch))
    feeds = [prepare(texts[i : i + 16]) for i in (0, 16, 32)]
    small, choice, rows = choose_engine(graph.onnx, feeds, min_neighbour_agreement=0.0, seconds=1.0)
    if choice.precision != "int8":
        raise SystemExit(f"int8 was not the faster here, so that it is not measured: {rows}")
    engine = Engine(small, EngineChoice(precision="int8"))
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = [
        engine.run(prepare([texts[i] for i in order[at : at + BATCH]]))["embedding"]
        for at in range(0, len(order), BATCH)
    ]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return np.asarray(np.concatenate(parts)[back], dtype=np.float32)
