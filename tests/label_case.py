"""Projects to label in: texts, and pictures with a model that guesses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from passmuster.core.clock import now
from passmuster.core.records import Bundle
from passmuster.runtime.bundle import payload_digest
from passmuster.stages.govern import add
from passmuster.store.items import read_items, read_labels
from passmuster.store.releases import add_bundle
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store
from serving_case import features, pictures, write


def texts(
    store: Store, folder: Path, n: int = 40, classes: tuple[str, ...] = ("ham", "spam"), n_test: int = 8
) -> Store:
    """`n` texts, one label per class among the training ones; the first `n_test` are the given test."""
    rows = [
        f'r{i},"letter {i} <b>of</b> the many & odd that came, {i * 3511}",'
        f"{classes[i - n_test] if 0 <= i - n_test < len(classes) else ''},{'test' if i < n_test else 'train'}"
        for i in range(n)
    ]
    (folder / "t.csv").write_text("id,text,label,split\n" + "\n".join(rows) + "\n")
    add(store, folder / "t.csv")
    return store


def dark_and_light(store: Store, folder: Path, n: int = 80) -> Store:
    """`n` pictures, dark and light in turn, three of each labelled, and a bundle whose embeddings are cached."""
    (folder / "pictures").mkdir()
    images = pictures(n, seed=3)
    for i, pixels in enumerate(images):
        Image.fromarray(pixels[:, :, 0]).save(folder / "pictures" / f"p{i:02}.png")
    table = "\n".join(f"p{i:02}.png,{['dark', 'light'][i % 2]}" for i in range(n))
    (folder / "pictures" / "labels.csv").write_text("path,label\n" + "\n".join(table.split("\n")[:6]) + "\n")
    add(store, folder / "pictures")
    path = write(store.bundles_folder)
    with store.act("train.finish") as act:
        bundle = Bundle(payload_digest(path), "5" * 64, "run-1", f".muster/bundles/{path.name}", now())
        add_bundle(act.db, bundle)
    with store.read() as db:
        pool = training_view(store, read_snapshot(db)).pool
    by_name = {f"p{i:02}.png": pixels for i, pixels in enumerate(images)}
    chosen = [by_name[Path(item.id).name] for item in pool]
    embeddings = features(chosen)[0]
    store.embeddings("0" * 32).get([item.blob for item in pool], lambda at: embeddings[np.array(at)])
    return store


def said(store: Store, who: str = "") -> dict[str, str]:
    """Item id to the label that stands, of one person where named."""
    with store.read() as db:
        ids = {item.key: item.id for item in read_items(db)}
        return {ids[key]: label.label for key, label in read_labels(db).items() if who in ("", label.who)}
