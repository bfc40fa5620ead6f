"""How many items a second something answers, one after the other and in batches, and how long one answer takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from passmuster.core.distributions import binomial_ppf

T = TypeVar("T")
MOST_PASSES = 7
FEWEST_TIMED = 5  # items that are timed whatever they take


def items_per_s(work: Callable[[T], Any], batches: Sequence[T], sizes: Sequence[int], *, seconds: float) -> float:
    """Items a second of `work` over `batches` of the given sizes: by the median time of an item, for `seconds` at most.

    At least one batch is timed; the first of several is a warm-up. Passes over all batches are repeated, seven at most.

    >>> items_per_s(sum, [range(10), range(10)], [10, 10], seconds=0.01) > 0
    True
    """
    taken: list[float] = []
    end = time.perf_counter() + seconds
    if len(batches) > 1:
        work(batches[0])
    for _ in range(MOST_PASSES):
        for batch, size in zip(batches, sizes, strict=True):
            start = time.perf_counter()
            work(batch)
            taken.append((time.perf_counter() - start) / size)
            if time.perf_counter() > end:
                return 1.0 / max(float(np.median(taken)), 1e-9)
    return 1.0 / max(float(np.median(taken)), 1e-9)


@dataclass(frozen=True)
class Latency:
    """Seconds that one answer takes, over `n` of them: the median with its 95 % interval, and the 95th percentile.

    The interval rests on the order of what was timed alone (binomial), so it holds for any distribution; of fewer than
    six answers it is their whole range, which holds with less.
    """

    n: int
    median_s: float
    low_s: float
    high_s: float
    p95_s: float


def latency_of(seconds: Sequence[float]) -> Latency | None:
    """What single answers took, summed up; None of no answer.

    >>> latency_of([0.001 * i for i in range(1, 42)])
    Latency(n=41, median_s=0.021, low_s=0.014, high_s=0.028, p95_s=0.039)
    """
    if not len(seconds):
        return None
    taken = np.sort(np.asarray(seconds, dtype=np.float64))
    n = len(taken)
    first = max(binomial_ppf(0.025, n, 0.5) - 1, 0)
    median, low, high, p95 = float(np.median(taken)), taken[first], taken[n - 1 - first], np.quantile(taken, 0.95)
    return Latency(n, round(median, 6), round(float(low), 6), round(float(high), 6), round(float(p95), 6))


def time_singly(works: Sequence[Callable[[T], Any]], items: Sequence[T], *, seconds: float) -> list[list[float]]:
    """Seconds that each of `works` takes for each item alone, in turn, so that what else the machine does meets all.

    The first item warms up and is timed again. It ends after `seconds`, though not before five items.

    >>> [len(taken) for taken in time_singly([len, repr], ["a", "b", "c"], seconds=1.0)]
    [3, 3]
    """
    taken: list[list[float]] = [[] for _ in works]
    for work in works if len(items) else ():
        work(items[0])
    end = time.perf_counter() + seconds
    for i, item in enumerate(items):
        if i >= FEWEST_TIMED and time.perf_counter() > end:
            break
        for work, its in zip(works, taken, strict=True):
            start = time.perf_counter()
            work(item)
            its.append(time.perf_counter() - start)
    return taken
