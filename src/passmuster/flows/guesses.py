"""What the latest model would say of the pool, and says anew as labels come: a light head on embeddings that are there.

The encoder of the latest bundle embedded the pool when it was trained, and the matrix is cached. Fitting its logistic
head on today's labels takes a fraction of a second and no torch, so the guesses keep up with the person who labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import NotFoundError
from passmuster.learn.discriminant import USUAL_SHRINKAGE, fit_discriminant, logistic_takes_long
from passmuster.learn.heads import PENALTIES, Scaling
from passmuster.learn.logistic import fit_logistic, one_hot, softmax
from passmuster.runtime.bundle import open_bundle
from passmuster.store.releases import read_bundles
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store


@dataclass(frozen=True)
class Guess:
    """The most probable class of an item, and its probability in [0, 1]."""

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
        logistic = opened.head.get("kind") != "discriminant"  # whose penalty is another kind of number
        c = opened.head.get("penalty_c", PENALTIES[1]) if logistic else PENALTIES[1]
        temperature = opened.head.get("temperature", 1.0)
        keys = tuple(pool[i].key for i in positions)
        return cls(keys, Scaling.of(rows).apply(rows), float(c), float(temperature))

    def guesses(self, answered: Mapping[str, str]) -> dict[str, Guess]:
        """A guess for every item, from the labels in `answered` (item key to label); none before there are two classes.

        Those in `answered` that are not among the items are not learnt from.
        """
        inside = [i for i, key in enumerate(self.keys) if key in answered]
        names = [answered[self.keys[i]] for i in inside]
        classes = sorted(set(names))
        if len(classes) < 2:
            return {}
        number = {name: i for i, name in enumerate(classes)}
        labels, x = np.array([number[name] for name in names]), self.scaled[inside]
        if logistic_takes_long(*x.shape, len(classes)):
            weight, bias = fit_discriminant(x, labels, len(classes), shrinkage=USUAL_SHRINKAGE)
        else:
            weight, bias = fit_logistic(x, one_hot(labels, len(classes)), c=self.c)
        probabilities = softmax((self.scaled @ weight + bias) / self.temperature)
        best = probabilities.argmax(axis=1)
        sure = probabilities[np.arange(len(best)), best]
        return {key: Guess(classes[i], float(p)) for key, i, p in zip(self.keys, best.tolist(), sure, strict=True)}


def refresh(store: Store, answered: Mapping[str, str]) -> dict[str, Guess]:
    """Guesses for the pool from the labels in `answered`, item key to label; none when there is no bundle yet."""
    pool = EmbeddedPool.open(store)
    return pool.guesses(answered) if pool else {}
