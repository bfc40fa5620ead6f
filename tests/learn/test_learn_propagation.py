"""Propagation: labels reach along the pool's shape, and its own judgement keeps held-out items out."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.folds import repeated_folds
from passmuster.learn.heads import Scaling, cross_validate_logistic
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.learn.propagation import Propagation, Spreading, neighbour_graph, spread


def clusters(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes of three clusters each in 16 dimensions, and two labels per class: (x, truth, labelled)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, 16))
    part = rng.integers(6, size=n)
    x = centres[part] + 0.35 * rng.normal(size=(n, 16))
    labelled = np.sort(np.concatenate([rng.choice(np.flatnonzero(part % 2 == c), 6, replace=False) for c in (0, 1)]))
    return x.astype(np.float32), part % 2, labelled


def test_the_graph_is_symmetric_and_nobody_neighbours_themselves() -> None:
    x, _, _ = clusters(100)
    graph = neighbour_graph(x, Spreading(n_neighbours=5))
    assert abs(graph - graph.T).max() == 0
    assert graph.diagonal().max() == 0
    assert (np.diff(graph.indptr) >= 5).sum() > 90  # weights of zero aside


def test_labels_spread_to_neighbours_by_hand() -> None:
    from scipy import sparse

    chain = sparse.csr_matrix(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.float32))
    start = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]], dtype=np.float32)
    once = spread(chain, start, np.array([0.5, 0.5]), Spreading(alpha=0.5, n_steps=1, balance=0.0))
    root = np.sqrt(0.5)  # D^-1/2 W D^-1/2 of the chain
    expected = 0.5 * np.array([[0.5 * root, 0.5 * root], [1.5 * root, 0.5 * root], [0.5 * root] * 2]) + 0.5 * start
    np.testing.assert_allclose(once, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)


def test_balance_moves_class_sizes_to_the_prior() -> None:
    x, _, _ = clusters(100)
    graph = neighbour_graph(x)
    start = np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (100, 1))
    prior = np.array([0.5, 0.5])
    free = spread(graph, start, prior, Spreading(balance=0.0)).mean(axis=0)
    balanced = spread(graph, start, prior, Spreading(balance=1.0)).mean(axis=0)
    assert free[0] > 0.85
    assert balanced[0] == pytest.approx(0.5, abs=0.02)


def test_it_beats_the_logistic_head_when_labels_are_few() -> None:
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth = np.repeat(np.arange(10), 60)
        x = rng.normal(size=(10, 16))[truth] + 1.0 * rng.normal(size=(600, 16))
        x = Scaling.of(x).apply(x).astype(np.float32)
        labelled = np.sort(
            np.concatenate([rng.choice(np.flatnonzero(truth == c), 2, replace=False) for c in range(10)])
        )
        weight, bias = fit_logistic(x[labelled], one_hot(truth[labelled], 10), c=10.0)
        alone = ((x @ weight + bias).argmax(axis=1) == truth).mean()
        propagation = Propagation(x, neighbour_graph(x), labelled, truth[labelled], 10)
        weight, bias = propagation.fit(np.arange(len(labelled)), c=10.0, temperature=0.3)
        gains.append(((x @ weight + bias).argmax(axis=1) == truth).mean() - alone)
    assert np.mean(gains) > 0.02, gains


def test_held_out_items_are_out_of_the_graph() -> None:
    """A wrong label on an item must not change what is said of it when it is held out."""
    x, truth, labelled = clusters()
    x = Scaling.of(x).apply(x)
    labels = truth[labelled].copy()
    folds = repeated_folds(labels, np.random.default_rng(0))[:1]
    logistic = cross_validate_logistic(x[labelled], labels, folds, 2)
    propagation = Propagation(x, neighbour_graph(x), labelled, labels, 2)
    inside = np.flatnonzero(folds[0] != 0)
    before = propagation.fit(inside, c=logistic.c, temperature=logistic.temperature)
    flipped = labels.copy()
    flipped[folds[0] == 0] = 1 - flipped[folds[0] == 0]
    x_gone = x.copy()
    x_gone[labelled[folds[0] == 0]] = 0.0  # nor may its embedding
    changed = Propagation(x_gone, propagation.graph, labelled, flipped, 2)
    after = changed.fit(inside, c=logistic.c, temperature=logistic.temperature)
    np.testing.assert_allclose(before[0], after[0], atol=1e-5)
    result = propagation.cross_validate(logistic, folds)
    assert result.kind == "propagation"
    assert result.logits.shape == (1, len(labelled), 2)
