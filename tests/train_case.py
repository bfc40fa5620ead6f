"""A project of made texts, governed and ready to train."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from pathlib import Path

from passmuster.core.config import Config, TrainConfig
from passmuster.core.config_file import render_config
from passmuster.stages.govern import add
from passmuster.store.store import Store

TOPICS = {
    "bank": "card lost stolen bank pin cash money account transfer fee",
    "tea": "tea green cup leaf brew water kettle hot pot steam",
    "rail": "train late ticket platform seat delay station journey track fare",
}


def write_texts(path: Path, n: int = 300, n_labels: int = 8, n_test: int = 40, classes: int = 3) -> Path:
    """A CSV with `n_labels` labels per class among `n` training texts, and `n_test` labelled test texts."""
    rng = random.Random(0)
    everything = " ".join(TOPICS.values()).split()
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "label", "split"])
        for i in range(n + n_test):
            name = list(TOPICS)[i % 3]
            words = rng.choices(TOPICS[name].split(), k=6) + rng.choices(everything, k=4)
            shown = i >= n or (i // 3 < n_labels and i % 3 < classes)
            row = [f"t{i}", " ".join(words) + f" {i * 7919}", name if shown else "", "train" if i < n else "test"]
            rows.writerow(row)
    return path


def new_project(folder: Path, data: Path, **settings: object) -> Store:
    """A store with the texts of `data`; static vectors only, unless the settings say otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    train = replace(TrainConfig(time="60s", pretrained=False), **settings)  # type: ignore[arg-type]
    (folder / "muster.toml").write_text(render_config(replace(Config(), train=train)))
    store = Store.create(folder)
    add(store, data)
    return store
