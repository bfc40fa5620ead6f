"""Detectors that take each class for a normal distribution in the embedding, one shared covariance for all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from passmuster.metrics.novelty.base import Arrays, Detector, checked, rowwise

FLOOR = 1e-6  # of the largest variance: directions of less are held back


def _fit_mahalanobis(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    x = checked(embeddings, "embeddings").astype(np.float64)
    said = np.argmax(checked(logits, "logits"), axis=1)
    present = np.unique(said)
    means = np.stack([x[said == c].mean(axis=0) for c in present])  # (classes seen, d)
    whiten = _whitening(x - means[np.searchsorted(present, said)])
    centre = x.mean(axis=0)
    return {"means": (means - centre) @ whiten, "whiten": whiten, "centre": centre}


def _score_mahalanobis(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    means, whiten = np.asarray(arrays["means"], dtype=np.float64), np.asarray(arrays["whiten"], dtype=np.float64)
    centre = np.asarray(arrays.get("centre", 0.0), dtype=np.float64)  # guards of before have none

    def score(rows: np.ndarray) -> np.ndarray:
        z = (rows - centre) @ whiten
        squares = (z**2).sum(axis=1)[:, None] - 2.0 * z @ means.T + (means**2).sum(axis=1)[None, :]  # (b, classes)
        return np.asarray(np.maximum(0.0, squares.min(axis=1)))

    return rowwise(score, embeddings)


MAHALANOBIS = Detector(
    _fit_mahalanobis,
    _score_mahalanobis,
    "embeddings",
    "squared Mahalanobis distance to the nearest class mean under one shared covariance (Lee et al. 2018, A simple "
    "unified framework, NeurIPS, eq. 2), classes as predicted, covariance shrunk by Ledoit and Wolf 2004",
    lambda arrays, d, c: float(arrays["whiten"].size + arrays["means"].size),
)


def _fit_rmds(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    arrays = _fit_mahalanobis(embeddings, logits)
    x = np.asarray(embeddings, dtype=np.float64)
    return {**arrays, "whiten_all": _whitening(x - arrays["centre"])}


def _score_rmds(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    whiten, centre = np.asarray(arrays["whiten_all"], dtype=np.float64), np.asarray(arrays["centre"], dtype=np.float64)
    of_all = rowwise(lambda rows: (((rows - centre) @ whiten) ** 2).sum(axis=1), embeddings)
    nearest = _score_mahalanobis(arrays, embeddings, logits)
    finite = np.isfinite(nearest)
    return np.where(finite, nearest - np.where(finite, of_all, 0.0), np.inf)


RMDS = Detector(
    _fit_rmds,
    _score_rmds,
    "embeddings",
    "squared Mahalanobis distance to the nearest class mean, less that to one normal distribution of all items (Ren et "
    "al. 2021, A simple fix to Mahalanobis distance for improving near-OOD detection, eq. 2), both covariances shrunk",
    lambda arrays, d, c: float(arrays["whiten"].size + arrays["means"].size + arrays["whiten_all"].size),
)


def _whitening(centred: np.ndarray) -> np.ndarray:
    """(d, d): times it, rows of this covariance have unit covariance; directions hardly used are held back."""
    values, vectors = np.linalg.eigh(shrunk_covariance(centred))
    floor = max(float(values[-1]), 1e-12) * FLOOR
    return np.asarray(vectors / np.sqrt(np.maximum(values, floor)))


def shrunk_covariance(centred: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf 2004 (A well-conditioned estimator for large-dimensional covariance matrices, eq. 14).

    >>> shrunk_covariance(np.array([[1.0, 0.0], [-1.0, 0.0]])).shape
    (2, 2)
    """
    n, d = centred.shape
    sample = centred.T @ centred / n
    share, mean_variance = shrinkage(sample, float(((centred**2).sum(axis=1) ** 2).sum()), n)
    return np.asarray((1.0 - share) * sample + share * mean_variance * np.eye(d))


def shrinkage(sample: np.ndarray, fourth: float, n: int) -> tuple[float, float]:
    """How far the covariance `sample` (d, d) of n rows is drawn to the sphere, in [0, 1], and that sphere's variance.

    `fourth` is the sum of the fourth powers of the rows' lengths.
    """
    d = len(sample)
    squares = float((sample**2).sum())
    mean_variance = float(np.trace(sample)) / d
    spread = squares / d - mean_variance**2  # squared distance from the sphere, per dimension
    noise = (fourth / n - squares) / (n * d)
    return min(1.0, max(0.0, noise / spread)) if spread > 0 else 1.0, max(mean_variance, 1e-12)
