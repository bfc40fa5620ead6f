"""What the numbers about sets of classes keep: they hold their intervals, know best from worst, and bear the ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from passmuster.core.statistics import Interval
from passmuster.metrics import label_sets

Metric = Callable[[np.ndarray, np.ndarray, np.random.Generator], Interval]  # targets, probabilities, rng
FEW = {"n_resamples": 100}
METRICS: dict[str, tuple[Metric, float, bool]] = {  # name -> (metric, best value, higher is better)
    "item_f1": (lambda t, p, rng: label_sets.item_f1(t, p >= 0.5), 1.0, True),
    "micro_f1": (lambda t, p, rng: label_sets.f1(t, p >= 0.5, "micro", rng=rng, **FEW), 1.0, True),
    "macro_f1": (lambda t, p, rng: label_sets.f1(t, p >= 0.5, "macro", rng=rng, **FEW), 1.0, True),
    "hamming_loss": (lambda t, p, rng: label_sets.hamming_loss(t, p >= 0.5, rng=rng, **FEW), 0.0, False),
    "ranking_precision": (lambda t, p, rng: label_sets.ranking_precision(t, p, rng=rng, **FEW), 1.0, True),
    "set_log_loss": (lambda t, p, rng: label_sets.set_log_loss(t, p, rng=rng, **FEW), 0.0, False),
    "set_brier": (lambda t, p, rng: label_sets.set_brier(t, p, rng=rng, **FEW), 0.0, False),
}
ALL = pytest.mark.parametrize("name", METRICS)


def answers(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((n, 4)) < 0.4
    return targets, 1.0 / (1.0 + np.exp(-(rng.normal(size=(n, 4)) + 2.0 * targets - 1.0)))


@ALL
def test_the_value_lies_in_its_interval(name: str) -> None:
    for seed in range(20):
        found = METRICS[name][0](*answers(seed), np.random.default_rng(0))
        assert found.low <= found.value <= found.high
        assert found.low < found.high
        assert found.n == 80


@ALL
def test_a_perfect_model_has_the_best_value_and_a_worse_one_a_worse(name: str) -> None:
    metric, best, higher = METRICS[name]
    targets, p = answers(1)
    rng = np.random.default_rng(0)
    assert metric(targets, targets.astype(float), rng).value == pytest.approx(best, abs=1e-9)
    worse = p.copy()
    worse[::2] = 1.0 - targets[::2]
    good, bad = metric(targets, p, rng).value, metric(targets, worse, rng).value
    assert (good > bad) if higher else (good < bad)


@ALL
def test_items_without_any_class_do_not_break_it(name: str) -> None:
    found = METRICS[name][0](np.zeros((2, 3), bool), np.full((2, 3), 0.2), np.random.default_rng(0))
    assert np.isfinite([found.value, found.low, found.high]).all()


@ALL
def test_nothing_measured_has_no_value(name: str) -> None:
    found = METRICS[name][0](np.zeros((0, 3), bool), np.zeros((0, 3)), np.random.default_rng(0))
    assert np.isnan(found.value)
    assert found.n == 0


def test_saying_nothing_rightly_is_right() -> None:
    """Of an item of no class the empty answer is whole, and any other is worth nothing."""
    targets = np.zeros((2, 3), bool)
    said = np.array([[False, False, False], [True, False, False]])
    assert label_sets.item_f1_scores(targets, said).tolist() == [1.0, 0.0]
