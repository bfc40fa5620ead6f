"""What is served against what was packed: answers, probabilities and novelty scores, on items of the run folder."""

from __future__ import annotations

import numpy as np

from passmuster.core.errors import IntegrityError
from passmuster.core.label_sets import MULTI
from passmuster.core.records import Bundle
from passmuster.runtime.answers import class_probabilities, softmax
from passmuster.runtime.guard import LARGEST, novelty_of
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Draft, pick
from passmuster.stages.evaluate.endpoint import asking_of
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.items import read_items
from passmuster.store.store import Store

N_AGAIN = 40  # items that an endpoint is asked of twice, to know how unlike itself it answers


def measure_parity(store: Store, draft: Draft, bundle: Bundle, predictor: Predictor) -> None:
    """The bundle's answers against those of the model as trained, on the items that training left in the run folder."""
    path = store.runs_folder / bundle.run / "parity.npz"
    if not bundle.run or not path.is_file():
        return
    try:
        with np.load(path, allow_pickle=False) as kept:
            keys, expected = [str(key) for key in kept["keys"]], np.asarray(kept["logits"], dtype=np.float64)
            # Runs from before the classes were written down had the bundle's.
            trained = tuple(map(str, kept["classes"])) if "classes" in kept else predictor.classes
            served = np.asarray(kept["served"], dtype=np.float64) if "served" in kept else None
            guarded = (
                (np.asarray(kept["novelty"], dtype=np.float64), float(kept["novelty_threshold"]))
                if "novelty" in kept
                else None
            )
    except (ValueError, KeyError, OSError) as error:
        raise IntegrityError(
            "run.parity", f"the trained model's answers cannot be read: {error}", where=path
        ) from error
    with store.read() as db:
        items = read_items(db, keys=keys)
    place = {key: i for i, key in enumerate(keys)}
    expected = expected[[place[item.key] for item in items]]
    payloads = list(read_payloads(store, predictor, items))
    embeddings, answered_now = predictor.embed(payloads)
    logits = answered_now.astype(np.float64)
    if not items or set(trained) != set(predictor.classes) or expected.shape != (len(items), len(trained)):
        return
    order = [place[item.key] for item in items]
    columns = [trained.index(name) for name in predictor.classes]
    expected = expected[:, columns]
    elsewhere = asking_of(predictor.bundle) is not None
    shift = steady_shift if elsewhere else packed_shift
    packed = {} if served is None else shift(logits, served[order][:, columns], predictor.task)
    # What was quantised, by Muster or where it was made, answers by its batch; what is elsewhere never twice alike.
    if packed and (predictor.bundle.manifest.engine.precision != "float32" or bundle.origin == "imported"):
        mixed = np.random.default_rng(0).permutation(len(items))[: N_AGAIN if elsewhere else len(items)]
        asked = predictor if elsewhere else Predictor(predictor.bundle)  # which remembers nothing, in a drill neither
        again = asked.embed([payloads[int(i)] for i in mixed])[1].astype(np.float64)
        packed["batch_shift"] = shift(again, logits[mixed], predictor.task).get("packed_shift", 0.0)
    if guarded is not None:
        novelty = novelty_of(predictor.bundle.guard, embeddings, answered_now)
        packed |= guard_shift(novelty, guarded[0][order], predictor.novelty_threshold, guarded[1])
    same = np.array(predictor.labels(logits), dtype=object) == np.array(predictor.labels(expected), dtype=object)
    draft.sections["parity"] = {
        "n": len(items),
        "agreement": float(same.mean()),
        "max_abs_difference": float(np.abs(logits - expected).max()),
        "mean_shift": float(shift_of(logits, expected, predictor.task).mean()),
        **packed,
        "items": draft.add_set("parity_differs", pick([item.key for item in items], ~same)),
    }


def packed_shift(logits: np.ndarray, served: np.ndarray, task: str) -> dict[str, float]:
    """How far probabilities are from those of the graph, engine and precision that training packed, where it asked."""
    asked = np.isfinite(served).all(axis=1)
    if not asked.any():
        return {}
    return {"n_packed": int(asked.sum()), "packed_shift": float(shift_of(logits[asked], served[asked], task).mean())}


def steady_shift(logits: np.ndarray, served: np.ndarray, task: str) -> dict[str, float]:
    """`packed_shift` of those items alone to which the answer is the same: of a model elsewhere, that answers change is
    told by their agreement, and one that changed would hide what was done to all probabilities."""
    same = logits.argmax(axis=1) == served.argmax(axis=1)
    return packed_shift(logits[same], served[same], task)


def guard_shift(
    novelty: np.ndarray, packed: np.ndarray, threshold: float, packed_threshold: float
) -> dict[str, float]:  # fmt: skip
    """How far novelty scores (n,) and their threshold are from those that training packed, in spreads of the latter.

    A spread is the standard deviation of what training packed; where nothing was spread, a unit in its own size.
    """
    asked = np.isfinite(packed)
    if not asked.any():
        return {}
    spread = float(packed[asked].std()) or max(1e-12, float(np.abs(packed[asked]).mean()))
    moved = np.abs(np.where(np.isfinite(novelty[asked]), novelty[asked], LARGEST) - packed[asked])
    return {
        "n_guard": int(asked.sum()),
        "guard_shift": min(LARGEST, float(np.median(moved)) / spread),
        "threshold_shift": min(LARGEST, abs(threshold - packed_threshold) / spread),
    }


def shift_of(logits: np.ndarray, expected: np.ndarray, task: str) -> np.ndarray:
    """Largest change (n,) of any class's probability; 1 where one is not a number."""
    probabilities = class_probabilities if task == MULTI else softmax
    shift = np.abs(probabilities(logits) - probabilities(expected)).max(axis=1)
    return np.where(np.isfinite(shift), shift, 1.0)
