"""Models that say sets of classes, with their answers to 3,000 composed test items: the worlds of `decide_sets.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from choose_sets import embed_by
from decide import N_POOL
from multilabel_sets import compose
from passmuster.core.prediction_powered import Prior
from passmuster.metrics.label_sets import item_f1_scores
from passmuster.metrics.set_error_prediction import SETS_PRIOR, SetErrorPredictor, set_error_predictor

N_TRAIN, N_TEST = 1_500, 3_000
COMPOSED = 1  # seed of the items; those of seed 0 were looked at while the reading was made
FIT_S = 600.0  # more than any rung here needs
WORLDS = {
    "clinc150": ("clinc150", "stacked.v1", 150),
    "clinc150_many_labels": ("clinc150", "stacked.v1", 1_000),
    "clinc150_nothing_pretrained": ("clinc150", "static.v1", 150),
    "banking77": ("banking77", "stacked.v1", 616),
}
FIGURES = ("accuracy", "item_f1")


@dataclass(frozen=True)
class SetPool:
    """Items with what the model says of them (n, k), what is true (n, k), and what each answer loses (n,)."""

    said: np.ndarray
    targets: np.ndarray
    wrong: np.ndarray
    lost: np.ndarray
    known: np.ndarray  # (k,) classes that a training label named
    predictor: SetErrorPredictor
    figures = FIGURES
    prior: Prior = SETS_PRIOR
    careful = True

    def losses(self, figure: str) -> np.ndarray:
        return self.wrong if figure == "accuracy" else self.lost

    def features(self, at: np.ndarray, figure: Any) -> np.ndarray:
        return self.predictor.features(at, self.targets[at][:, self.known], figure)

    def truth(self, figure: str) -> float:
        return float(1 - self.losses(figure).mean())

    def at(self, places: np.ndarray) -> SetPool:
        """Some of the items."""
        teacher = self.predictor.teacher
        teacher = replace(teacher, x=teacher.x[places], said=teacher.said[places])
        own = SetErrorPredictor(self.predictor.whole[places], self.predictor.partly[places], teacher)
        return SetPool(self.said[places], self.targets[places], self.wrong[places], self.lost[places], self.known, own)

    def some(self, rng: np.random.Generator) -> SetPool:
        """`N_POOL` items, drawn with replacement."""
        return self.at(rng.integers(0, len(self.wrong), N_POOL))


def world(data: Path, name: str, seed: int, folder: Path) -> SetPool:
    """What a head that learnt from draw `seed` of training labels says of the whole test part."""
    from passmuster.core.config import TrainConfig
    from passmuster.learn.folds import repeated_label_set_folds
    from passmuster.learn.heads import Scaling
    from passmuster.learn.label_set_heads import cross_validate_label_sets
    from passmuster.learn.one_vs_rest import fit_one_vs_rest
    from passmuster.runtime.answers import answers_of

    source, rung, n_labels = WORLDS[name]
    composed = compose(data, source, n_train=N_TRAIN, n_test=N_TEST, seed=COMPOSED)
    x = embedded(composed.texts, composed.test, folder / f"sets-{source}-{rung}.npz", rung)
    train, test = np.flatnonzero(~composed.test), np.flatnonzero(composed.test)
    labelled = np.sort(np.random.default_rng([seed, 7]).choice(train, n_labels, replace=False))
    classes = sorted({c for names in composed.sets for c in names})
    targets = np.array([[c in names for c in classes] for names in composed.sets], dtype=bool)
    known = targets[labelled].any(axis=0)  # the others are never said
    x = Scaling.of(x[train]).apply(x)
    y = targets[labelled][:, known].astype(np.float32)
    decide_at = TrainConfig().decide_at
    folds = repeated_label_set_folds(y, np.random.default_rng([seed, 0]))
    best = cross_validate_label_sets(x[labelled], y, folds, decide_at)
    weight, bias = fit_one_vs_rest(x[labelled], y, c=best.c)
    found = answers_of((x[test] @ weight + bias) / best.temperature + best.shift, np.full(y.shape[1], decide_at))
    said = np.zeros((len(test), len(classes)), dtype=bool)
    said[:, known] = found.said
    predictor = set_error_predictor(found.probabilities, x[test], x[labelled], y > 0, found.said)
    truth = targets[test]
    wrong = (said != truth).any(axis=1).astype(np.float64)
    return SetPool(said, truth, wrong, 1.0 - item_f1_scores(truth, said), known, predictor)


def embedded(texts: list[str], test: np.ndarray, path: Path, rung: str) -> np.ndarray:
    """Embeddings (n, d) by a rung that learnt from the items of the training split, kept at `path`."""
    if not path.is_file():
        learnt = [text for text, is_test in zip(texts, test, strict=True) if not is_test]
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, embeddings=embed_by("text", rung, learnt, texts, FIT_S))
        part.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return np.asarray(kept["embeddings"])
