"""What the latest model would say of the pool, and says anew as labels come: a light head on embeddings that are there.

The encoder of the latest bundle embedded the pool when it was trained, and the matrix is cached. Fitting its logistic
head on today's labels takes a fraction of a second and no torch, so the guesses keep up with the person who labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.errors import NotFoundError
from passmuster.core.label_sets import MULTI, SINGLE, Task, join_classes, split_label
from passmuster.learn.discriminant import USUAL_SHRINKAGE, fit_discriminant, logistic_takes_long
from passmuster.learn.heads import PENALTIES, Scaling
from passmuster.learn.logistic import fit_logistic, one_hot, softmax
from passmuster.learn.one_vs_rest import fit_one_vs_rest
from passmuster.runtime.answers import answers_of
from passmuster.runtime.bundle import open_bundle
from passmuster.store.releases import read_bundles
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

LIKELY = 0.5


@dataclass(frozen=True)
class Guess:
    """The most probable class of an item, or its most probable set, and the probability in [0, 1] that it is right."""

    label: str
    confidence: float


@dataclass(frozen=True)
class EmbeddedPool:
    """Items of the pool that the latest bundle's encoder has embedded. No test item is among them.

    `scaled` (n, d) are centred and divided by their root mean square length; `c` and `temperature` are those that the
    bundle's training found best.
    """

    keys: tuple[str, ...]
    scaled: np.ndarray
    c: float
    temperature: float
    task: Task = SINGLE
    decide_at: float = 0.5  # of sets: the probability from which a class is said

    @classmethod
    def open(cls, store: Store) -> EmbeddedPool | None:
        """What the latest bundle whose embeddings are kept has seen; None before the first, or when all are gone."""
        with store.read() as db:
            bundles = read_bundles(db)
            if not bundles:
                return None
            snapshot = read_snapshot(db)
        pool = training_view(store, snapshot).pool
        blobs = [item.blob for item in pool]
        for bundle in bundles:
            try:
                opened = open_bundle(store.bundle_folder(bundle.path))
            except NotFoundError:  # its folder is not here
                continue
            if key := opened.manifest.encoder_key:  # one that was imported may have none
                positions, rows = store.embeddings(key).cached(blobs)
                if len(positions):
                    break
        else:
            return None
        c, temperature = _logistic_of(opened.head)
        keys = tuple(pool[i].key for i in positions)
        settings = store.config.project.task, store.config.train.decide_at
        return cls(keys, Scaling.of(rows).apply(rows), c, temperature, *settings)

    def guesses(self, answered: Mapping[str, str]) -> dict[str, Guess]:
        """A guess for every item, from the labels in `answered` (item key to label); none before there are two classes.

        Those in `answered` that are not among the items are not learnt from.
        """
        inside = [i for i, key in enumerate(self.keys) if key in answered]
        if self.task == MULTI:
            return self._sets(inside, [split_label(answered[self.keys[i]]) for i in inside])
        names = [answered[self.keys[i]] for i in inside]
        classes = sorted(set(names))
        if len(classes) < 2:
            return {}
        number = {name: i for i, name in enumerate(classes)}
        labels, x = np.array([number[name] for name in names]), self.scaled[inside]
        if logistic_takes_long(len(x), x.shape[1], len(classes)):
            weight, bias = fit_discriminant(x, labels, len(classes), shrinkage=USUAL_SHRINKAGE)
        else:
            weight, bias = fit_logistic(x, one_hot(labels, len(classes)), c=self.c)
        probabilities = softmax((self.scaled @ weight + bias) / self.temperature)
        best = probabilities.argmax(axis=1)
        sure = probabilities[np.arange(len(best)), best]
        return {key: Guess(classes[i], float(p)) for key, i, p in zip(self.keys, best.tolist(), sure, strict=True)}

    def _sets(self, inside: list[int], said: list[tuple[str, ...]]) -> dict[str, Guess]:
        """The same for sets of classes, each class for itself; none before two items differ."""
        classes = sorted({name for names in said for name in names})
        if len(set(said)) < 2:
            return {}
        targets = np.array([[name in names for name in classes] for names in said], dtype=np.float32)
        weight, bias = fit_one_vs_rest(self.scaled[inside], targets, c=self.c)
        logits = (self.scaled @ weight + bias) / self.temperature
        found = answers_of(logits, np.full(len(classes), self.decide_at))
        return {
            key: Guess(join_classes(classes[j] for j in np.flatnonzero(said)), float(p))
            for key, said, p in zip(self.keys, found.said, found.sure, strict=True)
            if worth_a_guess(said, float(p))
        }


def worth_a_guess(said: np.ndarray, sure: float) -> bool:
    """Whether a set (k,) is guessed: one of no class only where that is likelier than not.

    A model that has learnt little says nothing of most items, and "none of the classes" is an answer of its own.

    >>> worth_a_guess(np.array([True, False]), 0.3), worth_a_guess(np.array([False, False]), 0.3)
    (True, False)
    """
    return bool(said.any()) or sure >= LIKELY


def _logistic_of(head: Mapping[str, Any]) -> tuple[float, float]:
    """Penalty and temperature for a logistic head on a bundle's embeddings, as far as its ``head.json`` tells them.

    >>> _logistic_of({"kind": "blend", "penalty_c": 1.0, "parts": [{"kind": "logistic", "temperature": 0.4}]})
    (1.0, 0.4)
    >>> _logistic_of({"kind": "distilled", "penalty_c": 100.0, "temperature": 0.2})
    (10.0, 1.0)
    """
    if head.get("kind") == "discriminant":  # whose penalty is another kind of number
        return PENALTIES[1], float(head.get("temperature", 1.0))
    if head.get("kind") == "distilled":  # whose penalty and temperature are those of far more rows
        return PENALTIES[1], 1.0
    parts = {part["kind"]: part for part in head.get("parts", [])}
    own = parts.get("logistic", {} if parts else head)
    return float(head.get("penalty_c", PENALTIES[1])), float(own.get("temperature", 1.0))
