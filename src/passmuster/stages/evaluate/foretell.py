"""Where a bundle probably errs on the sealed test: its answers to every test item, labelled or not, and what foretells.

Nothing here reads a test label. Asking costs one forward pass per item; what was answered is kept by the bundle's
digest, apart from the embeddings that training reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import NotFoundError
from passmuster.core.label_sets import MULTI, Task, classes_in
from passmuster.core.prediction_powered import Prior
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item, Snapshot
from passmuster.metrics.error_prediction import PRIOR, ErrorPredictor, error_predictor, fitted_risk
from passmuster.metrics.label_sets import item_f1_scores
from passmuster.metrics.set_error_prediction import SETS_PRIOR, Figure, SetErrorPredictor, set_error_predictor
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

MAX_ASKED = 10_000  # test items a bundle is asked about; above it, chances and weights alone must do
MAX_TAUGHT = 2_000  # training items that teach the teacher


@dataclass(frozen=True)
class Foretold:
    """A bundle's answers to some items, as it is served, and what foretells how wrong each of them is.

    `said` (N,) are labels; of sets of classes written as such. Where `told` is asked for, it is the labels of the first
    items, as far as there are any.
    """

    said: tuple[str, ...]
    classes: tuple[str, ...]
    predictor: ErrorPredictor | SetErrorPredictor

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What is foretold: how often all of an answer is right, and of sets also what half-right ones are worth."""
        return ("accuracy",) if isinstance(self.predictor, ErrorPredictor) else ("accuracy", "item_f1")

    def losses(self, told: Sequence[str], figure: Figure = "accuracy") -> np.ndarray:
        """What each answer lost (n,): 1 where it is wrong, else 0; of the F1 of sets what is missing from 1."""
        said = self.said[: len(told)]
        if figure == "accuracy":
            return np.array([a != b for a, b in zip(said, told, strict=True)], dtype=np.float64)
        every = sorted({name for label in (*said, *told) for name in classes_in(label, MULTI)})
        return 1.0 - item_f1_scores(members_of(told, every), members_of(said, every))

    def features(self, told: Sequence[str], figure: Figure = "accuracy") -> np.ndarray:
        """What foretells the losses (N, p); for `passmuster.core.prediction_powered.powered_rate`."""
        at = np.arange(len(told))
        if isinstance(self.predictor, SetErrorPredictor):
            return self.predictor.features(at, members_of(told, self.classes), figure)
        number = {name: i for i, name in enumerate(self.classes)}
        return self.predictor.features(at, np.array([number.get(label, -1) for label in told], dtype=np.int64))

    def prior(self) -> Prior:
        """What is believed of those features before any label."""
        return PRIOR if isinstance(self.predictor, ErrorPredictor) else SETS_PRIOR

    def risk(self, told: Sequence[str], figure: Figure = "accuracy") -> np.ndarray:
        """The loss to be expected of each answer (N,), in [0, 1]."""
        losses = self.losses(told, figure)
        return fitted_risk(self.features(told, figure), np.arange(len(told)), losses, self.prior())


def foretell(
    store: Store, bundle: Bundle, predictor: Predictor, items: Sequence[Item], *, progress: Progress
) -> Foretold:
    """What the bundle answers to `items`, as it is served, and what foretells its errors there."""
    progress.say(f"asking bundle {bundle.digest[:16]} about {len(items):,} test items, labelled or not")
    embeddings, logits = answered(store, bundle, predictor, items, progress=progress)
    taught, labels = _training_items(store, bundle, predictor.classes, predictor.task)
    known, _ = answered(store, bundle, predictor, taught, progress=progress)
    found = predictor.answers(logits)
    said, classes = tuple(predictor.names(found.said)), predictor.classes
    if predictor.task == MULTI:
        sets = set_error_predictor(found.probabilities, embeddings, known, members_of(labels, classes), found.said)
        return Foretold(said, classes, sets)
    number = {name: i for i, name in enumerate(classes)}
    y, answer = (np.array([number[name] for name in names], dtype=np.int64) for names in (labels, said))
    return Foretold(said, classes, error_predictor(found.probabilities, embeddings, known, y, answer))


def members_of(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Which of `classes` each of some labels of sets stands for (n, k)."""
    place = {name: i for i, name in enumerate(classes)}
    found = np.zeros((len(labels), len(classes)), dtype=bool)
    for i, label in enumerate(labels):
        found[i, [place[name] for name in classes_in(label, MULTI) if name in place]] = True
    return found


def answered(
    store: Store, bundle: Bundle, predictor: Predictor, items: Sequence[Item], *, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) and logits (n, c) of `items`, asked once per bundle and content."""

    def compute(positions: Sequence[int]) -> np.ndarray:
        payloads = list(read_payloads(store, predictor, [items[i] for i in positions]))
        return np.concatenate(predictor.embed(payloads), axis=1)

    kept = store.embeddings(f"answers-{bundle.digest[:32]}")
    rows = kept.get([item.blob for item in items], compute, progress=progress)
    width = rows.shape[1] - len(predictor.classes)
    return (rows[:, :width], rows[:, width:]) if len(items) else predictor.embed([])


def _training_items(
    store: Store, bundle: Bundle, classes: Sequence[str], task: Task
) -> tuple[list[Item], list[str]]:  # fmt: skip
    """Items with a training label that the bundle's own snapshot held, and their labels; the first so many.

    Only labels of its `classes`. None of a bundle that was made elsewhere: what it learnt from is not here.
    """
    snapshot = _own_snapshot(store, bundle)
    if snapshot is None:
        return [], []
    view, known = training_view(store, snapshot), set(classes)
    labelled = [
        item for item in view.pool
        if item.key in view.labels and known.issuperset(classes_in(view.labels[item.key].label, task))
    ][:MAX_TAUGHT]  # fmt: skip
    return labelled, [view.labels[item.key].label for item in labelled]


def _own_snapshot(store: Store, bundle: Bundle) -> Snapshot | None:
    if not bundle.snapshot:
        return None
    try:
        with store.read() as db:
            return read_snapshot(db, bundle.snapshot)
    except NotFoundError:
        return None
