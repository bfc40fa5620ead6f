"""The chance that more labels settle a rate against its bound."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.records import Metric
from passmuster.core.statistics import wilson
from passmuster.metrics.gates.base import more_labels_for_rate, rate_bounds
from passmuster.metrics.gates.chance import chance_to_settle


def accuracy(right: int, n: int) -> Metric:
    found = wilson(right, n)
    return Metric("accuracy", right / n, found.low, found.high, n=n, method="wilson")


def test_it_reaches_the_power_where_the_gate_says() -> None:
    metric = accuracy(36, 40)
    n_more = more_labels_for_rate(metric, 0.8, 0.05)
    assert n_more is not None
    assert chance_to_settle(metric, 0.8, 0.05, n_more) >= 0.8 > chance_to_settle(metric, 0.8, 0.05, n_more - 1) - 0.05


def test_it_is_what_a_simulation_finds() -> None:
    metric, rng = accuracy(45, 50), np.random.default_rng(0)
    right = 45 + rng.binomial(30, 46 / 52, size=4_000)
    bounds = [rate_bounds(accuracy(int(r), 80), 0.05) for r in np.unique(right)]
    settled = dict(zip(np.unique(right).tolist(), (low >= 0.8 or high < 0.8 for low, high in bounds), strict=True))
    seen = np.mean([settled[r] for r in right.tolist()])
    assert chance_to_settle(metric, 0.8, 0.05, 30) == pytest.approx(seen, abs=0.03)


def test_no_label_settles_nothing() -> None:
    assert chance_to_settle(accuracy(36, 40), 0.8, 0.05, 0) == 0.0
