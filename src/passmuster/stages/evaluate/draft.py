"""What an evaluation gathers on its way to a report: the evidence, the bundle's answers, metrics and sets of items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from passmuster.core.records import Item, Metric, Payload, Prediction, Report, Snapshot
from passmuster.core.statistics import Interval
from passmuster.runtime.bundle import LoadedBundle
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.predictor import Predictor


@dataclass(frozen=True)
class Scope:
    """How much is computed.

    `n_corrupted` test items suffer every fault; with 0 none is tried. `n_fit` training items fit the novelty detectors;
    at most `n_classes_left_out` classes, each of at least `n_smallest_left_out` test items, play the unknown.
    `n_previews` items are shown in the page, `n_shown` of each set, `n_pairs_shown` pairs of copies; without `page`
    none is made. `n_timed` test items are answered one at a time, to say how long an answer takes; `n_again` are asked
    again in other ways, to say what a model does not repeat.
    `attacked_before` is a report whose attacks are made once more. `open` makes the predictor of a bundle.
    """

    n_corrupted: int = 200
    n_attacked: int = 0
    attacked_before: Report | None = None
    n_fit: int = 1_000
    n_classes_left_out: int = 10
    n_smallest_left_out: int = 5
    n_resamples: int = 1_000
    n_previews: int = 1_000
    n_shown: int = 24
    n_pairs_shown: int = 30
    max_preview_bytes: int = 6_000_000
    n_timed: int = 40
    n_again: int = 300
    page: bool = True
    open: Callable[[LoadedBundle], Predictor] = Predictor


@dataclass(frozen=True)
class Evidence:
    """The labelled test items that the bundle never learned from.

    `classes` are the bundle's, followed by labels that it does not know; `y` numbers them. `clusters` numbers what is
    resampled together: a person, or a text and its copies. `n_seen` test items were left out because the bundle
    learned from them, `n_unlabelled` have no label. Of a bundle that says sets of classes, `targets` (n, classes) says
    which each item carries, and `y` numbers the different sets, `sets`, instead; None and () otherwise.
    """

    snapshot: Snapshot
    items: tuple[Item, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    n_known: int  # classes of the bundle
    y: np.ndarray  # (n,)
    weights: np.ndarray  # (n,)
    clusters: np.ndarray  # (n,)
    look: int
    opening: int
    created: str
    n_seen: int
    n_unlabelled: int
    who: tuple[str, ...]
    targets: np.ndarray | None = None
    sets: tuple[str, ...] = ()

    def number(self, labels: Iterable[str]) -> np.ndarray:
        """What `y` would say of these labels; -1 for one that no item has."""
        place = {name: i for i, name in enumerate(self.sets if self.targets is not None else self.classes)}
        return np.array([place.get(label, -1) for label in labels], dtype=np.int64)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(item.key for item in self.items)


@dataclass(frozen=True)
class Answers:
    """What a bundle answers to items. `probabilities` (n, classes of the evidence) hold 0 for classes it lacks.

    Where it says sets, `said` (n, classes) are they. Where it says sets, or the cheapest class rather than the
    likeliest, `numbers` (n,) are what the evidence's `y` would say of its answers.
    """

    embeddings: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    predictions: tuple[Prediction, ...]
    said: np.ndarray | None = None
    numbers: np.ndarray | None = None

    @property
    def predicted(self) -> np.ndarray:
        """Class numbers (n,) as answered; of sets, their numbers."""
        return np.asarray(self.probabilities.argmax(axis=1)) if self.numbers is None else self.numbers

    @property
    def confidence(self) -> np.ndarray:
        """Probability (n,) of what is answered; of sets, that all of it is right; 0 where no class is named."""
        if self.numbers is not None:
            return np.array([p.probability for p in self.predictions], dtype=np.float64)
        sure = np.asarray(self.probabilities.max(axis=1))
        sure[[i for i, p in enumerate(self.predictions) if p.label == NO_ANSWER]] = 0.0
        return sure


@dataclass
class Looks:
    """What is remembered of items that were read to be asked: texts, and sizes in characters or pixels."""

    texts: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def add(self, payload: Payload) -> None:
        """One more item."""
        if isinstance(payload, str):
            self.texts.append(payload)
            self.sizes.append(len(payload))
        else:
            self.sizes.append(payload.shape[0] * payload.shape[1])


@dataclass
class Draft:
    """Metrics, item sets and sections, while they are being gathered."""

    metrics: list[Metric] = field(default_factory=list)
    item_sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, found: Interval, *, unit: str = "rate", slice: str = "", items: str = "") -> None:
        """Note a metric; one without a value (nothing to measure) is left out."""
        if not math.isnan(found.value):
            self.metrics.append(
                Metric(
                    name, float(found.value), float(found.low), float(found.high), int(found.n), unit, slice, items,
                    found.method, found.level,
                )
            )  # fmt: skip

    def add_set(self, name: str, keys: Iterable[str]) -> str:
        """Note a set of items; returns its name, or "" when it is empty."""
        members = tuple(keys)
        if not members:
            return ""
        self.item_sets[name] = members
        return name


def interval_record(found: Interval) -> dict[str, Any]:
    """An interval for a section; None where nothing was measured."""
    if math.isnan(found.value):
        return {"value": None, "low": None, "high": None, "n": 0}
    return {"value": float(found.value), "low": float(found.low), "high": float(found.high), "n": int(found.n)}


def pick(items: Sequence[Any], mask: np.ndarray) -> tuple[Any, ...]:
    """The entries where `mask` (n,) is true.

    >>> pick("abc", np.array([True, False, True]))
    ('a', 'c')
    """
    return tuple(items[int(i)] for i in np.flatnonzero(mask))


def pad_classes(probabilities: np.ndarray, own: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Probabilities (n, own) as columns of `classes`; 0 for a class that is not among `own`."""
    place: Mapping[str, int] = {name: i for i, name in enumerate(classes)}
    padded = np.zeros((len(probabilities), len(classes)))
    padded[:, [place[name] for name in own]] = probabilities
    return padded
