"""How many threads a product of matrices may take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

SMALL_FLOPS = 2e9  # of one product; below, threads wait for each other longer than they work


@contextlib.contextmanager
def threads_for(flops: float) -> Iterator[None]:
    """One thread while products are small (`flops` each), as many as usual otherwise.

    On two busy cores a head with 616 labels of 77 classes took 1.9 s with one thread and 25 s with two, all of it
    waiting. Without threadpoolctl, which comes with the extra `train`, products take the threads that they take.
    """
    if flops >= SMALL_FLOPS or not limits_threads():
        yield
        return
    with _controller().limit(limits=1, user_api="blas"):
        yield


def one_thread() -> contextlib._GeneratorContextManager[None]:
    """One thread for every product in the block, or in every call of a function that this decorates."""
    return threads_for(0.0)


def limits_threads() -> bool:
    """Whether threads of products can be limited here."""
    return _controller() is not None


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
