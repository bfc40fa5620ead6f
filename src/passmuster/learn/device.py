"""Where training runs, and how fast that multiplies matrices: what quotes and shares of the peak refer to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from passmuster.core.budget import VISIBLE_CARDS, Machine, count_gpus
from passmuster.core.errors import ResourceError
from passmuster.core.meter import note_card

SIDES = {"cpu": 1_024, "cuda": 8_192}  # of the square matrices that are multiplied
N_PRODUCTS = 5


def training_device() -> str:
    """``"cuda"`` where torch can use a card, else ``"cpu"``. Without a card in sight torch is not imported."""
    if not count_gpus():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def begin_on(device: str) -> str:
    """The device, once more: work on it begins, and a card is paid for from here on.

    >>> begin_on("cpu")
    'cpu'
    """
    if device == "cuda":
        note_card()
    return device


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Within, training runs on `name`: "cpu", "cuda", or "auto", which is a card where torch can use one.

    With "cpu" this process sees no card, so that none is counted in what a second may cost, either.

    Raises
    ------
    ResourceError
        ``device.none`` when a card is asked for and torch can use none.

    Examples
    --------
    >>> with on_device("cpu"):
    ...     training_device()
    'cpu'
    """
    if name == "cuda" and training_device() != "cuda":
        raise ResourceError(
            "device.none", "torch can use no card here", value=name,
            next="muster train --device cpu; muster doctor says what this machine has",
        )  # fmt: skip
    if name != "cpu":
        yield
        return
    before = os.environ.get(VISIBLE_CARDS)
    os.environ[VISIBLE_CARDS] = ""
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE_CARDS]
        else:
            os.environ[VISIBLE_CARDS] = before


def gflops_here(machine: Machine) -> float:
    """Billions of operations a second in products of matrices, of what training will run on.

    On the CPU that is the machine's own figure (float32, all cores), on a card it is measured in bfloat16.
    """
    device = training_device()
    return machine.matmul_gflops if device == "cpu" else peak_gflops(device, bf16=True, n_threads=1)


def busy_clock(device: str, n_threads: int) -> Callable[[], float]:
    """A clock of the seconds that work takes a device: on the processor those that the process had of it, per thread.

    So what a share of the peak says does not depend on who else is at work.
    """
    if device == "cpu":
        return lambda: time.process_time() / n_threads
    return time.perf_counter


@cache
def peak_gflops(device: str, *, bf16: bool, n_threads: int) -> float:
    """Billions of operations a second (`busy_clock`) in products of large matrices, the best of five.

    Kept for the process.
    """
    import torch

    from passmuster.learn.steps import torch_threads

    side, clock = SIDES[device], busy_clock(device, n_threads)
    with torch_threads(n_threads):
        a = torch.ones(side, side, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
        best = float("inf")
        for _ in range(1 + N_PRODUCTS):
            start = clock()
            a @ a
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, clock() - start)
    return 2.0 * side**3 / best / 1e9
