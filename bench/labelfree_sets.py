"""The scenes of `labelfree.py`: what a model learns, what tests it, and the other domains it is shown.

Development and report share no set but Amazon, and there no pair of domains.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

N_REFERENCE, N_NEW = 1_000, 3_000  # new items, of which every fault draws its own
N_DOMAIN = 1_000  # items of another domain that a model is asked about
DEVELOPED = ("dvd", "electronics")  # Amazon domains whose pairs are for development


@dataclass(frozen=True)
class Part:
    """Items and their labels."""

    items: Sequence[Any]
    labels: np.ndarray

    def some(self, start: int, stop: int) -> Part:
        return Part(self.items[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class Scene:
    """A model to be: its training part, its labelled reference, new items of the same kind, and other domains."""

    name: str
    modality: str
    train: Part
    reference: Part
    new: Part
    domains: dict[str, Part] = field(default_factory=dict)
    time: str = "3m"  # what `muster train` is given


def development(data: Path, seed: int) -> Iterator[Scene]:
    """What may be tried on."""
    yield fashion_mnist(data, seed)
    yield from ag_news(data, seed)
    yield from amazon(data, seed, DEVELOPED)


def report(data: Path, seed: int) -> Iterator[Scene]:
    """What is only reported."""
    yield split("clinc150", "text", clinc150(data), 3_000, seed)
    yield split("banking77", "text", texts(data / "banking77" / "banking77.parquet", "text", "label"), 3_000, seed)
    yield split("sms_spam", "text", texts(data / "sms_spam" / "sms_spam.parquet", "text", "label"), 1_000, seed)
    yield split("cifar10", "image", cifar10(data), 5_000, seed)
    yield from amazon(data, seed, ("books", "kitchen", *DEVELOPED))


def split(name: str, modality: str, whole: Part, n_train: int, seed: int) -> Scene:
    """Shuffled and cut in three."""
    order = np.random.default_rng(seed).permutation(len(whole.items))
    mixed = Part([whole.items[i] for i in order], whole.labels[order])
    ends = (n_train, n_train + N_REFERENCE, n_train + N_REFERENCE + N_NEW)
    return Scene(name, modality, mixed.some(0, ends[0]), mixed.some(*ends[:2]), mixed.some(*ends[1:]))


def ag_news(data: Path, seed: int) -> Iterator[Scene]:
    """1,500 titles or descriptions to learn from; the other is the other domain."""
    import polars as pl

    table = pl.read_parquet(data / "ag_news" / "ag_news_test.parquet").sample(fraction=1.0, shuffle=True, seed=seed)
    labels = np.array([str(label) for label in table["label"]])
    columns = {name: Part(table[name].to_list(), labels) for name in ("title", "description")}
    for name, other in (("title", "description"), ("description", "title")):
        parts = [columns[name].some(*ends) for ends in ((0, 1_500), (1_500, 2_500), (2_500, 2_500 + N_NEW))]
        yield Scene(f"ag_news.{name}", "text", *parts, domains={other: columns[other].some(3_500, 4_500)})


def amazon(data: Path, seed: int, names: Sequence[str]) -> Iterator[Scene]:
    """1,000 items of a domain to learn from, 1,000 as the reference; no new items: the batches are other domains."""
    import polars as pl

    table = pl.read_parquet(data / "amazon_multidomain" / "amazon_multidomain.parquet")
    table = table.sample(fraction=1.0, shuffle=True, seed=seed)
    found = {}
    for domain in names:
        part = table.filter(pl.col("domain") == domain)
        found[domain] = Part(part["text"].to_list(), np.array([f"c{label}" for label in part["label"]]))
    for source, own in found.items():
        n = N_REFERENCE
        others = {
            name: part.some(0, N_DOMAIN)
            for name, part in found.items()
            if name != source and is_for(names, source, name)
        }
        yield Scene(
            f"amazon.{source}", "text", own.some(n, len(own.items)), own.some(0, n), own.some(0, 0), domains=others
        )


def is_for(names: Sequence[str], source: str, target: str) -> bool:
    """Whether a pair belongs to whoever asks: the developed pairs are not reported."""
    return set(names) == set(DEVELOPED) or not {source, target} <= set(DEVELOPED)


def fashion_mnist(data: Path, seed: int) -> Scene:
    """2,000 images of the training part to learn from; reference and new items from the official test."""
    rng = np.random.default_rng(seed)
    with np.load(data / "fashion_mnist" / "fashion_mnist.npz", allow_pickle=False) as found:
        names = np.array([str(name).replace("/", "-").replace(" ", "-") for name in found["class_names"]])
        parts = []
        for kind, sizes in (("train", (2_000,)), ("test", (N_REFERENCE, N_NEW))):
            images, labels = found[f"x_{kind}"], found[f"y_{kind}"]
            drawn = rng.permutation(len(labels))[: sum(sizes)]
            for places in np.split(drawn, np.cumsum(sizes)[:-1]):
                parts.append(Part(images[places][..., None], names[labels[places]]))
    return Scene("fashion_mnist", "image", *parts)


def cifar10(data: Path) -> Part:
    """9,000 colour pictures of the ten classes (the file is sorted by class)."""
    from PIL import Image

    with np.load(data / "cifar10" / "cifar10_jpeg.npz", allow_pickle=False) as found:
        whole, ends = found["jpeg"].tobytes(), found["offsets"]
        drawn = np.sort(np.random.default_rng(0).permutation(len(ends) - 1)[:9_000])
        images = [np.asarray(Image.open(io.BytesIO(whole[ends[i] : ends[i + 1]])).convert("RGB")) for i in drawn]
        return Part(images, found["class_names"][found["label"][drawn]].astype(str))


def clinc150(data: Path) -> Part:
    """Questions within the scope."""
    import polars as pl

    table = pl.read_parquet(data / "clinc150_oos" / "clinc150.parquet").filter(~pl.col("is_oos").cast(pl.Boolean))
    return Part(table["text"].to_list(), np.array([str(label) for label in table["intent"]]))


def texts(path: Path, column: str, label: str) -> Part:
    """A table's texts and labels."""
    import polars as pl

    table = pl.read_parquet(path)
    return Part(table[column].to_list(), np.array([str(one) for one in table[label]]))
