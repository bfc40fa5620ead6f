"""Multinomial logistic regression with soft targets and weights, in float32, solved by L-BFGS.

Minimises ``sum_i w_i CE(t_i, softmax(x_i W + b)) + |W|^2 / (2 c)`` (Hastie, Tibshirani and Friedman 2009, section 4.4).
"""

from __future__ import annotations

import numpy as np

from passmuster.core.threads import threads_for
from passmuster.learn.lbfgs import minimise

MAX_ITERATIONS = 60


def fit_logistic(
    x: np.ndarray,
    targets: np.ndarray,
    *,
    c: float,
    weights: np.ndarray | None = None,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (d, k) and bias (k,) of the head that fits `targets`.

    Parameters
    ----------
    x : (n, d) float32
    targets : (n, k) float32, rows sum to 1
    c : inverse strength of the penalty, > 0
    weights : (n,), all 1 when None
    start : weight and bias to begin from
    max_iterations : of L-BFGS

    >>> x = np.array([[1.0], [-1.0]], dtype=np.float32)
    >>> weight, bias = fit_logistic(x, np.eye(2, dtype=np.float32), c=10.0)
    >>> (x @ weight + bias).argmax(axis=1)
    array([0, 1])
    """
    n, d = x.shape
    with threads_for(2.0 * n * min(n, d) * targets.shape[1]):
        return _fit(x, targets, c, weights, start, max_iterations)


def _fit(
    x: np.ndarray,
    targets: np.ndarray,
    c: float,
    weights: np.ndarray | None,
    start: tuple[np.ndarray, np.ndarray] | None,
    max_iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    n, d = x.shape
    if d > n:  # the best weight lies in the span of the items: solve in their coordinates, which is exact and cheaper
        basis, corner = np.linalg.qr(np.ascontiguousarray(x.T))  # (d, n), (n, n)
        inner = None if start is None else (basis.T @ start[0], start[1])
        weight, bias = _solve(np.ascontiguousarray(corner.T), targets, c, weights, inner, max_iterations)
        return basis @ weight, bias
    return _solve(np.ascontiguousarray(x), targets, c, weights, start, max_iterations)


def _solve(
    x: np.ndarray,
    targets: np.ndarray,
    c: float,
    weights: np.ndarray | None,
    start: tuple[np.ndarray, np.ndarray] | None,
    max_iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    d, k = x.shape[1], targets.shape[1]
    w = np.ones((len(x), 1), np.float32) if weights is None else weights.astype(np.float32)[:, None]
    total = np.float32(w.sum())
    weighted = w * targets

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: d * k].reshape(d, k), flat[d * k :]
        logits = x @ weight
        logits += bias
        logits -= logits.max(axis=1, keepdims=True)
        residual = np.exp(logits)
        sums = residual.sum(axis=1, keepdims=True)
        loss = float((w[:, 0] * np.log(sums[:, 0])).sum(dtype=np.float64))
        loss -= float(np.vdot(weighted, logits))  # rows of `targets` sum to 1
        loss += 0.5 / c * float(np.vdot(weight, weight))
        residual *= w / sums
        residual -= weighted
        gradient = np.empty_like(flat)
        np.add(x.T @ residual, weight / np.float32(c), out=gradient[: d * k].reshape(d, k))
        gradient[d * k :] = residual.sum(axis=0)
        gradient /= total
        return loss / float(total), gradient

    flat = np.zeros(d * k + k) if start is None else np.concatenate([start[0].ravel(), start[1]])
    found = minimise(objective, flat, max_iterations=max_iterations)
    return found[: d * k].reshape(d, k), found[d * k :]


def one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Labels (n,) as targets (n, n_classes) float32."""
    return np.asarray(np.eye(n_classes, dtype=np.float32)[labels])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of logits as probabilities, in the logits' precision."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
