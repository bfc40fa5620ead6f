"""One-against-rest logistic regression: a head whose classes answer for themselves, so that any number may say yes.

Minimises, for all classes at once, ``sum_i sum_c BCE(t_ic, sigmoid(x_i w_c + b_c)) + |W|^2 / (2 c)``; the classes do
not touch each other, so that it is the same as one binary regression for each (Hastie, Tibshirani and Friedman 2009,
section 4.4), in one product of matrices.
"""

from __future__ import annotations

import numpy as np

from passmuster.core.threads import threads_for
from passmuster.learn.lbfgs import minimise
from passmuster.learn.logistic import MAX_ITERATIONS

PRIOR_COUNT = 0.5  # of an item that has the class and one that has not, so that a bias never runs away (Jeffreys)


def fit_one_vs_rest(
    x: np.ndarray,
    targets: np.ndarray,
    *,
    c: float,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (d, k) and bias (k,) of the head that fits `targets`.

    A class that all items have, or none, gets the bias of its share with half an item added on either side.

    Parameters
    ----------
    x : (n, d) float32
    targets : (n, k) float32, 0 or 1
    c : inverse strength of the penalty, > 0
    start : weight and bias to begin from
    max_iterations : of L-BFGS

    >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=np.float32)
    >>> targets = (x > 0).astype(np.float32)
    >>> weight, bias = fit_one_vs_rest(x, targets, c=100.0)
    >>> bool(((x @ weight + bias > 0) == (targets > 0)).all())
    True
    """
    n, d = x.shape
    with threads_for(2.0 * n * min(n, d) * targets.shape[1]):
        if d > n:  # the best weight lies in the span of the items: solve in their coordinates
            basis, corner = np.linalg.qr(np.ascontiguousarray(x.T))  # (d, n), (n, n)
            inner = None if start is None else (basis.T @ start[0], start[1])
            weight, bias = _solve(np.ascontiguousarray(corner.T), targets, c, inner, max_iterations)
            return basis @ weight, bias
        return _solve(np.ascontiguousarray(x), targets, c, start, max_iterations)


def _solve(
    x: np.ndarray, targets: np.ndarray, c: float, start: tuple[np.ndarray, np.ndarray] | None, max_iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    (n, d), k = x.shape, targets.shape[1]
    total = np.float32(n)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: d * k].reshape(d, k), flat[d * k :]
        logits = x @ weight
        logits += bias
        loss = float(binary_losses(logits, targets).sum(dtype=np.float64)) + 0.5 / c * float(np.vdot(weight, weight))
        loss += PRIOR_COUNT * float((np.logaddexp(0.0, bias) + np.logaddexp(0.0, -bias)).sum())
        rest = sigmoid(logits)
        rest -= targets
        gradient = np.empty_like(flat)
        np.add(x.T @ rest, weight / np.float32(c), out=gradient[: d * k].reshape(d, k))
        gradient[d * k :] = rest.sum(axis=0) + PRIOR_COUNT * (2.0 * sigmoid(bias) - 1.0)
        gradient /= total
        return loss / n, gradient

    flat = np.zeros(d * k + k, np.float32)
    if start is None:
        share = (targets.sum(axis=0) + PRIOR_COUNT) / (n + 2 * PRIOR_COUNT)
        flat[d * k :] = np.log(share / (1.0 - share))
    else:
        flat = np.concatenate([start[0].ravel(), start[1]])
    found = minimise(objective, flat, max_iterations=max_iterations)
    return found[: d * k].reshape(d, k), found[d * k :]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits as probabilities, in the logits' precision, without overflow.

    >>> sigmoid(np.array([0.0, -1000.0])).tolist()
    [0.5, 0.0]
    """
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def binary_losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Negative log-likelihood in nats of every yes or no, ``log(1 + exp(z)) - t z``, in the shape of the logits.

    >>> binary_losses(np.array([0.0]), np.array([1.0])).round(4).tolist()
    [0.6931]
    """
    return np.asarray(np.maximum(logits, 0.0) - logits * targets + np.log1p(np.exp(-np.abs(logits))))
