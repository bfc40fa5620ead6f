"""Behaviour tests in the sense of CheckList (Ribeiro et al. 2020): which of them a model's answers fail."""

from __future__ import annotations

import numpy as np

from passmuster.core.statistics import Interval, clopper_pearson


def functionality_failed(expected: np.ndarray, said: np.ndarray) -> np.ndarray:
    """MFT: where the answer ``(n,)`` is not the expected one.

    >>> functionality_failed(np.array(["yes", "no"]), np.array(["yes", "yes"])).tolist()
    [False, True]
    """
    return np.asarray(expected != said)


def invariance_failed(said: np.ndarray, said_changed: np.ndarray) -> np.ndarray:
    """INV: where the answer to the changed item ``(n,)`` is another one.

    >>> invariance_failed(np.array(["yes", "no"]), np.array(["yes", "yes"])).tolist()
    [False, True]
    """
    return np.asarray(said != said_changed)


def direction_failed(before: np.ndarray, after: np.ndarray, not_lower: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """DIR: where a class's probability ``(n,)`` went the wrong way by more than `tolerance`.

    >>> before, after = np.array([0.9, 0.9, 0.5]), np.array([0.85, 0.6, 0.7])
    >>> direction_failed(before, after, np.array([True, True, False]), np.full(3, 0.1)).tolist()
    [False, True, True]
    """
    fall = np.where(not_lower, before - after, after - before)
    return np.asarray(fall > tolerance + 1e-9)


def failure_rate(failed: np.ndarray) -> Interval:
    """Share of failed tests ``(n,)`` with its exact interval (Clopper and Pearson 1934).

    >>> found = failure_rate(np.array([False] * 9 + [True]))
    >>> round(found.low, 4), round(found.high, 3), found.method
    (0.0025, 0.445, 'clopper-pearson')
    """
    return clopper_pearson(int(np.sum(failed)), len(failed))
