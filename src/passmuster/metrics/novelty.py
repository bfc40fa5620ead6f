"""Novelty: how unlike the reference an item is. Detectors are fitted once, kept as arrays, and scored with numpy alone.

Every score grows with strangeness. A row with a value that is not finite scores infinity, so that a broken item is
never taken for an ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import DataError
from passmuster.core.tables import Table

Arrays = dict[str, np.ndarray]

MAX_BANK = 10_000  # rows a neighbour search keeps: Sun et al. 2022 (table 4) lose nothing with 1 % of a million
NEIGHBOUR = 10  # which neighbour's distance counts
_BLOCK = 512  # rows scored at once: bounds the memory of a distance matrix


@dataclass(frozen=True)
class Detector:
    """One way to tell strange items from ordinary ones.

    Parameters
    ----------
    fit : embeddings ``(n, d)`` and logits ``(n, c)`` of ordinary items, to the arrays that `score` needs; raises
        `DataError` (``novelty.no_items``, ``novelty.not_finite``)
    score : those arrays, embeddings ``(m, d)`` and logits ``(m, c)``, to ``(m,)`` float64; higher is stranger
    uses : what it looks at, "embeddings" or "logits"
    summary : one line for reports

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ordinary, logits = rng.normal(5.0, 1.0, (200, 3)), rng.normal(size=(200, 2))
    >>> knn = detectors["knn.v1"]
    >>> arrays = knn.fit(ordinary, logits)
    >>> usual, strange = knn.score(arrays, np.array([[5.0, 5.0, 5.0], [-5.0, 5.0, 5.0]]), np.zeros((2, 2)))
    >>> bool(strange > usual)
    True
    """

    fit: Callable[[np.ndarray, np.ndarray], Arrays]
    score: Callable[[Mapping[str, np.ndarray], np.ndarray, np.ndarray], np.ndarray]
    uses: str
    summary: str


detectors: Table[Detector] = Table("novelty detector")


def _fit_knn(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    bank = _unit(_checked(embeddings, "embeddings"))
    if len(bank) > MAX_BANK:
        bank = bank[np.linspace(0, len(bank) - 1, MAX_BANK).astype(np.int64)]
    return {"bank": bank.astype(np.float32), "k": np.array(min(NEIGHBOUR, len(bank)), dtype=np.int64)}


def _score_knn(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    bank, k = np.asarray(arrays["bank"], dtype=np.float32), int(arrays["k"])

    def score(rows: np.ndarray) -> np.ndarray:
        similarity = _unit(rows).astype(np.float32) @ bank.T  # (b, n)
        kth = np.partition(similarity, len(bank) - k, axis=1)[:, len(bank) - k]
        return np.sqrt(np.maximum(0.0, 2.0 - 2.0 * kth.astype(np.float64)))

    return _rowwise(score, embeddings)


detectors.add(
    "knn.v1",
    Detector(
        _fit_knn,
        _score_knn,
        "embeddings",
        "distance to the tenth nearest ordinary item, on the unit sphere (Sun et al. 2022, Out-of-distribution "
        "detection with deep nearest neighbors, ICML, eq. 4)",
    ),
)


def _fit_mahalanobis(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    x = _checked(embeddings, "embeddings").astype(np.float64)
    said = np.argmax(_checked(logits, "logits"), axis=1)
    present = np.unique(said)
    means = np.stack([x[said == c].mean(axis=0) for c in present])  # (classes seen, d)
    rest = x - means[np.searchsorted(present, said)]
    values, vectors = np.linalg.eigh(_shrunk_covariance(rest))
    floor = max(float(values[-1]), 1e-12) * 1e-6
    whiten = vectors / np.sqrt(np.maximum(values, floor))  # (d, d)
    return {"means": (means @ whiten).astype(np.float32), "whiten": whiten.astype(np.float32)}


def _score_mahalanobis(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    means, whiten = np.asarray(arrays["means"], dtype=np.float64), np.asarray(arrays["whiten"], dtype=np.float64)

    def score(rows: np.ndarray) -> np.ndarray:
        z = rows @ whiten
        squares = (z**2).sum(axis=1)[:, None] - 2.0 * z @ means.T + (means**2).sum(axis=1)[None, :]  # (b, classes)
        return np.asarray(np.maximum(0.0, squares.min(axis=1)))

    return _rowwise(score, embeddings)


detectors.add(
    "mahalanobis.v1",
    Detector(
        _fit_mahalanobis,
        _score_mahalanobis,
        "embeddings",
        "squared Mahalanobis distance to the nearest class mean under one shared covariance (Lee et al. 2018, A simple "
        "unified framework, NeurIPS, eq. 2), classes as predicted, covariance shrunk by Ledoit and Wolf 2004",
    ),
)


def _fit_energy(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    _checked(logits, "logits")
    return {"temperature": np.array(1.0)}


def _score_energy(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    temperature = float(arrays["temperature"])
    return _rowwise(lambda rows: -temperature * _log_sum_exp(rows / temperature), logits)


detectors.add(
    "energy.v1",
    Detector(
        _fit_energy,
        _score_energy,
        "logits",
        "negative log-sum-exp of the logits (Liu et al. 2020, Energy-based out-of-distribution detection, NeurIPS, "
        "eq. 4, temperature 1)",
    ),
)


def _fit_msp(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    _checked(logits, "logits")
    return {}


def _score_msp(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return _rowwise(lambda rows: 1.0 - np.exp(rows.max(axis=1) - _log_sum_exp(rows)), logits)


detectors.add(
    "msp.v1",
    Detector(
        _fit_msp,
        _score_msp,
        "logits",
        "one minus the largest probability (Hendrycks and Gimpel 2017, A baseline for detecting misclassified and "
        "out-of-distribution examples, ICLR)",
    ),
)


def _checked(rows: np.ndarray, what: str) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 2 or not rows.shape[0] or not rows.shape[1]:
        raise DataError(
            "novelty.no_items", f"a novelty detector needs {what} of ordinary items, (n, d)", value=rows.shape
        )
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise DataError("novelty.not_finite", f"the {what} of an ordinary item are not finite", where=f"row {bad}")
    return rows


def _rowwise(score: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """`score` in blocks, in float64; infinity where a row is not finite."""
    rows = np.asarray(rows, dtype=np.float64)
    found = np.full(len(rows), np.inf)
    good = np.flatnonzero(np.isfinite(rows).all(axis=1)) if rows.size else np.zeros(0, dtype=np.int64)
    for start in range(0, len(good), _BLOCK):
        block = good[start : start + _BLOCK]
        found[block] = score(rows[block])
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _log_sum_exp(rows: np.ndarray) -> np.ndarray:
    top = rows.max(axis=1)
    return np.asarray(top + np.log(np.exp(rows - top[:, None]).sum(axis=1)))


def _shrunk_covariance(centred: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf 2004 (A well-conditioned estimator for large-dimensional covariance matrices, eq. 14).

    >>> _shrunk_covariance(np.array([[1.0, 0.0], [-1.0, 0.0]])).shape
    (2, 2)
    """
    n, d = centred.shape
    sample = centred.T @ centred / n
    mean_variance = float(np.trace(sample)) / d
    spread = float((sample**2).sum()) / d - mean_variance**2  # squared distance from the sphere, per dimension
    squared_rows = float(((centred**2).sum(axis=1) ** 2).sum())
    noise = (squared_rows / n - float((sample**2).sum())) / (n * d)
    share = min(1.0, max(0.0, noise / spread)) if spread > 0 else 1.0
    return np.asarray((1.0 - share) * sample + share * max(mean_variance, 1e-12) * np.eye(d))
