"""Detectors that look at embedding and logits together, through the linear head between them.

The head is read back from its own answers by least squares: exact where logits are linear in the embedding (as in every
bundle that Muster trains) and the items span it, else the nearest linear head.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from passmuster.metrics.novelty.base import Arrays, Detector, checked, log_sum_exp, rowwise

_SMALLEST = 1e-5  # singular values below this share of the largest hold nothing but rounding
_SAME = 1e-13  # squared distance of two weights, as a share of the largest square, that is nothing but rounding


def linear_head(embeddings: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight (d, c), bias (c,) and mean (d,) with ``logits = (x - mean) @ weight + bias``, by least squares.

    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> weight, bias, mean = linear_head(x, 2.0 * x + 1.0)
    >>> weight.round(6).tolist(), bias.round(6).tolist(), mean.tolist()
    ([[2.0]], [5.0], [2.0])
    """
    x, z = np.asarray(embeddings, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    mean, bias = x.mean(axis=0), z.mean(axis=0)
    centred = x - mean
    values, vectors = np.linalg.eigh(centred.T @ centred)  # ten times quicker than by singular values of all items
    kept = values > _SMALLEST**2 * max(float(values[-1]), 0.0)
    basis = vectors[:, kept]
    weight = basis @ ((basis.T @ (centred.T @ (z - bias))) / values[kept, None])
    return weight, bias, mean


def _fit_fdbd(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    weight, _, mean = linear_head(checked(embeddings, "embeddings"), checked(logits, "logits"))
    return {"mean": mean, "weight": weight}


def _score_fdbd(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    mean, weight = np.asarray(arrays["mean"], dtype=np.float64), np.asarray(arrays["weight"], dtype=np.float64)
    squares = (weight**2).sum(axis=0)  # (c,)
    least = _SAME * float(squares.max(initial=0.0))

    def per_distance(said: np.ndarray) -> np.ndarray:
        """One over the distance of weights (m, c) from those of a class; 0 with itself or one of the same weights."""
        apart = squares[said][:, None] + squares - 2.0 * weight[:, said].T @ weight  # squared
        boundary = apart > least
        return np.asarray(boundary / np.sqrt(np.where(boundary, apart, 1.0)))

    table = per_distance(np.arange(len(squares))) if len(logits) > len(squares) else None  # where that is less to do

    def score(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        said = z.argmax(axis=1)
        distance = (z.max(axis=1)[:, None] - z) * (per_distance(said) if table is None else table[said])  # (b, c)
        average = distance.sum(axis=1) / max(1, z.shape[1] - 1)
        moved = x - mean
        length = np.sqrt(np.einsum("bd,bd->b", moved, moved))
        return np.asarray(-average / np.maximum(length, 1e-12))

    return rowwise(score, embeddings, logits)


FDBD = Detector(
    _fit_fdbd,
    _score_fdbd,
    "both",
    "negative mean distance to the decision boundaries, over the distance to the mean item (Liu and Qin 2024, Fast "
    "decision boundary based out-of-distribution detector, ICML, eq. 8)",
    lambda arrays, d, c: float(arrays["weight"].size),
)


def _fit_vim(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    x, z = checked(embeddings, "embeddings").astype(np.float64), checked(logits, "logits").astype(np.float64)
    return vim_of_head(x, z, *linear_head(x, z))


def vim_of_head(x: np.ndarray, z: np.ndarray, weight: np.ndarray, bias: np.ndarray, mean: np.ndarray) -> Arrays:
    """What ViM keeps of embeddings (n, d) and logits (n, c), float64, when the head between them is known."""
    origin = mean - np.linalg.lstsq(weight.T, bias, rcond=_SMALLEST)[0]  # where every logit is nearest to 0
    moved = x - origin
    values, vectors = np.linalg.eigh(moved.T @ moved / len(x))  # the largest last
    d = x.shape[1]
    n_principal = min(n_principal_of(d), int((values > _SMALLEST**2 * values[-1]).sum()))
    residual = vectors[:, : d - n_principal]  # (d, rest)
    length = float(np.linalg.norm(moved @ residual, axis=1).sum())
    scale = max(0.0, float(z.max(axis=1).sum())) / length if length > 1e-9 * np.abs(moved).sum() else 0.0
    return {"origin": origin, "residual": residual, "scale": np.array(scale)}


def n_principal_of(d: int) -> int:
    """How many of d directions ViM takes for the principal ones: as its authors do from 768 on, half of fewer.

    >>> [n_principal_of(d) for d in (3, 767, 768, 2_047, 2_048)]
    [1, 383, 512, 512, 1000]
    """
    return 1_000 if d >= 2_048 else 512 if d >= 768 else d // 2


def _score_vim(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    origin, residual = np.asarray(arrays["origin"], dtype=np.float64), np.asarray(arrays["residual"], dtype=np.float64)
    scale = float(arrays["scale"])

    def score(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        outside = (x - origin) @ residual
        return np.asarray(scale * np.sqrt(np.einsum("br,br->b", outside, outside)) - log_sum_exp(z))

    return rowwise(score, embeddings, logits)


VIM = Detector(
    _fit_vim,
    _score_vim,
    "both",
    "length of the part of the embedding outside its principal half, on the scale of logits, less the log-sum-exp of "
    "the logits (Wang et al. 2022, ViM: out-of-distribution with virtual-logit matching, CVPR, eq. 6 and 8, as the "
    "log-odds of the virtual class)",
    lambda arrays, d, c: float(arrays["residual"].size + 2 * c),
)
