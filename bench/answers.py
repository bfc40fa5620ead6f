"""Real answers of a real model on five public sets: what Muster's heads say after 8 labels per class, with the truth.

The local pretrained encoder embeds each set once; the matrix is kept in `folder` and read again. A draw of labels fits
and chooses the heads as training does (see `stages/train/judging.py`), without the commands around it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PER_CLASS = 8
SETS = ("banking77", "clinc150", "ag_news", "sms_spam", "amazon")
BLOCK = 64
MAX_CHARS = 1_200  # the encoder reads 256 tokens
N_SPREAD = 6_000  # unlabelled items that labels spread over


@dataclass(frozen=True)
class Answers:
    """One draw of labels on one set: what the model says of every test item, and what is true of it."""

    name: str
    seed: int
    head: str
    embeddings: np.ndarray  # (n, d), scaled as the head sees them
    probabilities: np.ndarray  # (n, k)
    labels: np.ndarray  # (n,) class numbers
    known: np.ndarray  # (l, d) embeddings of the labelled training items
    known_labels: np.ndarray  # (l,)

    @property
    def wrong(self) -> np.ndarray:
        """(n,) float: 1 where the model errs."""
        return (self.probabilities.argmax(axis=1) != self.labels).astype(np.float64)


def read_set(data: Path, name: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, names of labels, and which are the test. Splits without an official test are halved by a fixed seed."""
    import polars as pl

    files = {
        "banking77": "banking77/banking77.parquet",
        "clinc150": "clinc150_oos/clinc150.parquet",
        "ag_news": "ag_news/ag_news_test.parquet",
        "sms_spam": "sms_spam/sms_spam.parquet",
        "amazon": "amazon_multidomain/amazon_multidomain.parquet",
    }
    table = pl.read_parquet(data / files[name])
    if name == "clinc150":
        table = table.filter(~pl.col("is_oos")).rename({"intent": "label"})
    if name == "sms_spam":
        table = table.unique("text", maintain_order=True)  # it holds 403 exact copies
    texts = table["text"].to_list()
    if name == "amazon":
        texts = [f"{title or ''}. {text}" for title, text in zip(table["title"], texts, strict=True)]
        test = (table["domain"] != "books").to_numpy()
    elif name in ("ag_news", "sms_spam"):
        test = np.zeros(len(table), bool)
        test[np.random.default_rng(0).permutation(len(table))[: len(table) // 2]] = True
    else:
        test = (table["split"] == "test").to_numpy()
    return [text[:MAX_CHARS] for text in texts], table["label"].cast(pl.String).to_numpy().astype(str), test


def embedded(data: Path, name: str, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (n, d), label names (n,), and the mask of the test, from `folder` when they lie there."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        texts, labels, test = read_set(data, name)
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, embeddings=embed(texts), labels=labels, test=test)
        part.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return kept["embeddings"], kept["labels"], kept["test"]


def embed(texts: list[str]) -> np.ndarray:
    """Embeddings (n, d) by the local pretrained encoder, as its bundle would give them in float32."""
    from passmuster.core.config import TrainConfig
    from passmuster.modality.base import Encoder
    from passmuster.modality.find import modalities
    from passmuster.modality.text.rungs.known_encoders import find_encoders
    from passmuster.runtime.engine import Engine, EngineChoice

    modality = modalities["text"]
    found = find_encoders(TrainConfig().encoders).found
    if not found:
        raise SystemExit("no known encoder on this machine (muster doctor says where it looks)")
    graph = modality.rungs["pretrained.v1"].export(
        Encoder("pretrained.v1", {}, {"sha256": found[0].encoder.sha256, "encoders": list(TrainConfig().encoders)})
    )
    with tempfile.TemporaryDirectory() as scratch:
        for file, content in graph.assets.items():
            (Path(scratch) / file).write_bytes(content)
        prepare = modality.preparer(graph.preprocess, Path(scratch))
        engine = Engine(graph.onnx, EngineChoice("onnxruntime", "float32"))
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows = []
        for start in range(0, len(texts), BLOCK):
            block = [texts[i] for i in order[start : start + BLOCK]]
            rows.append(engine.run(prepare(block))["embedding"].astype(np.float32))
    found_rows = np.concatenate(rows)
    back = np.empty_like(found_rows)
    back[order] = found_rows
    return back


def add_cache(parser: argparse.ArgumentParser) -> None:
    """The option that names the folder of `answers`."""
    folder = Path(tempfile.gettempdir()) / "muster-bench-answers"
    parser.add_argument("--cache", type=Path, default=folder, help="where embeddings and answers are kept")


def answers(data: Path, name: str, seed: int, folder: Path, *, tuning: bool = False) -> Answers:
    """The answers to the test of a model trained with draw `seed` of 8 labels per class; kept in `folder` too.

    When `tuning`, the answers are to a half of the training part that the model did not see; the test stays closed.
    """
    path = folder / f"{name}.{'tuning' if tuning else 'draw'}{seed}.npz"
    if not path.is_file():
        z, names, test = embedded(data, name, folder)
        if tuning:
            z, names = z[~test], names[~test]
            test = np.random.default_rng([seed, 13]).random(len(names)) < 0.5
        part = path.with_suffix(".part.npz")
        np.savez(part, **_fit(z, names, test, seed))
        part.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return Answers(name, seed, str(kept["head"]), kept["embeddings"], kept["probabilities"], kept["labels"],
                       kept["known"], kept["known_labels"])  # fmt: skip


def _fit(z: np.ndarray, names: np.ndarray, test: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    from passmuster.learn.folds import repeated_folds
    from passmuster.learn.heads import Scaling, cross_validate_logistic
    from passmuster.learn.logistic import fit_logistic, one_hot, softmax
    from passmuster.learn.propagation import Propagation, neighbour_graph

    rng = np.random.default_rng([seed, 11])
    classes, y = np.unique(names, return_inverse=True)
    k = len(classes)
    pool = np.flatnonzero(~test)
    known = np.sort(np.concatenate([rng.choice(pool[y[pool] == c], PER_CLASS, replace=False) for c in range(k)]))
    others = np.setdiff1d(pool, known)
    over = np.sort(np.concatenate([known, rng.choice(others, min(N_SPREAD, len(others)), replace=False)]))
    scaling = Scaling.of(z[pool])
    x = scaling.apply(z)
    folds = repeated_folds(y[known], rng)
    logistic = cross_validate_logistic(x[known], y[known], folds, k)
    spreading = Propagation(x[over], neighbour_graph(x[over]), np.searchsorted(over, known), y[known], k)
    spread = spreading.cross_validate(logistic, folds[:1])
    best = min((logistic, spread), key=lambda result: result.log_loss)
    if best is spread:
        weight, bias = spreading.fit(np.arange(len(known)), c=logistic.c, temperature=logistic.temperature)
    else:
        weight, bias = fit_logistic(x[known], one_hot(y[known], k), c=logistic.c)
    return {
        "head": np.array(best.kind),
        "embeddings": x[test].astype(np.float16),
        "probabilities": softmax(((x[test] @ weight + bias) / best.temperature).astype(np.float64)),
        "labels": y[test],
        "known": x[known].astype(np.float16),
        "known_labels": y[known],
    }
