"""How well sets of classes are said: item by item, class by class, and by the order in which classes are ranked.

`targets` and `said` are ``(n, k)``, true where an item carries a class and where the model says it. Weights are inverse
probabilities of being asked for; items that share a cluster are resampled together. That the whole set is right (subset
accuracy) is `passmuster.metrics.accuracy.accuracy` of equal sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from passmuster.core.bootstrap import bootstrap_sums
from passmuster.core.statistics import Interval, proportion
from passmuster.metrics.accuracy import ClassResult
from passmuster.metrics.calibration import SMALLEST, mean_interval

Clusters = Sequence[str] | np.ndarray


def item_f1_scores(targets: np.ndarray, said: np.ndarray) -> np.ndarray:
    """F1 of each item's set (n,), ``2 |Y & Z| / (|Y| + |Z|)``; 1 where both are empty, because nothing was to be said.

    Godbole and Sarawagi 2004 (PAKDD); of a set of one this is 1 or 0, as accuracy is.

    >>> item_f1_scores(np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 0]])).round(2).tolist()
    [0.67, 1.0]
    """
    t, z = np.asarray(targets, dtype=bool), np.asarray(said, dtype=bool)
    sizes = t.sum(axis=1) + z.sum(axis=1)
    return np.where(sizes > 0, 2.0 * (t & z).sum(axis=1) / np.maximum(sizes, 1), 1.0)


def item_f1(
    targets: np.ndarray, said: np.ndarray, *, weights: np.ndarray | None = None, clusters: Clusters | None = None
) -> Interval:
    """Mean F1 of items. The interval is that of a rate, which no score between 0 and 1 of the same mean exceeds.

    >>> item_f1(np.array([[1, 0]]), np.array([[1, 0]])).value
    1.0
    """
    return proportion(item_f1_scores(targets, said), weights=weights, clusters=clusters)


def f1(
    targets: np.ndarray,
    said: np.ndarray,
    average: Literal["micro", "macro"],
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """F1 over all decisions together (micro), or the mean of the classes' F1 (macro), with a bootstrap interval.

    ``F1 = 2 TP / (2 TP + FP + FN)`` (Sokolova and Lapalme 2009). Classes that no item carries and that are never said
    are left out of the mean; where there is no other, and for micro where nothing was to be said and nothing is, the
    value is 1.

    >>> targets, said = np.array([[1, 0], [1, 1]]), np.array([[1, 0], [1, 0]])
    >>> round(f1(targets, said, "micro", rng=np.random.default_rng(0)).value, 2)
    0.8
    """
    t, z = np.asarray(targets, dtype=np.float64), np.asarray(said, dtype=np.float64)
    w = np.ones(len(t)) if weights is None else np.asarray(weights, dtype=np.float64)
    columns = np.concatenate([2.0 * t * z, t + z], axis=1) * w[:, None]  # 2 TP + FP + FN is the sum of the second

    def score(sums: np.ndarray) -> np.ndarray:
        right, all_of_them = np.split(sums, 2, axis=1)
        if average == "micro":
            right, all_of_them = (part.sum(axis=1, keepdims=True) for part in (right, all_of_them))
        seen = all_of_them > 0
        shares = np.divide(right, all_of_them, out=np.zeros(right.shape), where=seen)
        return np.where(seen.any(axis=1), shares.sum(axis=1) / np.maximum(seen.sum(axis=1), 1), 1.0)

    return bootstrap_sums(columns, score, rng=rng, clusters=clusters, n_resamples=n_resamples)


def hamming_loss(
    targets: np.ndarray,
    said: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Share of wrong decisions among all items and classes (Schapire and Singer 2000), bootstrapped. Lower is better.

    >>> hamming_loss(np.array([[1, 0]]), np.array([[1, 1]]), rng=np.random.default_rng(0)).value
    0.5
    """
    wrong = (np.asarray(targets, dtype=bool) != np.asarray(said, dtype=bool)).mean(axis=1)
    return mean_interval(wrong, rng=rng, weights=weights, clusters=clusters, n_resamples=n_resamples)


def ranking_precision(
    targets: np.ndarray,
    scores: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Label-ranking average precision: of the classes ranked as high as each true one, how many are true; bootstrapped.

    Schapire and Singer 2000 (BoosTexter, eq. 4); ties share the worse rank. Items that carry no class, or all of them,
    count as 1, as in scikit-learn. Needs no threshold: it says what the order of classes is worth.

    >>> ranking_precision(np.array([[1, 0, 0]]), np.array([[0.2, 0.9, 0.1]]), rng=np.random.default_rng(0)).value
    0.5
    """
    t, s = np.asarray(targets, dtype=bool), np.asarray(scores, dtype=np.float64)
    values = np.ones(len(t))
    for i in np.flatnonzero((t.sum(axis=1) > 0) & (t.sum(axis=1) < t.shape[1])):
        own = s[i, t[i]]
        rank = (s[i][None, :] >= own[:, None]).sum(axis=1)
        values[i] = float(((own[None, :] >= own[:, None]).sum(axis=1) / rank).mean())
    return mean_interval(values, rng=rng, weights=weights, clusters=clusters, n_resamples=n_resamples)


def set_log_loss(
    targets: np.ndarray,
    probabilities: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Mean over items of the log-loss of every yes and no, summed over classes, in nats, with a bootstrap interval.

    >>> round(set_log_loss(np.array([[1, 0]]), np.array([[0.5, 0.5]]), rng=np.random.default_rng(0)).value, 4)
    1.3863
    """
    t, p = np.asarray(targets, dtype=bool), np.asarray(probabilities, dtype=np.float64)
    losses = -np.log(np.clip(np.where(t, p, 1.0 - p), SMALLEST, 1.0)).sum(axis=1)
    return mean_interval(losses, rng=rng, weights=weights, clusters=clusters, n_resamples=n_resamples)


def set_brier(
    targets: np.ndarray,
    probabilities: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Clusters | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Mean squared distance from the truth, ``sum_c (p_c - t_c)^2``, 0 to k, with a bootstrap interval (Brier 1950).

    >>> set_brier(np.array([[1, 0]]), np.array([[0.5, 0.5]]), rng=np.random.default_rng(0)).value
    0.5
    """
    distance = np.asarray(probabilities, dtype=np.float64) - np.asarray(targets, dtype=np.float64)
    squares = (distance**2).sum(axis=1)
    return mean_interval(squares, rng=rng, weights=weights, clusters=clusters, n_resamples=n_resamples)


def per_class_of_sets(
    targets: np.ndarray, said: np.ndarray, *, weights: np.ndarray | None = None, clusters: Clusters | None = None
) -> list[ClassResult]:
    """Recall, precision (Wilson's intervals) and F1 of every class, in order.

    >>> found = per_class_of_sets(np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]]))
    >>> [r.recall.value for r in found]
    [0.5, 1.0]
    """
    t, z = np.asarray(targets, dtype=bool), np.asarray(said, dtype=bool)
    groups = None if clusters is None else np.asarray(clusters)

    def share(right: np.ndarray, among: np.ndarray) -> Interval:
        return proportion(
            right[among],
            weights=None if weights is None else np.asarray(weights)[among],
            clusters=None if groups is None else groups[among],
        )

    found = []
    for c in range(t.shape[1]):
        recall, precision = share(z[:, c], t[:, c]), share(t[:, c], z[:, c])
        if recall.n and precision.n and recall.value + precision.value > 0:
            of_class = 2 * recall.value * precision.value / (recall.value + precision.value)
        else:
            of_class = 0.0 if recall.n or precision.n else float("nan")
        found.append(ClassResult(recall, precision, of_class))
    return found
