"""Limited-memory BFGS (Nocedal 1980; Nocedal and Wright 2006, algorithm 7.5) for smooth convex functions, in float32.

For the products of small heads the solver of scipy took longer than the function: it works with bounds and in float64.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

MEMORY = 10
SUFFICIENT, SHRINK, MAX_SHRINKS = 1e-4, 0.4, 20

Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def minimise(
    objective: Objective,
    start: np.ndarray,
    *,
    max_iterations: int,
    gradient_tolerance: float = 1e-5,
    value_tolerance: float = 1e-6,
) -> np.ndarray:
    """The minimum found from `start` (n,).

    Parameters
    ----------
    objective : x (n,) float32 to value and gradient (n,) float32
    max_iterations : at most so many steps
    gradient_tolerance : stop when no component of the gradient is larger
    value_tolerance : stop when a step lowers the value by less than this part of it

    >>> minimise(lambda x: (float(((x - 3) ** 2).sum()), 2 * (x - 3)), np.zeros(2, np.float32), max_iterations=9)
    array([3., 3.], dtype=float32)
    """
    x = start.astype(np.float32)
    value, gradient = objective(x)
    pairs: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=MEMORY)
    for _ in range(max_iterations):
        if np.abs(gradient).max() <= gradient_tolerance:
            break
        direction = _direction(gradient, pairs)
        slope = _dot(gradient, direction)
        if slope >= 0:  # rounding spoilt the memory: begin it anew
            pairs.clear()
            direction, slope = -gradient, -_dot(gradient, gradient)
        step = 1.0 if pairs else min(1.0, 1.0 / max(float(np.abs(gradient).sum()), 1e-12))
        found = _search(objective, x, value, direction, slope, step)
        if found is None:
            break
        x_new, value_new, gradient_new = found
        move, change = x_new - x, gradient_new - gradient
        curvature = _dot(move, change)
        if curvature > 1e-10 * _dot(change, change):
            pairs.append((move, change, curvature))
        done = value - value_new <= value_tolerance * max(abs(value), abs(value_new), 1e-12)
        x, value, gradient = x_new, value_new, gradient_new
        if done:
            break
    return x


def _search(
    objective: Objective, x: np.ndarray, value: float, direction: np.ndarray, slope: float, step: float
) -> tuple[np.ndarray, float, np.ndarray] | None:
    """A step that lowers the value enough (Armijo); None when none does, because of rounding."""
    for _ in range(MAX_SHRINKS):
        x_new = x + np.float32(step) * direction
        value_new, gradient_new = objective(x_new)
        if value_new <= value + SUFFICIENT * step * slope:
            return x_new, value_new, gradient_new
        step *= SHRINK
    return None


def _direction(gradient: np.ndarray, pairs: deque[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """Minus the inverse Hessian's estimate times the gradient (two-loop recursion)."""
    q = gradient.copy()
    shares = []
    for move, change, curvature in reversed(pairs):
        share = _dot(move, q) / curvature
        q -= np.float32(share) * change
        shares.append(share)
    if pairs:
        _, change, curvature = pairs[-1]
        q *= np.float32(curvature / _dot(change, change))
    for (move, change, curvature), share in zip(pairs, reversed(shares), strict=True):
        q += np.float32(share - _dot(change, q) / curvature) * move
    return -q


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.dot(a, b))
