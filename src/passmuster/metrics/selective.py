"""What abstaining buys: the risk among answered items as the least certain are left out.

Geifman and El-Yaniv 2017 (Selective classification for deep neural networks, NeurIPS): at coverage k / n the model
answers the k items of highest confidence; risk is the share of wrong answers among them. Items of equal confidence
count with their mean error, so that their order does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.statistics import Interval, bootstrap


@dataclass(frozen=True)
class Curve:
    """Risk at each coverage, both ``(k,)``, coverage rising to 1; `thresholds` is the confidence needed there."""

    coverage: np.ndarray
    risk: np.ndarray
    thresholds: np.ndarray


def risk_coverage(confidence: np.ndarray, wrong: np.ndarray) -> Curve:
    """The whole curve, one point per item.

    >>> risk_coverage(np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1])).risk.round(2).tolist()
    [0.0, 0.0, 0.33]
    """
    order, errors = _ordered(confidence, wrong, np.ones(len(wrong)))
    n = np.arange(1, len(errors) + 1)
    return Curve(n / max(1, len(errors)), np.cumsum(errors) / n, np.asarray(confidence, dtype=np.float64)[order])


def aurc(
    confidence: np.ndarray,
    wrong: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Area under the risk-coverage curve: the mean risk over all coverages, with a bootstrap interval. Lower is better.

    >>> round(aurc(np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]), rng=np.random.default_rng(0)).value, 4)
    0.1111
    """

    w = np.ones(len(wrong)) if weights is None else np.asarray(weights, dtype=np.float64)

    def area(times: np.ndarray) -> float:
        times = times * w
        order, errors = _ordered(confidence, wrong, times)
        mass = times[order]
        covered = np.cumsum(mass)
        seen = mass > 0
        risk = np.cumsum(errors * mass)[seen] / covered[seen]
        return float((risk * mass[seen]).sum() / covered[-1])

    return bootstrap(area, len(wrong), rng=rng, clusters=clusters, n_resamples=n_resamples)


def augrc(
    confidence: np.ndarray,
    wrong: np.ndarray,
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
    n_resamples: int = 1_000,
) -> Interval:
    """Area under the generalised risk-coverage curve, with a bootstrap interval. Lower is better; at most 1 / 2.

    Generalised risk counts wrong answers among all items, not among the answered, so that the area is the mean share
    of undetected errors, and a few sure errors do not weigh on every coverage as in `aurc` (Traub et al. 2024,
    Overcoming common flaws in the evaluation of selective classification systems, NeurIPS, eq. 9). It is
    ``(1 - AUROC) a (1 - a) + (1 - a)^2 / 2`` of an accuracy a, with the AUROC of right answers above wrong ones.

    >>> round(augrc(np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]), rng=np.random.default_rng(0)).value, 4)
    0.0556
    """
    confidence, errors = np.asarray(confidence, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    w = np.ones(len(errors)) if weights is None else np.asarray(weights, dtype=np.float64)
    group = np.unique(-confidence, return_inverse=True)[1]  # equal confidence is accepted together

    def area(times: np.ndarray) -> float:
        mass = np.bincount(group, weights=times * w)
        undetected = np.bincount(group, weights=times * w * errors)
        return float((mass * (np.cumsum(undetected) - undetected / 2)).sum() / mass.sum() ** 2)

    return bootstrap(area, len(errors), rng=rng, clusters=clusters, n_resamples=n_resamples)


def _ordered(confidence: np.ndarray, wrong: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items by falling confidence, and the error of each, ties sharing theirs."""
    confidence = np.asarray(confidence, dtype=np.float64)
    order = np.argsort(-confidence, kind="stable")
    if not len(order):
        return order, np.zeros(0)
    value = confidence[order]
    group = np.concatenate([[0], np.cumsum(value[1:] != value[:-1])])
    mass = np.bincount(group, weights=times[order])
    errors = np.bincount(group, weights=times[order] * np.asarray(wrong, dtype=np.float64)[order])
    return order, np.divide(errors, mass, out=np.zeros_like(errors), where=mass > 0)[group]
