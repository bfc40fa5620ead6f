"""Temperature scaling (Guo et al. 2017): one number that makes out-of-fold probabilities say what they mean."""

from __future__ import annotations

import numpy as np

SMALLEST, LARGEST = 0.02, 20.0
CLOSE = 1e-7  # how far the logarithm may be from the best


def fit_temperature(logits: np.ndarray, labels: np.ndarray, n_items: int | None = None) -> float:
    """The temperature in [0.02, 20] that minimises the log-loss of ``logits / temperature``; 1 without any logits.

    Labels are smoothed as if one more item had been seen and answered wrongly (Platt 1999, section 2.2): a few labels
    that are all right do not make a head certain.

    Parameters
    ----------
    logits : (n, k), out-of-fold, or the temperature will flatter
    labels : (n,)
    n_items : different items among the n rows, when items are repeated

    >>> logits = np.array([[4.0, 0.0]] * 10)
    >>> fit_temperature(logits, np.array([0] * 5 + [1] * 5)) > 5
    True
    """
    from scipy.optimize import minimize_scalar

    if not len(logits):
        return 1.0
    wrong = 1.0 / ((n_items or len(logits)) + 2.0)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        right = log_losses(scaled, labels)
        every = -(scaled - (scaled[np.arange(len(labels)), labels] + right)[:, None]).sum(axis=1)
        others = (every - right) / (logits.shape[1] - 1)
        return float(((1 - wrong) * right + wrong * others).mean())

    found = minimize_scalar(
        loss, bounds=(np.log(SMALLEST), np.log(LARGEST)), method="bounded", options={"xatol": CLOSE}
    )
    return float(np.exp(found.x))


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log-likelihood in nats of each item's label (n,), from logits (n, k)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])
