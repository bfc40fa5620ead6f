"""Draw items with known, unequal probabilities: so that what is asked about most is what tells most.

A fixed number is drawn, every item has a chance, and the chance of each is known exactly. That is all an unbiased
estimate needs (Horvitz and Thompson 1952).
"""

from __future__ import annotations

import zlib

import numpy as np

from passmuster.core.errors import UsageError

FLOOR = 0.1  # share of the draw that is uniform, so that a model that errs where it is sure is found out


def pool_order(n: int, seed: int) -> np.ndarray:
    """Positions of a pool of `n` items, shuffled: wherever its first ones stand for it, they are the same ones.

    What one stage embedded, another then finds in the cache.

    >>> bool((pool_order(100, seed=0)[:5] == pool_order(100, seed=0)[:5]).all())
    True
    """
    return np.random.default_rng([seed, zlib.crc32(b"pool")]).permutation(n)


def sizes(risk: np.ndarray, *, floor: float = FLOOR) -> np.ndarray:
    """How much each item should be drawn ``(n,)``, mean 1, from the expected chance `risk` ``(n,)`` that it is a 1.

    Proportional to the standard deviation ``sqrt(g (1 - g))``, which for a given number of labels leaves the smallest
    variance (Neyman 1934; for predictions: Zrnic and Candès 2024, eq. 5), mixed with a `floor` of equal chances.

    >>> sizes(np.array([0.5, 0.1]), floor=0.0).round(3)
    array([1.25, 0.75])
    """
    g = np.clip(np.asarray(risk, dtype=np.float64), 0.0, 1.0)
    spread = np.sqrt(g * (1 - g))
    mean = float(spread.mean()) if len(spread) else 0.0
    if mean <= 0:
        return np.ones(len(g))
    return np.asarray((1 - floor) * spread / mean + floor)


def inclusion_probabilities(sizes: np.ndarray, n: int) -> np.ndarray:
    """Chances ``(N,)`` of being among `n` of N, proportional to `sizes` and at most 1; they sum to ``min(n, N)``.

    Items whose share would pass 1 are certain, and the rest is shared anew (Särndal, Swensson and Wretman 1992, 3.6.1).

    Raises
    ------
    UsageError
        ``sampling.sizes`` when a size is not a positive number, or `n` is negative.

    >>> inclusion_probabilities(np.array([8.0, 1.0, 1.0]), 2)
    array([1. , 0.5, 0.5])
    """
    wanted = np.asarray(sizes, dtype=np.float64)
    if n < 0 or not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise UsageError("sampling.sizes", "every item needs a positive size, and n cannot be negative", value=n)
    if n >= len(wanted):
        return np.ones(len(wanted))
    certain = np.zeros(len(wanted), dtype=bool)
    while True:
        shares = np.where(certain, 1.0, wanted * (n - certain.sum()) / wanted[~certain].sum())
        over = ~certain & (shares >= 1.0)
        if not over.any():
            return shares
        certain |= over


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions drawn with exactly these chances ``(N,)``, in random order; as many as they sum to.

    Systematic sampling over a random order (Madow 1949; Hartley and Rao 1962): the chances are laid end to end, and one
    random start with steps of 1 picks. The order is shuffled again, so that answering only the first few of a draw is
    still a random part of it.

    >>> sorted(draw(np.array([1.0, 0.5, 0.5, 1.0]), np.random.default_rng(0)).tolist())[:1]
    [0]
    """
    chances = np.asarray(probabilities, dtype=np.float64)
    order = rng.permutation(len(chances))
    ends = np.cumsum(chances[order])
    n = round(float(ends[-1])) if len(ends) else 0
    if not n:
        return np.zeros(0, dtype=np.int64)
    ends *= n / ends[-1]  # rounding only: the last end is a whole number
    ends[-1] = n
    picked = np.searchsorted(ends, rng.random() + np.arange(n), side="right")
    return np.asarray(rng.permutation(order[np.minimum(picked, len(chances) - 1)]))
