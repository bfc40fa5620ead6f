"""The model as it came, asked about items of the project: a sample of what is not for the test, and labelled ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from passmuster.core.errors import DataError, IntegrityError
from passmuster.core.records import Item, Payload, Snapshot
from passmuster.modality.base import Modality
from passmuster.runtime.engine import Engine
from passmuster.stages.importing.brought import Brought
from passmuster.stages.importing.rewrite import EMBEDDING, SCORES, as_logits
from passmuster.stages.importing.trial import Prepare, ask, check_company, check_embedding, check_scores
from passmuster.store.seal import training_view
from passmuster.store.store import Store

MAX_ASKED = 2_000  # items of the pool that the model is asked about, and that its guard learns as ordinary
MAX_HELD = 1_000  # of the reference, for the guard's threshold
N_FIRST = 16  # items that tell what kind of scores a graph gives
MAX_CALIBRATION = 5_000
MIN_CALIBRATION = 20  # labels below which a temperature would follow chance


@dataclass(frozen=True)
class Sample:
    """Items that the model may be asked about, none of them of the test: of the pool first, then of the reference."""

    items: list[Item]
    payloads: list[Payload]
    n_pool: int

    @property
    def where(self) -> list[str]:
        """What an error says of each: its key, never its id."""
        return where_of(self.items)


def read_sample(store: Store, snapshot: Snapshot, modality: Modality, most: int = 0) -> Sample:
    """A draw of the pool and of the reference, decoded; `most` items where asking is dear, a quarter to the threshold.

    Raises
    ------
    DataError
        ``import.no_items``.
    """
    view = training_view(store, snapshot)
    rng = np.random.default_rng([store.config.train.seed, 1])
    n_held = min(len(view.reference), MAX_HELD if not most else max(most // 4, most - len(view.pool)))
    n_pool = MAX_ASKED if not most else most - n_held
    pool = [view.pool[int(i)] for i in np.sort(rng.permutation(len(view.pool))[:n_pool])]
    held = [view.reference[int(i)] for i in np.sort(rng.permutation(len(view.reference))[:n_held])]
    if not pool and not held:
        raise DataError(
            "import.no_items", "every item belongs to the test, so there is none that a model may be tried on",
            where=f"snapshot {snapshot.digest[:16]}", next="muster add PATH with a few more items, labelled or not",
        )  # fmt: skip
    items = [*pool, *held]
    return Sample(items, decoded(store, modality, items), len(pool))


def where_of(items: Sequence[Item]) -> list[str]:
    """How items are named in errors."""
    return [f"item {item.key}" for item in items]


def decoded(store: Store, modality: Modality, items: Sequence[Item]) -> list[Payload]:
    """The items' payloads, in their order."""
    contents = store.blobs.get_many([item.blob for item in items])
    return [modality.decode(data, store.config.data) for data in contents]


class Asks(Protocol):
    """A model that can be asked, wherever it is."""

    def logits_of(self, payloads: Sequence[Payload], where: Sequence[str]) -> np.ndarray:
        """Logits (m, c) of items, named by `where` in errors."""
        ...


@dataclass(frozen=True)
class Asked:
    """The model as it came, ready to be asked. `width` is the number of its scores."""

    engine: Engine
    prepare: Prepare
    width: int
    brought: Brought

    def logits_of(self, payloads: Sequence[Payload], where: Sequence[str]) -> np.ndarray:
        """Logits (m, c) of items, in numpy's own way, after checking every score."""
        scores = ask(self.engine, self.prepare, payloads, where)[SCORES]
        check_scores(scores, self.brought.scores, where)
        return as_logits(scores, self.brought.scores.kind, one_column=self.width == 1)


def open_as_it_came(brought: Brought, modality: Modality, sample: Sample, folder: Path) -> Asked:
    """Load the graph, its own operators alone, and check what it says of a few items, before it is asked about all."""
    for name, data in brought.feeding.assets.items():
        (folder / name).write_bytes(data)
    preprocess = {"steps": list(brought.feeding.steps)}
    prepare = modality.preparer(preprocess, folder)
    try:
        engine = Engine(brought.reduced)
    except IntegrityError as error:
        raise DataError(
            "import.unreadable", error.what, where=brought.source["file"],
            next="convert the model again: ONNX Runtime does not take it as it is",
        ) from error  # fmt: skip
    few = slice(0, N_FIRST)
    found = ask(engine, prepare, sample.payloads[few], sample.where[few])
    width = check_scores(found[SCORES], brought.scores, sample.where[few])
    if brought.embedding:
        check_embedding(found[EMBEDDING], brought.embedding)
    check_company(engine, prepare, sample.payloads, sample.where)
    return Asked(engine, prepare, width, brought)


@dataclass(frozen=True)
class Calibration:
    """Logits (m, c) as they came and class numbers (m,) of labelled items that are not for the test."""

    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def read_calibration(
    store: Store,
    snapshot: Snapshot,
    modality: Modality,
    classes: Sequence[str],
    asked: Asks,
    learnt: Collection[str],
) -> Calibration:
    """The training labels of the project that name a class of the model, and the model's logits for their items.

    Items whose content is among those that the model is known to have `learnt` from, by keyed digest, are left out.

    Raises
    ------
    DataError
        ``import.few_labels``.
    """
    view = training_view(store, snapshot)
    number = {name: i for i, name in enumerate(classes)}
    known = frozenset(learnt)
    labelled = [i for i in view.pool if i.key in view.labels and view.labels[i.key].label in number]
    items = [item for item in labelled if item.digest not in known]
    if len(items) < MIN_CALIBRATION:
        raise DataError(
            "import.few_labels", "too few training labels to calibrate by", value=len(items), limit=MIN_CALIBRATION,
            next="muster label more items that the model did not learn from, or leave --calibrate out",
        )  # fmt: skip
    rng = np.random.default_rng([store.config.train.seed, 2])
    items = [items[int(i)] for i in np.sort(rng.permutation(len(items))[:MAX_CALIBRATION])]
    logits = asked.logits_of(decoded(store, modality, items), where_of(items))
    return Calibration(logits, np.array([number[view.labels[item.key].label] for item in items], dtype=np.int64))
