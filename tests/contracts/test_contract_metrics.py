"""Named properties of every metric: it holds its interval, ignores the order of items, and knows best from worst."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from passmuster.core.statistics import Interval
from passmuster.metrics import accuracy, calibration, selective

Metric = Callable[[np.ndarray, np.ndarray, np.random.Generator], Interval]  # labels, probabilities, rng


def _aurc(labels: np.ndarray, p: np.ndarray, rng: np.random.Generator) -> Interval:
    return selective.aurc(p.max(axis=1), p.argmax(axis=1) != labels, rng=rng, n_resamples=100)


METRICS: dict[str, tuple[Metric, float, bool]] = {  # name -> (metric, best value, higher is better)
    "accuracy": (lambda y, p, rng: accuracy.accuracy(y, p.argmax(axis=1)), 1.0, True),
    "macro_f1": (lambda y, p, rng: accuracy.macro_f1(y, p.argmax(axis=1), 3, rng=rng, n_resamples=100), 1.0, True),
    "ece": (lambda y, p, rng: calibration.ece(p, y, rng=rng, n_resamples=100), 0.0, False),
    "nll": (lambda y, p, rng: calibration.nll(p, y, rng=rng, n_resamples=100), 0.0, False),
    "brier": (lambda y, p, rng: calibration.brier(p, y, rng=rng, n_resamples=100), 0.0, False),
    "aurc": (_aurc, 0.0, False),
}
ALL = pytest.mark.parametrize("name", METRICS)


def predictions(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    p = np.exp(logits)
    return labels, p / p.sum(axis=1, keepdims=True)


@ALL
def test_the_value_lies_in_its_interval(name: str) -> None:
    metric = METRICS[name][0]
    for seed in range(20):
        found = metric(*predictions(seed), np.random.default_rng(0))
        assert found.low <= found.value <= found.high
        assert found.low < found.high
        assert found.n == 80


@ALL
def test_the_order_of_items_does_not_matter(name: str) -> None:
    metric = METRICS[name][0]
    for seed in range(20):
        labels, p = predictions(seed)
        p = np.round(p, 1)  # ties
        p /= p.sum(axis=1, keepdims=True)
        order = np.random.default_rng(seed).permutation(len(labels))
        first = metric(labels, p, np.random.default_rng(0)).value
        assert metric(labels[order], p[order], np.random.default_rng(0)).value == pytest.approx(first)


@ALL
def test_a_perfect_model_has_the_best_value(name: str) -> None:
    metric, best, _ = METRICS[name]
    labels, _ = predictions(0)
    assert metric(labels, np.eye(3)[labels], np.random.default_rng(0)).value == pytest.approx(best, abs=1e-9)


@ALL
def test_a_worse_model_has_a_worse_value(name: str) -> None:
    """Half of the answers exchanged for wrong and sure ones."""
    metric, _, higher = METRICS[name]
    labels, p = predictions(1)
    worse = p.copy()
    worse[::2] = np.eye(3)[(labels[::2] + 1) % 3]
    good, bad = (metric(labels, q, np.random.default_rng(0)).value for q in (p, worse))
    assert (good > bad) if higher else (good < bad)


@ALL
def test_more_items_narrow_the_interval(name: str) -> None:
    metric = METRICS[name][0]
    few = metric(*predictions(2, 50), np.random.default_rng(0))
    many = metric(*predictions(2, 2_000), np.random.default_rng(0))
    assert many.high - many.low < 0.5 * (few.high - few.low)


@ALL
@pytest.mark.parametrize("n", [1, 2])
def test_one_item_and_one_class_do_not_break_it(name: str, n: int) -> None:
    found = METRICS[name][0](np.zeros(n, dtype=int), np.full((n, 3), 1 / 3), np.random.default_rng(0))
    assert np.isfinite([found.value, found.low, found.high]).all()


@ALL
def test_nothing_measured_has_no_value(name: str) -> None:
    found = METRICS[name][0](np.zeros(0, dtype=int), np.zeros((0, 3)), np.random.default_rng(0))
    assert np.isnan(found.value)
    assert found.n == 0
