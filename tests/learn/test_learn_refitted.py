"""Heads judged on embeddings of their own per fold: as usual where folds share them, and blind where they leak."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.folds import repeated_folds
from passmuster.learn.heads import Scaling, cross_validate_logistic
from passmuster.learn.refitted import cross_validate_refitted


def case(n: int = 60, n_free: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n + n_free) % 3
    x = rng.normal(size=(n + n_free, 12)).astype(np.float32)
    x[:, :3] += 1.2 * np.eye(3, dtype=np.float32)[y]
    labels = y[:n]
    return x, labels, repeated_folds(labels, rng)[0]


def test_with_the_same_embeddings_for_every_fold_it_is_cross_validation() -> None:
    x, labels, fold = case()
    result = next(h for h in cross_validate_refitted([x] * 4, labels, fold, 3) if h.kind == "logistic")
    usual = cross_validate_logistic(Scaling.of(x).apply(x)[: len(labels)], labels, fold[None], 3)
    assert (result.c, result.temperature) == pytest.approx((usual.c, usual.temperature), rel=1e-3)
    np.testing.assert_allclose(result.losses, usual.losses, atol=2e-3)


def test_spread_answers_are_judged_where_there_are_unlabelled_items() -> None:
    x, labels, fold = case()
    tried = cross_validate_refitted([x] * 4, labels, fold, 3)
    assert {head.kind for head in tried} == {"blend", "logistic", "propagation", "self-training"}
    assert tried[0].kind == "blend"
    assert [head.log_loss for head in tried[1:]] == sorted(head.log_loss for head in tried[1:])
    (alone,) = cross_validate_refitted([x[: len(labels)]] * 4, labels, fold, 3)
    assert alone.kind == "logistic"


def test_an_encoder_that_knows_the_labels_it_saw_by_heart_gains_nothing() -> None:
    """Each fold's embedding of what it saw gives the label away; of what it did not see, nothing."""
    rng = np.random.default_rng(2)
    labels = rng.permutation(np.arange(80) % 2)
    fold = repeated_folds(labels, rng)[0]
    noise = rng.normal(size=(80, 6)).astype(np.float32)
    rows = []
    for number in range(4):
        x = noise.copy()
        seen = fold != number
        x[seen, 0] += 8.0 * (labels[seen] - 0.5)
        rows.append(x)
    (head,) = cross_validate_refitted(rows, labels, fold, 2)
    assert head.accuracy < 0.65
    assert head.log_loss > 0.6
