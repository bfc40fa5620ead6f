"""Vector scaling (Guo et al. 2017, section 4.2): a slope and a shift for each class, where labels are many enough.

It is laid over the temperature and has to beat it on labels that it did not see; with few labels, or where it does not,
the temperature stays alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passmuster.learn.calibration import log_losses
from passmuster.learn.heads import Head

MIN_PER_CLASS = 20  # labels of each class, below which it is not tried
N_FOLDS = 5
SPREAD = 0.5  # of slopes around 1 and shifts around 0, as a prior
MAX_CELLS = 200_000  # of the logits it is fitted to; of more labels a random part is taken, to stay within a second
CLEARLY = 2.0  # standard errors of the gain in held-out log-loss, before it is taken


@dataclass(frozen=True)
class VectorScaling:
    """Logits become ``logits * slope + shift``, both (k,); `gain` is in held-out log-loss, in nats."""

    slope: np.ndarray
    shift: np.ndarray
    gain: float
    gain_se: float

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Scaled logits (n, k)."""
        return np.asarray(logits * self.slope + self.shift)

    def folded(self, head: Head) -> Head:
        """The head that gives scaled logits."""
        weight, bias = head.weight * self.slope, head.bias * self.slope + self.shift
        return Head(weight.astype(np.float32), bias.astype(np.float32))


def choose_vector_scaling(logits: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> VectorScaling | None:
    """Vector scaling of calibrated out-of-fold logits (n, k), if labels (n,) that it did not see show that it helps.

    None with fewer than `MIN_PER_CLASS` labels of a class, and where the gain is not `CLEARLY` above its error.

    >>> rng = np.random.default_rng(0)
    >>> choose_vector_scaling(np.zeros((10, 2)), np.array([0, 1] * 5), rng) is None
    True
    """
    n, k = logits.shape
    if n * k > MAX_CELLS:
        some = np.sort(rng.choice(n, MAX_CELLS // k, replace=False))
        logits, labels, n = logits[some], labels[some], len(some)
    counts = np.bincount(labels, minlength=k)
    if not n or counts.min() < MIN_PER_CLASS:
        return None
    fold = folds_of(labels, rng)
    gains = np.empty(n)
    for number in range(N_FOLDS):
        held = fold == number
        slope, shift = fit_vector(logits[~held], labels[~held])
        gains[held] = log_losses(logits[held], labels[held]) - log_losses(logits[held] * slope + shift, labels[held])
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(n))
    if gain <= CLEARLY * error:
        return None
    return VectorScaling(*fit_vector(logits, labels), gain, error)


def folds_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fold numbers (n,), the classes spread evenly over them."""
    fold = np.empty(len(labels), dtype=np.int64)
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold[order] = np.arange(len(labels)) % N_FOLDS
    return fold


def fit_vector(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and shift (k,) that minimise the summed log-loss and the prior's penalty."""
    from scipy.optimize import minimize

    z = logits.astype(np.float64)
    n, k = z.shape
    truth = np.zeros((n, k))
    truth[np.arange(n), labels] = 1.0

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        slope, shift = flat[:k], flat[k:]
        scaled = z * slope + shift
        rest = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        rest = rest / rest.sum(axis=1, keepdims=True) - truth
        away = np.concatenate([slope - 1.0, shift])
        loss = float(log_losses(scaled, labels).sum() + 0.5 * (away**2).sum() / SPREAD**2)
        gradient = np.concatenate([(rest * z).sum(axis=0), rest.sum(axis=0)]) + away / SPREAD**2
        return loss, gradient

    start = np.concatenate([np.ones(k), np.zeros(k)])
    bounds = [(0.05, 20.0)] * k + [(-10.0, 10.0)] * k
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
    return found[:k], found[k:]
