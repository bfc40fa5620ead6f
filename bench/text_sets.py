"""The five sets of texts that several benchmarks read: a pool that teaches, and a test.

Banking77, CLINC150 (in scope), AG News (its test split, halved), SMS spam (halved by a digest of the text, so that
exact copies stay on one side) and Amazon (books teach, the other three kinds of goods test).
`answers.py` splits and cleans some of them in a way of its own (titles, no copies), which its committed results are of.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import harness

QUICK_POOL, QUICK_TEST = 800, 600
KEPT_PER_CLASS = 16  # items of each class that stay when a pool is cut


@dataclass(frozen=True)
class Texts:
    """One set: pool and test, and their labels by name."""

    pool: list[str]
    labels: np.ndarray
    test: list[str]
    test_labels: np.ndarray


def draw_labels(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of `per_class` items of each class, in order."""
    rng = np.random.default_rng(seed)
    return np.sort(
        np.concatenate([rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in np.unique(labels)])
    )


def read(name: str, arguments: argparse.Namespace) -> Texts:
    """A set whole; when quick, some of its pool (every class keeping enough) and some of its test."""
    texts = SETS[name](harness.bench_data())
    if not arguments.quick:
        return texts
    rng = np.random.default_rng(0)
    kept = draw_labels(texts.labels, KEPT_PER_CLASS, 0)
    others = np.setdiff1d(np.arange(len(texts.pool)), kept)
    n_others = min(len(others), max(0, QUICK_POOL - len(kept)))
    kept = np.sort(np.concatenate([kept, rng.choice(others, n_others, replace=False)]))
    test = np.sort(rng.choice(len(texts.test), min(QUICK_TEST, len(texts.test)), replace=False))
    return Texts([texts.pool[i] for i in kept], texts.labels[kept], [texts.test[i] for i in test],
                 texts.test_labels[test])  # fmt: skip


def read_split(folder: str, file: str, label: str, in_scope: str = "") -> Callable[[Path], Texts]:
    """A set whose official splits are pool ("train") and test."""

    def read_set(data: Path) -> Texts:
        import polars as pl

        table = pl.read_parquet(data / folder / file)
        table = table.filter(~pl.col(in_scope).cast(pl.Boolean)) if in_scope else table
        pool, test = (table.filter(pl.col("split") == split) for split in ("train", "test"))
        return _texts(pool["text"], pool[label], test["text"], test[label])

    return read_set


def read_ag_news(data: Path) -> Texts:
    """The test split, shuffled once and halved."""
    import polars as pl

    table = pl.read_parquet(data / "ag_news" / "ag_news_test.parquet")
    order = np.random.default_rng(0).permutation(len(table))
    pool, test = table[np.array_split(order, 2)[0]], table[np.array_split(order, 2)[1]]
    return _texts(pool["text"], pool["label"], test["text"], test["label"])


def read_sms_spam(data: Path) -> Texts:
    """Halved by a digest of the text: exact copies lie on one side."""
    import polars as pl

    table = pl.read_parquet(data / "sms_spam" / "sms_spam.parquet")
    in_pool = pl.Series([zlib.crc32(text.encode()) % 2 == 1 for text in table["text"]])
    pool, test = table.filter(in_pool), table.filter(~in_pool)
    return _texts(pool["text"], pool["label"], test["text"], test["label"])


def read_amazon(data: Path) -> Texts:
    """Books teach, the three other kinds of goods test."""
    import polars as pl

    table = pl.read_parquet(data / "amazon_multidomain" / "amazon_multidomain.parquet")
    pool, test = table.filter(pl.col("domain") == "books"), table.filter(pl.col("domain") != "books")
    return _texts(pool["text"], pool["label"], test["text"], test["label"])


def _texts(pool: Any, labels: Any, test: Any, test_labels: Any) -> Texts:
    names = [np.array([str(name) for name in column.to_list()]) for column in (labels, test_labels)]
    return Texts(pool.to_list(), names[0], test.to_list(), names[1])


SETS: dict[str, Callable[[Path], Texts]] = {
    "sms_spam": read_sms_spam,
    "ag_news": read_ag_news,
    "amazon": read_amazon,
    "banking77": read_split("banking77", "banking77.parquet", "label"),
    "clinc150": read_split("clinc150_oos", "clinc150.parquet", "intent", in_scope="is_oos"),
}
MANY = {"banking77", "clinc150"}
