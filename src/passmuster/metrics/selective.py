"""What abstaining buys: the risk among answered items as the least certain are left out.

Geifman and El-Yaniv 2017 (Selective classification for deep neural networks, NeurIPS): at coverage k / n the model
answers the k items of highest confidence; risk is the share of wrong answers among them. Items of equal confidence
count with their mean error, so that their order does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.bootstrap import bootstrap_rows
from passmuster.core.statistics import Interval

SMALLEST = 1e-300  # instead of dividing by nothing


@dataclass(frozen=True)
class Curve:
    """Risk at each coverage, both ``(k,)``, coverage rising to 1; `thresholds` is the confidence needed there."""

    coverage: np.ndarray
    risk: np.ndarray
    thresholds: np.ndarray


def risk_coverage(confidence: np.ndarray, wrong: np.ndarray, weights: np.ndarray | None = None) -> Curve:
    """The whole curve, one point per item, each of which counts for its weight.

    >>> risk_coverage(np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1])).risk.round(2).tolist()
    [0.0, 0.0, 0.33]
    """
    order, first = _by_confidence(confidence)
    w = np.ones(len(order)) if weights is None else np.asarray(weights, dtype=np.float64)[order]
    errors = np.asarray(wrong, dtype=np.float64)[order]
    if len(order):
        sizes = np.diff(np.append(first, len(order)))
        shares = np.add.reduceat(w * errors, first) / np.add.reduceat(w, first)
        errors = np.repeat(shares, sizes)  # equal confidence, equal share
    n = np.cumsum(w)
    coverage = n / n[-1] if len(n) else n
    return Curve(coverage, np.cumsum(w * errors) / n, np.asarray(confidence, dtype=np.float64)[order])


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

    Items of equal confidence also share their mean weight.

    >>> round(aurc(np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]), rng=np.random.default_rng(0)).value, 4)
    0.1111
    """
    w = np.ones(len(wrong)) if weights is None else np.asarray(weights, dtype=np.float64)
    order, first = _by_confidence(confidence)
    errors, w = np.asarray(wrong, dtype=np.float64)[order], w[order]
    tied = len(first) < len(order)
    sizes = np.diff(np.append(first, len(order)))

    def areas(times: np.ndarray) -> np.ndarray:
        mass = times * w  # (b, n), the most certain first
        failed = mass * errors
        if tied:  # items of equal confidence share their mean weight and error: in whatever order they come
            mass, failed = (
                np.repeat(np.add.reduceat(rows, first, axis=1) / sizes, sizes, axis=1) for rows in (mass, failed)
            )
        covered, risk = np.cumsum(mass, axis=1), np.cumsum(failed, axis=1)
        risk /= np.maximum(covered, SMALLEST, out=covered)
        return np.asarray(np.einsum("bn,bn->b", risk, mass) / covered[:, -1])

    return bootstrap_rows(areas, len(wrong), rng=rng, clusters=clusters, order=order, n_resamples=n_resamples)


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
    order, first = _by_confidence(confidence)  # equal confidence is accepted together
    errors, w = errors[order], w[order]

    def areas(times: np.ndarray) -> np.ndarray:
        mass = times * w
        undetected = mass * errors
        if len(first) < len(order):
            mass, undetected = (np.add.reduceat(rows, first, axis=1) for rows in (mass, undetected))
        lost = np.cumsum(undetected, axis=1)
        lost -= undetected / 2
        return np.asarray(np.einsum("bn,bn->b", mass, lost) / mass.sum(axis=1) ** 2)

    return bootstrap_rows(areas, len(errors), rng=rng, clusters=clusters, order=order, n_resamples=n_resamples)


def _by_confidence(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items (n,) by falling confidence, and where in that order each different confidence begins."""
    confidence = np.asarray(confidence, dtype=np.float64)
    order = np.argsort(-confidence, kind="stable")
    value = confidence[order]
    return order, np.flatnonzero(np.concatenate([[True], value[1:] != value[:-1]])[: len(order)])
