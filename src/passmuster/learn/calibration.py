"""Temperature scaling (Guo et al. 2017): one number that makes out-of-fold probabilities say what they mean."""

from __future__ import annotations

import numpy as np

SMALLEST, LARGEST = 0.02, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in [0.02, 20] that minimises the log-loss of ``logits / temperature``; 1 without any logits.

    `logits` (n, k) must be out-of-fold, or the temperature will flatter.

    >>> logits = np.array([[4.0, 0.0]] * 10)
    >>> fit_temperature(logits, np.array([0] * 5 + [1] * 5)) > 5
    True
    """
    from scipy.optimize import minimize_scalar

    if not len(logits):
        return 1.0
    bounds = (np.log(SMALLEST), np.log(LARGEST))
    found = minimize_scalar(lambda t: log_losses(logits / np.exp(t), labels).mean(), bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log-likelihood in nats of each item's label (n,), from logits (n, k)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
