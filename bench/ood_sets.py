"""Sets on which strange items are to be told from ordinary ones, embedded as a bundle would.

Every set has a training part, an official test of the same classes (ordinary), and strange items by name: `near` ones
are of the same kind of data (out-of-scope questions, classes left out), `far` ones of another. Encoders see the known
classes of the training part only.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import harness

BATCH = 64
QUICK_SHARE = 10  # when quick, one item of so many
N_IMAGES = 10_000  # training images
N_ORDINARY_IMAGES, N_STRANGE = 5_000, 2_000


@dataclass(frozen=True)
class Items:
    """One set before embedding."""

    train: list[Any]
    labels: np.ndarray
    ordinary: list[Any]
    ordinary_labels: np.ndarray
    strange: dict[str, list[Any]]  # "near.oos", "far.ag_news"


@dataclass(frozen=True)
class Embedded:
    """One set after embedding, (n, d) each."""

    train: np.ndarray
    labels: np.ndarray
    ordinary: np.ndarray
    ordinary_labels: np.ndarray
    strange: dict[str, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """A set and the rung that embeds it; `per_class` labels of each class are shown, all when 0."""

    name: str
    modality: str
    rung: str
    read: Callable[[Path], Items]
    per_class: int = 0


def embed_setting(setting: Setting, cache: Path, quick: bool) -> Embedded:
    """Embeddings of a setting, from the cache when they are there."""
    items = setting.read(harness.bench_data())
    if quick:
        items = thinned(items)
    path = cache / f"ood.{setting.read.__name__}.{setting.rung}.{len(items.train)}.npz"
    if not path.is_file():
        parts = {"train": items.train, "ordinary": items.ordinary, **items.strange}
        rows = embed_parts(setting.modality, setting.rung, parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **rows)
    with np.load(path, allow_pickle=False) as kept:
        rows = {name: kept[name].astype(np.float32) for name in kept.files}
    strange = {name: rows[name] for name in items.strange}
    return Embedded(rows["train"], items.labels, rows["ordinary"], items.ordinary_labels, strange)


def embed_parts(modality_name: str, rung_name: str, parts: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """Fit a rung on the part `train` without labels, and embed every part with the graph that it would serve."""
    from passmuster.core.budget import Deadline
    from passmuster.core.config import TrainConfig
    from passmuster.learn.checkpoint import FileCheckpoint
    from passmuster.modality.base import FitView
    from passmuster.modality.find import modalities
    from passmuster.runtime.engine import Engine

    modality = modalities[modality_name]
    rung = modality.rungs[rung_name]
    with tempfile.TemporaryDirectory() as scratch:
        train = parts["train"]
        view = FitView(train, np.full(len(train), -1), 2, TrainConfig())
        encoder = rung.fit(view, Deadline.after(3_600.0), FileCheckpoint(Path(scratch)), np.random.default_rng(0))
        graph = rung.export(encoder)
        for file, content in graph.assets.items():
            (Path(scratch) / file).write_bytes(content)
        prepare, engine = modality.preparer(graph.preprocess, Path(scratch)), Engine(graph.onnx)

        def run(payloads: Sequence[Any]) -> np.ndarray:
            order = sorted(range(len(payloads)), key=lambda i: len(payloads[i]))
            batches = [[payloads[i] for i in order[at : at + BATCH]] for at in range(0, len(order), BATCH)]
            rows = np.concatenate([engine.run(prepare(batch))["embedding"] for batch in batches])
            back = np.empty_like(rows)
            back[order] = rows
            return back.astype(np.float32)

        return {name: run(payloads) for name, payloads in parts.items()}


def thinned(items: Items) -> Items:
    """One item of `QUICK_SHARE`, or as many as keep eight of each class."""
    _, counts = np.unique(items.labels, return_counts=True)
    step = max(1, min(QUICK_SHARE, int(counts.min()) // 8))
    order = np.argsort(items.labels, kind="stable")[::step]
    few = slice(None, None, QUICK_SHARE)
    return Items([items.train[i] for i in order], items.labels[order], items.ordinary[few], items.ordinary_labels[few],
                 {name: rows[few] for name, rows in items.strange.items()})  # fmt: skip


def read_clinc150(data: Path) -> Items:
    """All 150 intents known; strange are the out-of-scope questions of the official test, news and short messages."""
    table = _table(data, "clinc150_oos/clinc150.parquet")
    split, oos = table["split"].to_numpy(), table["is_oos"].to_numpy().astype(bool)
    text, intent = table["text"].to_list(), table["intent"].to_numpy()

    def texts(mask: np.ndarray) -> list[str]:
        return [text[i] for i in np.flatnonzero(mask)]

    train, test = (split == "train") & ~oos, (split == "test") & ~oos
    strange = {"near.out_of_scope": texts((split == "test") & oos), **_far_texts(data)}
    return Items(texts(train), intent[train], texts(test), intent[test], strange)


def read_banking77_left_out(data: Path) -> Items:
    """Every fourth class is left out of training, and its test items are strange."""
    table = _table(data, "banking77/banking77.parquet")
    split, text, label = table["split"].to_numpy(), table["text"].to_list(), table["label"].to_numpy().astype(str)
    return _leave_out(text, label, split == "train", split == "test", np.unique(label)[::4], _far_texts(data))


def read_ag_news_left_out(data: Path) -> Items:
    """The test split halved; the class that comes last by name is left out."""
    table = _table(data, "ag_news/ag_news_test.parquet")
    text, label = table["text"].to_list(), table["label"].to_numpy().astype(str)
    train = np.random.default_rng(0).permutation(len(text)) % 2 == 0
    return _leave_out(
        text, label, train, ~train, np.unique(label)[-1:], {"far.sms_spam": _far_texts(data)["far.sms_spam"]}
    )


def read_fashion_mnist(data: Path) -> Items:
    """All ten classes known; strange are CIFAR-10's test images in grey at 28 x 28 pixels, and what is no photo."""
    train, labels, test, test_labels = _fashion(data)
    _, _, cifar, _ = _cifar(data)
    strange = {"far.cifar10_grey": [_grey28(image) for image in cifar[:N_STRANGE]], **_no_photos(train)}
    return Items(train, labels, test, test_labels, strange)


def read_fashion_mnist_left_out(data: Path) -> Items:
    """Three classes left out."""
    train, labels, test, test_labels = _fashion(data)
    payloads, every = train + test, np.concatenate([labels, test_labels])
    is_train = np.arange(len(payloads)) < len(train)
    return _leave_out(payloads, every, is_train, ~is_train, np.unique(labels)[::4], {})


def read_cifar10(data: Path) -> Items:
    """All ten classes known; strange is Fashion-MNIST's test in colour form, and what is no photo."""
    train, labels, test, test_labels = _cifar(data)
    _, _, fashion, _ = _fashion(data)
    strange = {"far.fashion_mnist": [_colour32(image) for image in fashion[:N_STRANGE]], **_no_photos(train)}
    return Items(train, labels, test, test_labels, strange)


def read_cifar10_left_out(data: Path) -> Items:
    """Three classes left out."""
    train, labels, test, test_labels = _cifar(data)
    payloads, every = train + test, np.concatenate([labels, test_labels])
    is_train = np.arange(len(payloads)) < len(train)
    return _leave_out(payloads, every, is_train, ~is_train, np.unique(labels)[::4], {})


def _leave_out(
    payloads: Sequence[Any], labels: np.ndarray, train: np.ndarray, test: np.ndarray, unknown: np.ndarray,
    strange: dict[str, list[Any]],
) -> Items:  # fmt: skip
    out = np.isin(labels, unknown)

    def pick(mask: np.ndarray) -> list[Any]:
        return [payloads[i] for i in np.flatnonzero(mask)]

    return Items(pick(train & ~out), labels[train & ~out], pick(test & ~out), labels[test & ~out],
                 {"near.classes_left_out": pick(test & out), **strange})  # fmt: skip


def _far_texts(data: Path) -> dict[str, list[str]]:
    news = _table(data, "ag_news/ag_news_test.parquet")["text"].to_list()
    return {
        "far.ag_news": news[:1_000],
        "far.sms_spam": _table(data, "sms_spam/sms_spam.parquet")["text"].to_list()[:1_000],
    }


def _table(data: Path, file: str) -> Any:
    import polars as pl

    return pl.read_parquet(data / file)


def _fashion(data: Path) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray], np.ndarray]:
    with np.load(data / "fashion_mnist" / "fashion_mnist.npz", allow_pickle=False) as arrays:
        names = np.array([str(name) for name in arrays["class_names"]])
        train, test = arrays["x_train"][:N_IMAGES, ..., None], arrays["x_test"][:N_ORDINARY_IMAGES, ..., None]
        return list(train), names[arrays["y_train"]][:N_IMAGES], list(test), names[arrays["y_test"]][:N_ORDINARY_IMAGES]


def _cifar(data: Path) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray], np.ndarray]:
    from PIL import Image

    with np.load(data / "cifar10" / "cifar10_jpeg.npz", allow_pickle=False) as arrays:
        jpeg, offsets = arrays["jpeg"], arrays["offsets"]
        names = np.array([str(name) for name in arrays["class_names"]])[arrays["label"]]
        is_test = arrays["is_test"].astype(bool)

    def images(places: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes())).convert("RGB"))
                for i in places]  # fmt: skip

    order = np.random.default_rng(0).permutation(len(names))  # the file is in order of class
    train, test = order[~is_test[order]][:N_IMAGES], order[is_test[order]][:N_ORDINARY_IMAGES]
    return images(train), names[train], images(test), names[test]


def _no_photos(train: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What cameras and programs send by mistake: noise, one flat colour, a gradient, a photo's pixels in any order.

    And scikit-learn's digits of 8 x 8 pixels, enlarged: of no photo either, and not looked at when detectors were
    built.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    n, rng = N_STRANGE // 4, np.random.default_rng(0)
    height, width, channels = train[0].shape
    noise = rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    flat = np.broadcast_to(rng.integers(0, 256, (n, 1, 1, channels), dtype=np.uint8), noise.shape)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    gradients = []
    for down, right in rng.normal(size=(n, 2)):
        ramp = (down * y + right * x)[..., None]
        ramp = (ramp - ramp.min()) / np.ptp(ramp)
        a, b = rng.integers(0, 256, (2, channels))
        gradients.append((ramp * a + (1 - ramp) * b).astype(np.uint8))
    shuffled = [rng.permutation(image.reshape(-1, channels)).reshape(image.shape) for image in train[:n]]
    digits = []
    for image in load_digits().images[:n]:
        large = Image.fromarray((image * 15.9).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
        digits.append(np.repeat(np.asarray(large)[..., None], channels, axis=2))
    return {"far.noise": list(noise), "far.flat": list(flat), "far.gradient": gradients, "far.shuffled": shuffled,
            "far.digits": digits}  # fmt: skip


def _grey28(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(image).convert("L").resize((28, 28), Image.Resampling.BILINEAR))[..., None]


def _colour32(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    grey = Image.fromarray(image[..., 0]).resize((32, 32), Image.Resampling.BILINEAR)
    return np.repeat(np.asarray(grey)[..., None], 3, axis=2)


SETTINGS = (
    Setting("clinc150.encoder", "text", "pretrained.v1", read_clinc150),
    Setting("clinc150.scratch", "text", "static.v1", read_clinc150),
    Setting("clinc150.encoder.8_per_class", "text", "pretrained.v1", read_clinc150, 8),
    Setting("banking77_left_out.encoder", "text", "pretrained.v1", read_banking77_left_out),
    Setting("banking77_left_out.scratch", "text", "static.v1", read_banking77_left_out),
    Setting("ag_news_left_out.encoder", "text", "pretrained.v1", read_ag_news_left_out),
    Setting("ag_news_left_out.encoder.32_per_class", "text", "pretrained.v1", read_ag_news_left_out, 32),
    Setting("fashion_mnist.patches", "image", "patches.v1", read_fashion_mnist),
    Setting("fashion_mnist_left_out.patches", "image", "patches.v1", read_fashion_mnist_left_out),
    Setting("cifar10.patches", "image", "patches.v1", read_cifar10),
    Setting("cifar10_left_out.patches", "image", "patches.v1", read_cifar10_left_out),
)
