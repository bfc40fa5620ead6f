"""Vector scaling: found where each class is off in its own way, left out where labels are few or nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.calibration import log_losses
from passmuster.learn.heads import Head
from passmuster.learn.vector_scaling import MIN_PER_CLASS, choose_vector_scaling, fit_vector

SLOPE, SHIFT = np.array([1.0, 0.5, 1.5]), np.array([0.0, 0.8, -0.6])


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the chances that they stand for."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)) * 2
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    return logits, np.array([rng.choice(3, p=row) for row in p])


def test_what_each_class_is_off_by_is_found() -> None:
    logits, labels = drawn(6_000)
    found = choose_vector_scaling((logits - SHIFT) / SLOPE, labels, np.random.default_rng(1))
    assert found is not None
    again = found.apply((logits - SHIFT) / SLOPE)
    apart = again - logits
    assert np.abs(apart - apart.mean(axis=1, keepdims=True)).mean() < 0.1  # a shift shared by all classes says nothing
    assert found.gain > 0.02


def test_nothing_is_changed_where_nothing_is_wrong() -> None:
    kept = [choose_vector_scaling(*drawn(400, seed), np.random.default_rng(seed)) for seed in range(40)]
    assert sum(found is not None for found in kept) <= 3


def test_it_is_not_tried_with_few_labels() -> None:
    logits, labels = drawn(600)
    first = np.flatnonzero(labels == 1)[MIN_PER_CLASS - 1 :]
    logits, labels = np.delete(logits, first, axis=0), np.delete(labels, first)
    assert choose_vector_scaling((logits - SHIFT) / SLOPE * 3, labels, np.random.default_rng(0)) is None
    assert choose_vector_scaling(np.zeros((0, 3)), np.zeros(0, int), np.random.default_rng(0)) is None


def test_the_gradient_leads_to_the_least_loss() -> None:
    logits, labels = drawn(300)
    logits = logits * 0.3
    slope, shift = fit_vector(logits, labels)

    def loss(a: np.ndarray, b: np.ndarray) -> float:
        return float(log_losses(logits * a + b, labels).sum() + 2.0 * (((a - 1) ** 2).sum() + (b**2).sum()))

    least = loss(slope, shift)
    for i in range(3):
        for step in (-1e-2, 1e-2):
            moved = np.eye(3)[i] * step
            assert loss(slope + moved, shift) > least
            assert loss(slope, shift + moved) > least


def test_the_head_gives_the_scaled_logits() -> None:
    logits, labels = drawn(3_000)
    found = choose_vector_scaling((logits - SHIFT) / SLOPE, labels, np.random.default_rng(1))
    assert found is not None
    rng = np.random.default_rng(2)
    head = Head(rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    x = rng.normal(size=(10, 4)).astype(np.float32)
    assert found.folded(head).logits(x) == pytest.approx(found.apply(head.logits(x)), abs=1e-4)
