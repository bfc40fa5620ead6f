"""Every number about sets of classes against scikit-learn, or the textbook formula written out in plain Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from passmuster.metrics.accuracy import accuracy
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
ONCE = {"n_resamples": 1}


def cases(n_cases: int = 200) -> Iterator[tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Random sets, probabilities and weights: empty sets, full ones, classes that nobody carries, many ties."""
    for seed in range(n_cases):
        rng = np.random.default_rng(seed)
        n, k = int(rng.integers(1, 30)), int(rng.integers(2, 7))
        targets = rng.random((n, k)) < rng.choice([0.1, 0.5, 0.9])
        p = rng.random((n, k))
        if seed % 3 == 0:
            p = np.round(p, 1)  # ties
        weights = rng.choice([1.0, 2.0, 7.5], n) if seed % 2 else np.ones(n)
        yield rng, targets, p, p >= 0.5, weights


def test_f1_and_hamming_loss() -> None:
    for rng, targets, _, said, weights in cases():
        seen = targets.any(axis=0) | said.any(axis=0)
        how = {"rng": rng, "weights": weights, **ONCE}
        if seen.any():
            for average in ("micro", "macro"):
                expected = reference.f1_score(
                    targets[:, seen], said[:, seen], average=average, sample_weight=weights, zero_division=0.0
                )
                assert f1(targets, said, average, **how).value == pytest.approx(expected)
        expected = reference.hamming_loss(targets, said, sample_weight=weights)
        assert hamming_loss(targets, said, **how).value == pytest.approx(expected)


def test_f1_of_items() -> None:
    for _, targets, _, said, weights in cases():
        expected = reference.f1_score(targets, said, average="samples", sample_weight=weights, zero_division=1.0)
        assert item_f1(targets, said, weights=weights).value == pytest.approx(expected)


def test_exact_sets_are_subset_accuracy() -> None:
    for _, targets, _, said, weights in cases():
        numbers = [2 ** np.arange(targets.shape[1]) @ sets.T for sets in (targets, said)]
        expected = reference.accuracy_score(targets, said, sample_weight=weights)
        assert accuracy(*numbers, weights=weights).value == pytest.approx(expected)


def test_ranking_precision() -> None:
    for rng, targets, p, _, weights in cases():
        expected = reference.label_ranking_average_precision_score(targets, p, sample_weight=weights)
        assert ranking_precision(targets, p, rng=rng, weights=weights, **ONCE).value == pytest.approx(expected)


def test_precision_and_recall_of_each_class() -> None:
    for _, targets, _, said, weights in cases():
        precision, recall, of_class, _ = reference.precision_recall_fscore_support(
            targets, said, sample_weight=weights, zero_division=np.nan, average=None
        )
        for c, found in enumerate(per_class_of_sets(targets, said, weights=weights)):
            assert found.precision.value == pytest.approx(precision[c], nan_ok=True)
            assert found.recall.value == pytest.approx(recall[c], nan_ok=True)
            if not np.isnan(found.f1):
                assert found.f1 == pytest.approx(np.nan_to_num(of_class[c]))


def test_proper_scores() -> None:
    for rng, targets, p, _, weights in cases(60):
        p = np.clip(p, 0.01, 0.99)
        k = targets.shape[1]
        by_class = [
            reference.log_loss(targets[:, c], p[:, c], labels=[False, True], sample_weight=weights) for c in range(k)
        ]
        assert set_log_loss(targets, p, rng=rng, weights=weights, **ONCE).value == pytest.approx(sum(by_class))
        squares = [
            reference.brier_score_loss(targets[:, c], p[:, c], labels=[False, True], sample_weight=weights)
            for c in range(k)
        ]
        assert set_brier(targets, p, rng=rng, weights=weights, **ONCE).value == pytest.approx(sum(squares))
