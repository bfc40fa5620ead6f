"""Whether a probability of .9 means nine of ten: calibration error, reliability curve, and two proper scores.

Probabilities are ``(n, c)``, labels class numbers ``(n,)``. Confidence is the largest probability of an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.bootstrap import bootstrap_sums
from passmuster.core.statistics import Interval, cluster_codes, proportion

N_BINS = 15
SMALLEST = float(np.finfo(np.float64).eps)  # a probability of 0 costs this much, as in scikit-learn's log_loss
Clusters = Sequence[str] | np.ndarray


def ece(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_bins: int = N_BINS,
    equal_mass: bool = False,
    n_resamples: int = 1_000,
) -> Interval:
    """Expected calibration error, ``sum_b n_b / n |accuracy_b - confidence_b|``, with a bootstrap interval.

    Guo et al. 2017 (On calibration of modern neural networks, ICML, eq. 3): bins of equal width, closed above; or of
    equal mass (Nixon et al. 2019, Measuring calibration in deep learning), where items of equal confidence stay
    together. On few items it is biased upwards.

    >>> sure = np.array([[0.9, 0.1]] * 10)
    >>> round(ece(sure, np.zeros(10, int), rng=np.random.default_rng(0)).value, 2)
    0.1
    """
    confidence, right = _sure_and_right(probabilities, labels)
    return calibration_error(
        confidence, right, rng=rng, weights=weights, clusters=clusters, n_bins=n_bins, equal_mass=equal_mass,
        n_resamples=n_resamples,
    )  # fmt: skip


def calibration_error(
    confidence: np.ndarray,
    right: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_bins: int = N_BINS,
    equal_mass: bool = False,
    n_resamples: int = 1_000,
) -> Interval:
    """`ece` of answers of any kind: how sure each was (n,), and whether it was right (n,), 0 or 1.

    >>> rng = np.random.default_rng(0)
    >>> round(calibration_error(np.full(10, 0.9), np.ones(10), rng=rng).value, 2)
    0.1
    """
    w = np.ones(len(right)) if weights is None else np.asarray(weights, dtype=np.float64)
    bins = _equal_mass_bins(confidence, w, n_bins) if equal_mass else _bins(confidence, n_bins)
    gap = np.asarray(right, dtype=np.float64) - confidence
    columns = np.zeros((len(gap), n_bins + 1))
    columns[np.arange(len(gap)), bins] = w * gap
    columns[:, -1] = w

    def error(sums: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])

    return bootstrap_sums(columns, error, rng=rng, clusters=clusters, n_resamples=n_resamples)


def classwise_error(
    probabilities: np.ndarray,
    targets: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_bins: int = N_BINS,
    n_resamples: int = 1_000,
) -> Interval:
    """Mean over classes of the calibration error of each class's own probability, with a bootstrap interval.

    Kull et al. 2019 (Beyond temperature scaling, NeurIPS, eq. 4): bins of equal width, closed above. `targets`
    (n, c) say which classes are true, one for each item or several.

    >>> found = classwise_error(np.array([[0.8, 0.2]]), np.array([[1, 0]]), rng=np.random.default_rng(0))
    >>> round(found.value, 4)
    0.2
    """
    from scipy import sparse

    p = np.asarray(probabilities, dtype=np.float64)
    n, c = p.shape
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    cells = _bins(p.ravel(), n_bins) + n_bins * np.tile(np.arange(c), n)
    gaps = (w[:, None] * (np.asarray(targets, dtype=np.float64) - p)).ravel()
    columns = sparse.csr_matrix((gaps, (np.repeat(np.arange(n), c), cells)), shape=(n, n_bins * c))

    def error(sums: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1] / c)

    columns = sparse.hstack([columns, w[:, None]])
    return bootstrap_sums(columns, error, rng=rng, clusters=clusters, n_resamples=n_resamples)


@dataclass(frozen=True)
class Bin:
    """Items whose confidence lies in (`low`, `high`]: their mean confidence, and how many were right."""

    low: float
    high: float
    confidence: float
    accuracy: Interval
    members: tuple[int, ...]


def reliability(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
    n_bins: int = N_BINS,
) -> list[Bin]:
    """The bins that hold items, each with its accuracy and Wilson's interval (Murphy and Winkler 1977).

    >>> [b.members for b in reliability(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 1]))]
    [(1,), (0,)]
    """
    sure, right = _sure_and_right(probabilities, labels)
    return reliability_of(sure, right, weights=weights, clusters=clusters, n_bins=n_bins)


def reliability_of(
    confidence: np.ndarray,
    right: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
    n_bins: int = N_BINS,
) -> list[Bin]:
    """`reliability` of answers of any kind, as `calibration_error`.

    >>> [b.members for b in reliability_of(np.array([0.9, 0.6]), np.array([1, 0]))]
    [(1,), (0,)]
    """
    bins = _bins(confidence, n_bins)
    w = np.ones(len(bins)) if weights is None else np.asarray(weights, dtype=np.float64)
    group = cluster_codes(clusters, len(bins))
    found = []
    for b in np.unique(bins):
        members = np.flatnonzero(bins == b)
        share = proportion(right[members], weights=w[members], clusters=group[members])
        mean = float(np.average(confidence[members], weights=w[members]))
        found.append(Bin(b / n_bins, (b + 1) / n_bins, mean, share, tuple(int(m) for m in members)))
    return found


def nll(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Mean negative log-likelihood in nats, ``-log p_y`` (Good 1952), with a bootstrap interval.

    >>> round(nll(np.array([[0.5, 0.5]]), np.array([1]), rng=np.random.default_rng(0)).value, 4)
    0.6931
    """
    p = np.asarray(probabilities, dtype=np.float64)
    losses = -np.log(np.clip(p[np.arange(len(p)), np.asarray(labels)], SMALLEST, 1.0))
    return mean_interval(losses, rng=rng, weights=weights, clusters=clusters, n_resamples=n_resamples)


def brier(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Mean squared distance from the truth, ``sum_c (p_c - [y = c])^2``, 0 to 2 (Brier 1950, eq. 2), bootstrapped.

    >>> brier(np.array([[1.0, 0.0]]), np.array([1]), rng=np.random.default_rng(0)).value
    2.0
    """
    p = np.array(probabilities, dtype=np.float64)
    p[np.arange(len(p)), np.asarray(labels)] -= 1.0
    return mean_interval((p**2).sum(axis=1), rng=rng, weights=weights, clusters=clusters, n_resamples=n_resamples)


def mean_interval(
    values: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """(Weighted) mean of any values ``(n,)`` with a bootstrap interval.

    >>> mean_interval(np.array([1.0, 3.0]), rng=np.random.default_rng(0)).value
    2.0
    """
    values = np.asarray(values, dtype=np.float64)
    w = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    columns = np.column_stack([w * values, w])
    return bootstrap_sums(
        columns, lambda sums: sums[:, 0] / sums[:, 1], rng=rng, clusters=clusters, n_resamples=n_resamples
    )


def _sure_and_right(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and rightness of every item."""
    p = np.asarray(probabilities, dtype=np.float64)
    if not len(p):
        return np.zeros(0), np.zeros(0)
    return p.max(axis=1), (p.argmax(axis=1) == np.asarray(labels)).astype(np.float64)


def _bins(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin number of every item."""
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)


def _equal_mass_bins(confidence: np.ndarray, weights: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin number of every item, by where the middle of its tie lies among all the weight, in rising confidence."""
    if not len(confidence):
        return np.zeros(0, dtype=np.int64)
    tie = np.unique(confidence, return_inverse=True)[1]
    mass = np.bincount(tie, weights=weights)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    return np.asarray(np.minimum((middle * n_bins).astype(np.int64), n_bins - 1)[tie])
