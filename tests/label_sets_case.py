"""A project of made texts whose items carry sets of topics, none included."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from passmuster.core.config import Config, ProjectConfig, TrainConfig
from passmuster.stages.govern import add
from passmuster.store.items import read_items, read_labels
from passmuster.store.store import Store
from train_case import TOPICS

OTHER = "stone river cloud moss valley gravel pebble fern meadow brook"  # of no topic
MULTI = ProjectConfig(task="multi-label")


def multi(new_store: Callable[..., Store], **train: object) -> Store:
    """An empty multi-label project for texts; static vectors only."""
    settings = replace(TrainConfig(time="60s", pretrained=False), **train)  # type: ignore[arg-type]
    return new_store("text", Config(project=MULTI, train=settings))


def write_sets(
    path: Path, n: int = 260, n_labels: int = 60, n_test: int = 60, *, test_labels: bool = True, n_words: int = 5
) -> Path:
    """A CSV of texts with words of no, one or two topics, `n_words` of each; `n_labels` training texts are labelled.

    And every test text, unless `test_labels` says otherwise.
    """
    rng = random.Random(0)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "label", "split"])
        for i in range(n + n_test):
            names = rng.sample(list(TOPICS), rng.choice((0, 1, 1, 2)))
            words = [word for name in names for word in rng.choices(TOPICS[name].split(), k=n_words)]
            words += rng.choices(OTHER.split(), k=3)
            cell = ";".join(names) if names else "[]"
            shown = test_labels if i >= n else i < n_labels
            split = "train" if i < n else "test"
            rows.writerow([f"t{i}", " ".join(words) + f" {i * 7919}", cell if shown else "", split])
    return path


def project(new_store: Callable[..., Store], folder: Path, **train: object) -> Store:
    """`multi` with the texts of `write_sets`."""
    store = multi(new_store, **train)
    add(store, write_sets(folder / "sets.csv"))
    return store


def labels_of(store: Store) -> dict[str, str]:
    """Item id to the label that stands."""
    with store.read() as db:
        ids = {item.key: item.id for item in read_items(db)}
        return {ids[key]: label.label for key, label in read_labels(db).items()}
