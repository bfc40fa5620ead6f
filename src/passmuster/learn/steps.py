"""Steps of gradient descent within a deadline: taken as planned, saved now and then, gone on with after a kill."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline


def take_steps(
    start: int,
    n_steps: int,
    teach: Callable[[int], object],
    save: Callable[[int], object],
    deadline: Deadline,
    *,
    save_every_s: float,
) -> int:
    """Call `teach` with every step from `start` up to `n_steps`; returns the steps that are done when it ends.

    That is fewer than `n_steps` when the deadline came first. `save` is told how many steps are done.

    >>> take_steps(1, 3, print, print, Deadline.after(60), save_every_s=60)
    1
    2
    3
    """
    step, saved_at = start, time.monotonic()
    while step < n_steps and not deadline.passed:
        teach(step)
        step += 1
        if time.monotonic() - saved_at > save_every_s:
            save(step)
            saved_at = time.monotonic()
    return step


def typical_s(teach: Callable[[], object], n: int) -> float:
    """Seconds of one call: the median of `n`, after one that warms up."""
    taken = []
    for _ in range(1 + n):
        start = time.perf_counter()
        teach()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))


@contextlib.contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """So many threads in torch's products; sums over threads differ in the last bit, so a plan records the number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def optimiser_state(optimisers: Iterable[Any]) -> dict[str, np.ndarray]:
    """What optimisers remember of each parameter, as arrays ``optimiser.<number of the parameter>.<what>``."""
    return {
        f"optimiser.{i}.{key}": value.detach().cpu().numpy().copy()
        for i, (optimiser, parameter) in enumerate(_parameters(optimisers))
        for key, value in optimiser.state[parameter].items()
    }


def restore_optimisers(optimisers: Iterable[Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Put an `optimiser_state` back, on the device of each parameter; a count of steps stays on the CPU."""
    import torch

    for i, (optimiser, parameter) in enumerate(_parameters(optimisers)):
        prefix = f"optimiser.{i}."
        optimiser.state[parameter] = {
            key.removeprefix(prefix): torch.from_numpy(value.copy()).to(parameter.device if value.ndim else "cpu")
            for key, value in arrays.items()
            if key.startswith(prefix)
        }


def _parameters(optimisers: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                yield optimiser, parameter
