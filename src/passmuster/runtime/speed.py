"""How many items a second something answers: one after the other, and in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
MOST_PASSES = 7


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
