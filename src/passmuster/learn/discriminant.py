"""A linear head in closed form, for so many classes that a logistic head would take hours.

Fisher's linear discriminant (1936) with a within-class covariance that is drawn towards a sphere (Friedman 1989,
"Regularized Discriminant Analysis", equation 18): one solve of a (d, d) system whatever the number of classes, where a
logistic head takes hundreds of products of items, columns and classes. It answers with the nearest class mean, in a
space where the spread within classes is alike in every direction.
"""

from __future__ import annotations

import numpy as np

from passmuster.core.threads import threads_for
from passmuster.learn.heads import CrossValidated, cross_validate

SHRINKAGES = (0.1, 0.3, 0.9)  # part of the sphere in the covariance
USUAL_SHRINKAGE = 0.3  # between trainings, where nothing is judged
# A fit that takes more operations than this as logistic regression is made in closed form where a person waits for it:
# some ten seconds on a core.
INTERACTIVE_FLOPS = 5e11


def fit_discriminant(
    x: np.ndarray, labels: np.ndarray, n_classes: int, *, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (d, k) and bias (k,) of embeddings `x` (n, d) with class numbers `labels` (n,).

    Parameters
    ----------
    shrinkage : part in (0, 1] of the covariance that is a sphere of the same total variance

    >>> x = np.array([[1.0, 0.1], [0.9, 0.0], [-1.0, 0.0], [-0.8, 0.2]], np.float32)
    >>> weight, bias = fit_discriminant(x, np.array([0, 0, 1, 1]), 2, shrinkage=0.3)
    >>> (x @ weight + bias).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    n, d = x.shape
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    order = np.argsort(labels, kind="stable")
    known = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[known])[:-1]]).astype(np.int64)
    means = np.zeros((n_classes, d), np.float32)
    means[known] = np.add.reduceat(x[order], starts, axis=0) / counts[known, None]
    with threads_for(2.0 * n * d * d):
        inner = x - means[labels]
        within = (inner.T @ inner).astype(np.float64) / n  # (d, d)
    spread = float(((x - x.mean(axis=0)) ** 2).sum()) / n
    sphere = max(spread, 1e-12) / d
    covariance = (1 - shrinkage) * within
    covariance[np.diag_indices(d)] += shrinkage * sphere
    weight = np.linalg.solve(covariance, means.T.astype(np.float64))  # (d, k)
    bias = -0.5 * (means.T * weight).sum(axis=0) + np.log((counts + 1.0) / (n + n_classes))
    bias[counts == 0] = bias.min() - UNSEEN
    return weight.astype(np.float32), bias.astype(np.float32)


UNSEEN = 50.0  # nats below the least likely class: a class without a label is not answered


def cross_validate_discriminant(
    x: np.ndarray, labels: np.ndarray, folds: np.ndarray, n_classes: int, shrinkages: tuple[float, ...] = SHRINKAGES
) -> CrossValidated:
    """The discriminant's best shrinkage by cross-validated log-loss, each at its own best temperature."""
    best: CrossValidated | None = None
    for shrinkage in shrinkages:

        def fit(inside: np.ndarray, shrinkage: float = shrinkage) -> tuple[np.ndarray, np.ndarray]:
            return fit_discriminant(x[inside], labels[inside], n_classes, shrinkage=shrinkage)

        tried = cross_validate("discriminant", shrinkage, x, labels, folds, n_classes, fit)
        if best is None or tried.log_loss < best.log_loss:  # one set of logits is kept: they may be large
            best = tried
    assert best is not None
    return best


def logistic_takes_long(n: int, d: int, n_classes: int) -> bool:
    """Whether one fit of a logistic head is more than somebody who labels should wait for.

    >>> logistic_takes_long(616, 384, 77), logistic_takes_long(13_500, 640, 4_500)
    (False, True)
    """
    return 20.0 * 4.0 * n * min(n, d) * n_classes > INTERACTIVE_FLOPS
