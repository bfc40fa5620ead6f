"""The solver: exact on what is known, never uphill."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.lbfgs import minimise


@pytest.mark.parametrize("stretch", [1.0, 30.0, 1_000.0])
def test_a_stretched_bowl(stretch: float) -> None:
    scale = np.linspace(1.0, stretch, 20).astype(np.float32)
    bottom = np.linspace(-1.0, 1.0, 20).astype(np.float32)

    def bowl(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float((scale * (x - bottom) ** 2).sum()) / 2, scale * (x - bottom)

    found = minimise(bowl, np.zeros(20, np.float32), max_iterations=300, value_tolerance=0.0)
    np.testing.assert_allclose(found, bottom, atol=1e-3)


def test_every_step_goes_down_and_the_limit_is_kept() -> None:
    values = []

    def valley(x: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = float(x[0]), float(x[1])
        values.append((1 - a) ** 2 + 100 * (b - a * a) ** 2)
        return values[-1], np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)], np.float32)

    first = valley(np.array([-1.0, 1.5], np.float32))[0]
    after_one = valley(minimise(valley, np.array([-1.0, 1.5], np.float32), max_iterations=1))[0]
    after_many = valley(minimise(valley, np.array([-1.0, 1.5], np.float32), max_iterations=200))[0]
    assert first > after_one > after_many
    assert after_many < 1e-4


def test_at_the_bottom_nothing_moves() -> None:
    x = np.ones(3, np.float32)
    assert minimise(lambda x: (0.0, np.zeros_like(x)), x, max_iterations=5).tolist() == [1, 1, 1]
