"""A linear map under which views of one picture lie together and pictures lie apart, in closed form.

Within-class covariance normalisation (Hatch, Kajarekar & Stolcke 2006) with each picture as its own class: features are
whitened by the covariance between views of one picture, then turned to the directions in which pictures differ most. It
is the linear multi-view objective solved exactly, in seconds, and was worth two points on its own (docs/log-image.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH = 128
RIDGE = 1.0  # share of the mean variance between views, added to every direction


@dataclass(frozen=True)
class Projection:
    """``(features - centre) @ matrix``, rows of length one."""

    centre: np.ndarray  # (d,)
    matrix: np.ndarray  # (d, k)

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Rows (n, k) of length one."""
        rows = (features - self.centre) @ self.matrix
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6))


def fit_projection(features: np.ndarray, views: Sequence[np.ndarray], width: int = WIDTH) -> Projection:
    """From features (n, d) of pictures, and of several views of some pictures, each (m, d).

    >>> rng = np.random.default_rng(0)
    >>> base = rng.normal(size=(60, 2))
    >>> views = [base + rng.normal(size=(60, 2)) * [3.0, 0.1] for _ in range(4)]  # the first feature shakes
    >>> weights = np.abs(fit_projection(base, views, width=1).matrix[:, 0])
    >>> bool(weights[1] > 3 * weights[0])
    True
    """
    mean = np.asarray(views).mean(axis=0, dtype=np.float64)
    d, n = features.shape[1], len(mean)
    within = np.zeros((d, d))
    for view in views:
        difference = view - mean
        within += difference.T @ difference / (n * (len(views) - 1))
    values, vectors = np.linalg.eigh(within + RIDGE * max(float(np.trace(within)) / d, 1e-9) * np.eye(d))
    whiten = vectors / np.sqrt(values)
    centre = features.mean(axis=0, dtype=np.float64)
    between = np.cov((features - centre).T) if d > 1 else np.ones((1, 1))
    spread, turn = np.linalg.eigh(whiten.T @ between @ whiten)
    kept = min(width, d, max(1, len(features) - 1))
    matrix = whiten @ turn[:, ::-1][:, :kept]
    matrix /= np.sqrt(max(float(spread[::-1][:kept].sum()), 1e-9))  # rows of about length one
    return Projection(centre.astype(np.float32), matrix.astype(np.float32))
