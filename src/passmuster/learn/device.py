"""Where training runs, and how fast that multiplies matrices: what quotes and shares of the peak refer to."""

from __future__ import annotations

import time
from functools import cache

from passmuster.core.budget import Machine, count_gpus

SIDES = {"cpu": 1_024, "cuda": 8_192}  # of the square matrices that are multiplied
N_PRODUCTS = 5


def training_device() -> str:
    """``"cuda"`` where torch can use a card, else ``"cpu"``. Without a card in sight torch is not imported."""
    if not count_gpus():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def gflops_here(machine: Machine) -> float:
    """Billions of operations a second in products of matrices, of what training will run on.

    On the CPU that is the machine's own figure (float32, all cores), on a card it is measured in bfloat16.
    """
    device = training_device()
    return machine.matmul_gflops if device == "cpu" else peak_gflops(device, bf16=True, n_threads=1)


@cache
def peak_gflops(device: str, *, bf16: bool, n_threads: int) -> float:
    """Billions of operations a second in products of large matrices, the best of five; kept for the process."""
    import torch

    from passmuster.learn.steps import torch_threads

    side = SIDES[device]
    with torch_threads(n_threads):
        a = torch.ones(side, side, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
        best = float("inf")
        for _ in range(1 + N_PRODUCTS):
            start = time.perf_counter()
            a @ a
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
    return 2.0 * side**3 / best / 1e9
