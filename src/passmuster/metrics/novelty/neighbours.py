"""Detectors by direction in the embedding: the nearest ordinary items, and the nearest class mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from passmuster.metrics.novelty.base import MAX_BANK, Arrays, Detector, checked, rowwise, unit

NEIGHBOUR = 10  # which neighbour's distance counts
MARGIN = 6  # neighbours more than needed that are measured again, exactly
_AGAIN = 128  # rows whose neighbours are measured again at once


def _fit_knn(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    bank = unit(checked(embeddings, "embeddings"))
    pointing = bank.any(axis=1)  # an embedding of zeros has no direction, and is nobody's neighbour
    bank = bank[pointing] if pointing.any() else bank
    if len(bank) > MAX_BANK:
        bank = bank[np.linspace(0, len(bank) - 1, MAX_BANK).astype(np.int64)]
    return {"bank": bank.astype(np.float32), "k": np.array(min(NEIGHBOUR, len(bank)), dtype=np.int64)}


def _score_knn(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    bank, k = np.asarray(arrays["bank"], dtype=np.float32), int(arrays["k"])
    near = min(len(bank), k + MARGIN)

    def score(rows: np.ndarray) -> np.ndarray:
        """The candidates in single precision, their distances in double: products near 1 lose half the digits."""
        rows = unit(rows)
        similarity = rows.astype(np.float32) @ bank.T  # (b, n)
        candidates = np.argpartition(similarity, len(bank) - near, axis=1)[:, len(bank) - near :]
        return np.asarray(np.partition(apart(bank, candidates, rows), k - 1, axis=1)[:, k - 1])

    return rowwise(score, embeddings)


def apart(bank: np.ndarray, there: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distances (b, near) in double precision of `rows` (b, d) to those rows of `bank` at `there` (b, near)."""
    found = np.empty(there.shape)
    for start in range(0, len(rows), _AGAIN):
        part = slice(start, start + _AGAIN)
        between = bank[there[part]].astype(np.float64) - rows[part, None, :]  # (b, near, d)
        found[part] = np.sqrt(np.einsum("bnd,bnd->bn", between, between))
    return found


KNN = Detector(
    _fit_knn,
    _score_knn,
    "embeddings",
    "distance to the tenth nearest ordinary item, on the unit sphere (Sun et al. 2022, Out-of-distribution "
    "detection with deep nearest neighbors, ICML, eq. 4)",
    lambda arrays, d, c: float(arrays["bank"].size),
)


def _fit_centroid(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    x = unit(checked(embeddings, "embeddings"))
    said = np.argmax(checked(logits, "logits"), axis=1)
    return {"directions": unit(np.stack([x[said == c].mean(axis=0) for c in np.unique(said)]))}


def _score_centroid(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    directions = np.asarray(arrays["directions"], dtype=np.float64)  # (classes seen, d)
    return rowwise(lambda rows: 1.0 - (unit(rows) @ directions.T).max(axis=1), embeddings)


CENTROID = Detector(
    _fit_centroid,
    _score_centroid,
    "embeddings",
    "one minus the cosine with the nearest class mean, classes as predicted (the cosine of Techapanurak, Suganuma and "
    "Okatani 2020, Hyperparameter-free out-of-distribution detection using cosine similarity, ACCV, with means for "
    "learned directions)",
    lambda arrays, d, c: float(arrays["directions"].size),
)
