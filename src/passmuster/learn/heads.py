"""Heads: from embeddings and a few labels to calibrated logits, judged by repeated cross-validation.

A head sees embeddings centred and divided by one number (their root mean square length over the pool), so that one
grid of penalties suits every encoder. All of it, the temperature included, is folded into the weight and bias that are
served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import DataError
from passmuster.core.matrix import Matrix, blocks_of, mean_and_square
from passmuster.learn.calibration import fit_temperature, log_losses
from passmuster.learn.logistic import fit_logistic, one_hot

PENALTIES = (1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Head:
    """What is served: ``logits = embedding @ weight + bias``, calibrated."""

    weight: np.ndarray  # (d, k) float32
    bias: np.ndarray  # (k,) float32

    def logits(self, embeddings: Matrix) -> np.ndarray:
        """Logits (n, k) of embeddings (n, d)."""
        if isinstance(embeddings, np.ndarray):
            return np.asarray(embeddings @ self.weight + self.bias)
        return np.concatenate([block @ self.weight + self.bias for block in blocks_of(embeddings)])


@dataclass(frozen=True)
class Scaling:
    """Centre and length of a pool's embeddings."""

    mean: np.ndarray  # (d,)
    length: float

    @classmethod
    def of(cls, embeddings: Matrix) -> Scaling:
        mean, squares = mean_and_square(embeddings)
        square = float(squares.sum()) - float(mean @ mean)
        return cls(mean.astype(np.float32), float(np.sqrt(max(square, 1e-12))))

    def apply(self, embeddings: np.ndarray) -> np.ndarray:
        return np.asarray((embeddings - self.mean) / np.float32(self.length))

    def fold(self, weight: np.ndarray, bias: np.ndarray, temperature: float) -> Head:
        """The head on unscaled embeddings whose logits are ``(scaled @ weight + bias) / temperature``."""
        outer = weight / (self.length * temperature)
        return Head(outer.astype(np.float32), (bias / temperature - self.mean @ outer).astype(np.float32))


@dataclass(frozen=True)
class CrossValidated:
    """How a way to fit a head did on labels it had not seen.

    `items` (m,) are positions among the labelled items that were held out at least once; `logits` (repeats, m, k) are
    their out-of-fold logits before the temperature.
    """

    kind: str
    c: float
    temperature: float
    items: np.ndarray
    labels: np.ndarray  # (m,)
    logits: np.ndarray

    @property
    def losses(self) -> np.ndarray:
        """Log-loss of each held-out item (m,), mean over repeats, in nats."""
        return np.asarray(np.mean([log_losses(z / self.temperature, self.labels) for z in self.logits], axis=0))

    @property
    def log_loss(self) -> float:
        return float(self.losses.mean())

    @property
    def log_loss_se(self) -> float:
        return standard_error(self.losses)

    @property
    def right(self) -> np.ndarray:
        """Share of repeats (m,) in which each held-out item was answered rightly."""
        return np.asarray((self.logits.argmax(axis=2) == self.labels).mean(axis=0))

    @property
    def accuracy(self) -> float:
        return float((self.logits.argmax(axis=2) == self.labels).mean())

    @property
    def calibrated(self) -> np.ndarray:
        """Calibrated out-of-fold logits of the first repeat (m, k), one row per item, for conformal sets."""
        return np.asarray(self.logits[0] / self.temperature)


# Weight and bias from the positions of the labelled items to learn from.
Fit = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def cross_validate(
    kind: str, c: float, x: np.ndarray, labels: np.ndarray, folds: np.ndarray, n_classes: int, fit: Fit
) -> CrossValidated:
    """Out-of-fold logits of `fit` on scaled embeddings `x` (n, d) of the labelled items, for folds (repeats, n)."""
    items = held_out(folds, labels)
    logits = np.zeros((len(folds), len(labels), n_classes), np.float32)
    for repeat, fold in enumerate(folds):
        for number in range(int(fold.max()) + 1):
            inside = fold == number
            if inside.any():
                weight, bias = fit(np.flatnonzero(~inside))
                logits[repeat, inside] = x[inside] @ weight + bias
    kept = logits[:, items]
    temperature = fit_temperature(kept.reshape(-1, n_classes), np.tile(labels[items], len(folds)), len(items))
    return CrossValidated(kind, c, temperature, items, labels[items], kept)


def held_out(folds: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Positions of the items that are held out in every repeat (classes with two labels or more).

    Raises
    ------
    DataError
        ``data.too_few_labels`` when fewer than two classes have two labels: nothing could be judged.
    """
    items = np.flatnonzero((folds >= 0).all(axis=0))
    if len(np.unique(labels[items])) < 2:
        raise DataError(
            "data.too_few_labels",
            "at least two classes need two labels each, one to learn from and one to judge by",
            value=f"{len(labels)} labels of {len(np.unique(labels))} classes",
            next="label a few more items with muster label",
        )
    return items


def cross_validate_logistic(
    x: np.ndarray, labels: np.ndarray, folds: np.ndarray, n_classes: int, penalties: tuple[float, ...] = PENALTIES
) -> CrossValidated:
    """The logistic head's best penalty by cross-validated log-loss, each at its own best temperature."""
    targets = one_hot(labels, n_classes)
    tried = []
    starts: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for c in penalties:

        def fit(inside: np.ndarray, c: float = c) -> tuple[np.ndarray, np.ndarray]:
            name = inside.tobytes()  # a weaker penalty begins where the stronger one ended
            starts[name] = fit_logistic(x[inside], targets[inside], c=c, start=starts.get(name))
            return starts[name]

        tried.append(cross_validate("logistic", c, x, labels, folds, n_classes, fit))
    return min(tried, key=lambda result: result.log_loss)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean; 0 for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
