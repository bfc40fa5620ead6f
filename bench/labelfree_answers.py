"""What the models of `labelfree.py` answer: to the reference, to the bank, and to batches under faults or of domains.

The answers of a scene are one dictionary of arrays, so that a folder can keep them: ``<part>/z`` (n, d) embeddings,
``<part>/l`` (n, k) logits and ``<part>/y`` (n,) class numbers (-1 for a class the model does not know), where a part is
``train``, ``reference``, ``new``, ``domain|NAME``, ``bank|FAULT|SEVERITY`` or ``batch|FAULT|SEVERITY``; of the last two
``<part>/i`` (n,) says which items of reference and new they are, since a fault leaves some alone.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelfree_sets import Part, Scene
from story import muster

N_TRAIN = 2_000  # training items that the model is asked about, as `muster evaluate` does
N_BANK = 200  # reference items that every fault spoils, as `muster evaluate` does by default
N_BATCH = 500
SEVERITIES = (1, 2, 3, 4, 5)

Answers = dict[str, np.ndarray]


def answers(scene: Scene, folder: Path, arguments: argparse.Namespace) -> Answers:
    """The scene's answers, kept in ``--answers`` where that was said."""
    kept = arguments.answers / f"{scene.name}.npz" if arguments.answers else None
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as arrays:
            return dict(arrays)
    found = ask(trained(scene, folder, arguments), scene, arguments)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **found)
    return found


def ask(predictor: Any, scene: Scene, arguments: argparse.Namespace) -> Answers:
    """Everything that is asked of a model."""
    found: Answers = {}
    number = {name: i for i, name in enumerate(predictor.classes)}

    def put(part: str, items: Sequence[Any], labels: np.ndarray) -> None:
        if len(items):
            z, logits = predictor.embed(items)
            found[f"{part}/z"], found[f"{part}/l"] = z.astype(np.float32), logits.astype(np.float32)
            found[f"{part}/y"] = np.array([number.get(str(label), -1) for label in labels])

    for part, whole, n in (
        ("train", scene.train, N_TRAIN),
        ("reference", scene.reference, None),
        ("new", scene.new, 1_000),
    ):
        put(part, whole.items[:n], whole.labels[:n])
    for name, whole in scene.domains.items():
        put(f"domain|{name}", whole.items, whole.labels)
    for fault in faults_for(predictor, scene.reference, arguments):
        corrupt = predictor.modality.corruptions[fault]
        for part, whole, n in (("bank", scene.reference, N_BANK), ("batch", scene.new, N_BATCH)):
            for severity in SEVERITIES:
                drawn = np.sort(rng_of(f"{part} {fault}", 0).permutation(len(whole.items))[:n])
                after = {i: corrupt(whole.items[i], severity, rng_of(fault, i)) for i in drawn.tolist()}
                changed = [i for i in after if not same(after[i], whole.items[i])]
                put(f"{part}|{fault}|{severity}", [after[i] for i in changed], whole.labels[changed])
                if changed:
                    found[f"{part}|{fault}|{severity}/i"] = np.array(changed)
    return found


def faults_for(predictor: Any, reference: Part, arguments: argparse.Namespace) -> list[str]:
    """The faults that change a quarter of the items or more."""
    table = predictor.modality.corruptions
    some = reference.items[:100]
    left = [name for name in table.names() if not predictor.modality.why_fault_left_out(name, some)]
    fit = []
    for name in left[:: 4 if arguments.quick else 1]:
        changed = sum(not same(table[name](item, 1, rng_of(name, i)), item) for i, item in enumerate(some))
        if changed >= len(some) // 4:
            fit.append(name)
    return fit


def trained(scene: Scene, folder: Path, arguments: argparse.Namespace) -> Any:
    """The bundle that a user's commands leave, as it answers."""
    from passmuster.runtime.bundle import open_bundle
    from passmuster.runtime.predictor import Predictor

    folder.mkdir(parents=True)
    words = write(scene.modality, scene.train, folder)
    project = folder / "project"
    muster(folder, "init", str(project), "--modality", scene.modality)
    muster(project, "add", *words)
    muster(project, "train", "--time", "2m" if arguments.quick else scene.time, "--seed", str(arguments.seed))
    return Predictor(open_bundle(next((project / ".muster" / "bundles").iterdir())))


def write(modality: str, part: Part, folder: Path) -> list[str]:
    """A table of texts, or a folder for each class."""
    if modality == "text":
        import polars as pl

        pl.DataFrame({"text": list(part.items), "label": part.labels}).write_csv(folder / "texts.csv")
        return [str(folder / "texts.csv"), "--text-column", "text", "--label-column", "label"]
    from PIL import Image

    for i, (item, label) in enumerate(zip(part.items, part.labels)):
        place = folder / "images" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item[:, :, 0] if item.shape[2] == 1 else item).save(place / f"{i}.png")
    return [str(folder / "images")]


def rng_of(fault: str, i: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(fault.encode()), i])


def same(a: Any, b: Any) -> bool:
    return a == b if isinstance(a, str) else np.array_equal(a, b)
