"""Every number about sets of classes against scikit-learn or scipy, on 1,000 random cases each.

Empty sets, full ones, classes that nobody carries, one class alone, ties. The cases lie on the diagonal of one large
sparse table, so that scikit-learn is asked once for all: class by class, or item by item with the table turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pytest
from scipy import sparse, stats

from oracle_case import N_CASES, agree, counted, oracle
from passmuster.metrics.accuracy import accuracy
from passmuster.metrics.calibration import SMALLEST
from passmuster.metrics.label_sets import (
    f1,
    hamming_loss,
    item_f1,
    per_class_of_sets,
    ranking_precision,
    set_brier,
    set_log_loss,
)

reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra `train`")
MOST_CLASSES = 6
ONE = {"rng": np.random.default_rng(0), "n_resamples": 0}


@dataclass(frozen=True)
class Case:
    targets: np.ndarray
    p: np.ndarray
    weights: np.ndarray

    @property
    def said(self) -> np.ndarray:
        return self.p >= 0.5


@cache
def cases() -> list[Case]:
    rng, found = np.random.default_rng(0), []
    for number in range(N_CASES):
        n, k = int(rng.integers(1, 16)), int(rng.integers(1, MOST_CLASSES + 1))
        targets = rng.random((n, k)) < rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], p=[0.05, 0.3, 0.3, 0.3, 0.05])
        p = rng.random((n, k)) ** rng.choice([0.3, 1.0, 4.0])
        if number % 3 == 0:
            p = np.round(p, 1)  # ties, 0 and 1
        weights = rng.choice([1.0, 2.0, 7.5], n) if number % 2 else np.ones(n)
        found.append(Case(targets, p, weights))
    return found


@cache
def every(name: str) -> np.ndarray:
    """Of all cases end to end: ``weights``, or ``targets``, ``said`` and ``p`` (N, most classes), 0 past the last."""
    rows = [getattr(case, name) for case in cases()]
    if name == "weights":
        return np.concatenate(rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, MOST_CLASSES - row.shape[1]))) for row in rows])


@cache
def of_item() -> np.ndarray:
    return np.repeat(np.arange(N_CASES), [len(case.weights) for case in cases()])


def mean(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    w = every("weights") if weights is None else weights
    return np.bincount(of_item(), w * values) / np.bincount(of_item(), w)


@cache
def diagonal(name: str) -> sparse.csr_matrix:
    item, c = every(name).nonzero()
    shape = (len(of_item()), N_CASES * MOST_CLASSES)
    return sparse.csr_matrix((np.ones(len(item), int), (item, of_item()[item] * MOST_CLASSES + c)), shape=shape)


def mistakes(weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """scikit-learn's weights of true and false positives and of false negatives, (cases, classes) each."""
    found = reference.multilabel_confusion_matrix(diagonal("targets"), diagonal("said"), sample_weight=weights).reshape(
        N_CASES, MOST_CLASSES, 2, 2
    )
    return found[..., 1, 1], found[..., 0, 1], found[..., 1, 0]


def f1_by_counts(average: str, weights: np.ndarray) -> np.ndarray:
    true, false, missed = mistakes(weights)
    right, whole = 2 * true, 2 * true + false + missed
    if average == "micro":
        right, whole = (part.sum(axis=1, keepdims=True) for part in (right, whole))
    shares = np.divide(right, whole, where=whole > 0, out=np.full(right.shape, np.nan))
    return np.array([np.mean(row[~np.isnan(row)]) if not np.isnan(row).all() else 1.0 for row in shares])


@oracle("scikit-learn")
@pytest.mark.parametrize("average", ["micro", "macro"])
def test_f1(average: Literal["micro", "macro"]) -> None:
    found = [f1(case.targets, case.said, average, weights=case.weights, **ONE).value for case in counted(cases())]
    agree(found, f1_by_counts(average, every("weights")))


def wrong_decisions(weights: np.ndarray) -> np.ndarray:
    _, false, missed = mistakes(weights)
    decisions = np.bincount(of_item(), weights) * [case.p.shape[1] for case in cases()]
    return np.asarray((false + missed).sum(axis=1) / decisions)


@oracle("scikit-learn")
def test_hamming_loss() -> None:
    found = [hamming_loss(case.targets, case.said, weights=case.weights, **ONE).value for case in counted(cases())]
    agree(found, wrong_decisions(every("weights")))


@oracle("scikit-learn")
def test_f1_of_items() -> None:
    turned = diagonal("targets").T.tocsr(), diagonal("said").T.tocsr()
    expected = reference.f1_score(*turned, average=None, zero_division=1.0)
    agree([item_f1(case.targets, case.said, weights=case.weights).value for case in counted(cases())], mean(expected))


def test_exact_sets_are_subset_accuracy() -> None:
    """scikit-learn's samplewise mistakes: where there is none the set is right."""
    by_item = reference.multilabel_confusion_matrix(every("targets"), every("said"), samplewise=True)
    expected = mean(((by_item[:, 0, 1] == 0) & (by_item[:, 1, 0] == 0)).astype(float))
    found = []
    for case in cases():
        numbers = [2 ** np.arange(case.p.shape[1]) @ sets.T for sets in (case.targets, case.said)]
        found.append(accuracy(*numbers, weights=case.weights).value)
    agree(found, expected)


@cache
def ranking_of_items() -> np.ndarray:
    """By scipy's ranks, ties to the worse, (N,)."""
    rank, among = np.ones((2, len(of_item()), MOST_CLASSES))
    n_classes = n_classes_of_items()
    truth, p = every("targets").astype(bool), every("p")
    for k in range(1, MOST_CLASSES + 1):
        these = n_classes == k
        rank[these, :k] = stats.rankdata(-p[these, :k], method="max", axis=1)
        among[these, :k] = stats.rankdata(np.where(truth, -p, np.inf)[these, :k], method="max", axis=1)
    n_true = truth.sum(axis=1)
    found = np.where(truth, among / rank, 0).sum(axis=1) / np.maximum(n_true, 1)
    return np.where((n_true == 0) | (n_true == n_classes), 1.0, found)


def n_classes_of_items() -> np.ndarray:
    return np.array([case.p.shape[1] for case in cases()])[of_item()]


@oracle("scikit-learn")
def test_ranking_precision() -> None:
    """Case by case, and all cases of as many classes in one by scikit-learn, which says nothing of a single class."""
    found = [ranking_precision(case.targets, case.p, weights=case.weights, **ONE).value for case in counted(cases())]
    agree(found, mean(ranking_of_items()))
    truth, p, w = every("targets").astype(bool), every("p"), every("weights")
    n_classes, mass = n_classes_of_items(), np.bincount(of_item(), w)
    for k in range(2, MOST_CLASSES + 1):
        these = n_classes == k
        own = np.unique(of_item()[these])
        whole = reference.label_ranking_average_precision_score(truth[these, :k], p[these, :k], sample_weight=w[these])
        assert np.average(np.array(found)[own], weights=mass[own]) == pytest.approx(whole, abs=1e-9)


def test_precision_and_recall_of_each_class() -> None:
    expected = np.stack(
        reference.precision_recall_fscore_support(
            diagonal("targets"), diagonal("said"), sample_weight=every("weights"), zero_division=np.nan, average=None
        )[:3]
    ).reshape(3, N_CASES, MOST_CLASSES)
    found = np.full(expected.shape, np.nan)
    for i, case in enumerate(cases()):
        for c, of in enumerate(per_class_of_sets(case.targets, case.said, weights=case.weights)):
            found[:, i, c] = of.precision.value, of.recall.value, of.f1
    agree(found, expected)


@cache
def losses_of_items() -> np.ndarray:
    """A yes or no of each class by scipy's Bernoulli, summed: (N,)."""
    with np.errstate(divide="ignore"):
        losses = -stats.bernoulli.logpmf(every("targets").astype(bool), every("p"))
    return np.asarray(np.minimum(losses, -np.log(SMALLEST)).sum(axis=1))


@cache
def squares_of_items() -> np.ndarray:
    """By scikit-learn's distances, (N,)."""
    return np.asarray(reference.pairwise.paired_euclidean_distances(every("targets").astype(float), every("p")) ** 2)


def test_proper_scores() -> None:
    """Case by case, and the losses of all cases in one by scikit-learn."""
    truth, p, w = every("targets").astype(bool), every("p"), every("weights")
    found = [set_log_loss(case.targets, case.p, weights=case.weights, **ONE).value for case in cases()]
    agree(found, mean(losses_of_items()), 1e-9)
    mass = np.bincount(of_item(), w)
    whole = [
        reference.log_loss(truth[:, c], p[:, c], labels=[False, True], sample_weight=w) for c in range(MOST_CLASSES)
    ]
    assert np.average(found, weights=mass) == pytest.approx(sum(whole), abs=1e-9)
    agree(
        [set_brier(case.targets, case.p, weights=case.weights, **ONE).value for case in cases()],
        mean(squares_of_items()),
    )
