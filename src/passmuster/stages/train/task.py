"""What there is to learn: the pool, its labels as numbers, and the items held out for the guard."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from passmuster.core.errors import DataError
from passmuster.core.label_sets import MULTI, classes_in
from passmuster.core.progress import Progress
from passmuster.core.records import Item, Payload, Snapshot
from passmuster.learn.folds import repeated_folds, repeated_label_set_folds
from passmuster.learn.heads import held_out
from passmuster.learn.label_set_heads import judged_classes
from passmuster.modality.base import Modality, Profile
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_placement
from passmuster.store.store import Store

N_NAMED = 5  # classes in a line
N_READ, N_READ_CHARS = 2_000, 5_000  # texts, and characters of each, whose words are counted


@dataclass(frozen=True)
class Task:
    """A snapshot, ready to learn from. Pool and reference are decoded; `labels` is -1 where there is none.

    Of a multi-label snapshot `targets` (n_labelled, k) says which classes each labelled item carries, and `labels` only
    whether an item has one (0); None otherwise.
    """

    snapshot: Snapshot
    modality: Modality
    classes: tuple[str, ...]
    pool: tuple[Item, ...]
    payloads: list[Payload]
    labels: np.ndarray  # (n_pool,) int
    reference: tuple[Item, ...]
    reference_payloads: list[Payload]
    folds: np.ndarray  # (repeats, n_labelled)
    targets: np.ndarray | None = None

    @property
    def labelled(self) -> np.ndarray:
        """Positions in the pool of the labelled items."""
        return np.flatnonzero(self.labels >= 0)

    @cached_property
    def profile(self) -> Profile:
        """What prices depend on; the pool counts with the reference, because both are embedded."""
        sizes = np.array([size_of(p) for p in self.payloads], dtype=float)
        return Profile(
            n_pool=len(self.pool) + len(self.reference),
            n_labels=len(self.labelled),
            n_classes=len(self.classes),
            mean_size=float(sizes.mean()),
            max_size=float(sizes.max()),
            n_channels=mean_channels(self.payloads),
            n_words=shared_words(self.payloads),
            n_reference=len(self.reference),
            label_sets=self.targets is not None,
        )


def mean_channels(payloads: list[Payload]) -> float:
    """Channels of images; between one and three for texts, which have none."""
    images = [payload.shape[2] for payload in payloads if not isinstance(payload, str)]
    return float(np.mean(images)) if images else 2.0


def shared_words(payloads: list[Payload]) -> float:
    """About how many different words are in more than one of the texts; 0 for images.

    Counted in `N_READ` of them, evenly spaced; with more texts it grows as their root does (Heaps' law).

    >>> shared_words(["the cat", "the dog", "a dog"])
    2.0
    """
    if not payloads or not isinstance(payloads[0], str):
        return 0.0
    texts = payloads[:: -(-len(payloads) // N_READ)]
    counts = Counter(word for text in texts for word in set(re.findall(r"\w+", str(text)[:N_READ_CHARS].lower())))
    return float(sum(n > 1 for n in counts.values()) * (len(payloads) / len(texts)) ** 0.5)


def size_of(payload: Payload) -> int:
    """Characters of a text, pixels of an image."""
    return len(payload) if isinstance(payload, str) else int(payload.shape[0] * payload.shape[1])


def read_task(store: Store, snapshot: Snapshot, modality: Modality, seed: int, progress: Progress) -> Task:
    """Read what training may see, through the seal, and check that there is something to learn.

    Raises
    ------
    DataError
        ``data.no_labels``, ``data.one_class``, ``data.too_few_labels``, or an ``item.*`` code.
    """
    view = training_view(store, snapshot)
    said = [classes_in(view.labels[i.key].label, snapshot.task) for i in view.pool if i.key in view.labels]
    classes = _classes(said, snapshot, progress)
    number = {name: i for i, name in enumerate(classes)}
    is_labelled = np.array([item.key in view.labels for item in view.pool], dtype=bool)
    labels = np.full(len(view.pool), -1)
    twins = _twins(store, snapshot, [item for item in view.pool if item.key in view.labels])
    rng = np.random.default_rng([seed, 0])
    targets = None
    if snapshot.task == MULTI:
        labels[is_labelled] = 0
        targets = np.array([[name in names for name in classes] for names in said], dtype=np.float32)
        folds = repeated_label_set_folds(targets, rng, twins)
        judged_classes(targets, folds)  # raises when nothing could be judged
    else:
        known = np.array([number[names[0]] for names in said])
        labels[is_labelled] = known
        folds = repeated_folds(known, rng, twins)
        held_out(folds, known)  # raises when nothing could be judged
    return Task(
        snapshot=snapshot,
        modality=modality,
        classes=classes,
        pool=view.pool,
        payloads=_decode(store, modality, view.pool, progress, "reading the pool"),
        labels=labels,
        reference=view.reference,
        reference_payloads=_decode(store, modality, view.reference, progress, "reading the reference"),
        folds=folds,
        targets=targets,
    )


def _twins(store: Store, snapshot: Snapshot, items: list[Item]) -> np.ndarray:
    """A number for each item, the same for items that the snapshot keeps together as copies."""
    with store.read() as db:
        placed = read_placement(db, snapshot, [item.key for item in items])
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(placed[i.key][1] or i.key, len(numbers)) for i in items], dtype=np.int64)


def _classes(said: list[tuple[str, ...]], snapshot: Snapshot, progress: Progress) -> tuple[str, ...]:
    found = sorted({name for names in said for name in names})
    if not said:
        raise DataError(
            "data.no_labels", "no item of the training split has a label", where=f"snapshot {snapshot.digest[:16]}",
            next="muster label FILE, or name the label column in muster.toml and muster add again",
        )  # fmt: skip
    if len(set(said)) == 1:
        raise DataError(
            "data.one_class", "all training labels are the same: there is nothing to tell apart",
            value=" + ".join(found) or "none of the classes",
            next="label items of another class with muster label",
        )  # fmt: skip
    if unseen := [name for name in snapshot.classes if name not in found]:
        named = ", ".join(unseen[:N_NAMED]) + (f" and {len(unseen) - N_NAMED:,} more" if unseen[N_NAMED:] else "")
        progress.say(f"no training label for {named}: the model cannot answer with them")
    return tuple(found)


def _decode(store: Store, modality: Modality, items: tuple[Item, ...], progress: Progress, what: str) -> list[Payload]:
    contents: Iterable[bytes] = store.blobs.get_many([item.blob for item in items])
    payloads = []
    for item, data in zip(items, progress.track(contents, what, total=len(items)), strict=True):
        try:
            payloads.append(modality.decode(data, store.config.data))
        except DataError as error:
            raise DataError(
                error.code, error.what, value=error.value, limit=error.limit, where=f"item {item.id}",
                next="muster check",
            ) from error  # fmt: skip
    return payloads
