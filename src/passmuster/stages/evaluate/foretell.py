"""Where a bundle probably errs on the sealed test: its answers to every test item, labelled or not, and what foretells.

Nothing here reads a test label. Asking costs one forward pass per item; what was answered is kept by the bundle's
digest, apart from the embeddings that training reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from passmuster.core.errors import NotFoundError
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item, Snapshot
from passmuster.metrics.error_prediction import ErrorPredictor, error_predictor
from passmuster.runtime.answers import softmax
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

MAX_ASKED = 10_000  # test items a bundle is asked about; above it, chances and weights alone must do
MAX_TAUGHT = 2_000  # training items that teach the teacher


def foretell(
    store: Store, bundle: Bundle, predictor: Predictor, items: Sequence[Item], *, progress: Progress
) -> tuple[np.ndarray, ErrorPredictor]:
    """What the bundle answers to `items`, as it is served, and what foretells its errors there.

    Answers are class numbers (n,): the likeliest class, or the cheapest where the bundle's policy says so.
    """
    progress.say(f"asking bundle {bundle.digest[:16]} about {len(items):,} test items, labelled or not")
    embeddings, logits = answered(store, bundle, predictor, items, progress=progress)
    taught, numbers = _training_items(store, bundle, predictor.classes)
    known, _ = answered(store, bundle, predictor, taught, progress=progress)
    number = {name: i for i, name in enumerate(predictor.classes)}
    said = np.array([number[name] for name in predictor.labels(logits)], dtype=np.int64)
    return said, error_predictor(softmax(logits.astype(np.float64)), embeddings, known, numbers, said)


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


def _training_items(store: Store, bundle: Bundle, classes: Sequence[str]) -> tuple[list[Item], np.ndarray]:
    """Items with a training label that the bundle's own snapshot held, and their class numbers; the first so many.

    None of a bundle that was made elsewhere: what it learnt from is not here.
    """
    snapshot = _own_snapshot(store, bundle)
    if snapshot is None:
        return [], np.zeros(0, dtype=np.int64)
    view = training_view(store, snapshot)
    number = {name: i for i, name in enumerate(classes)}
    labelled = [item for item in view.pool if item.key in view.labels and view.labels[item.key].label in number]
    labelled = labelled[:MAX_TAUGHT]
    return labelled, np.array([number[view.labels[item.key].label] for item in labelled], dtype=np.int64)


def _own_snapshot(store: Store, bundle: Bundle) -> Snapshot | None:
    if not bundle.snapshot:
        return None
    try:
        with store.read() as db:
            return read_snapshot(db, bundle.snapshot)
    except NotFoundError:
        return None
