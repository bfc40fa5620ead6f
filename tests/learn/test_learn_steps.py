"""Steps: as many as planned, fewer when the deadline comes, saved on the way; optimisers go on as if never stopped."""

from __future__ import annotations

import time

import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.learn import device
from passmuster.learn.steps import optimiser_state, restore_optimisers, take_steps, torch_threads, typical_s

torch = pytest.importorskip("torch")


def test_every_step_is_taken_once_and_saved_after() -> None:
    taken: list[int] = []
    saved: list[tuple[int, int]] = []
    done = take_steps(
        2, 6, taken.append, lambda n: saved.append((n, len(taken))), Deadline.after(60), save_every_s=-1.0
    )
    assert (done, taken) == (6, [2, 3, 4, 5])
    assert saved == [(3, 1), (4, 2), (5, 3), (6, 4)]


def test_the_deadline_ends_the_steps() -> None:
    assert take_steps(3, 9, pytest.fail, pytest.fail, Deadline.after(-1), save_every_s=0.0) == 3


def test_the_first_call_only_warms_up() -> None:
    calls: list[int] = []
    assert typical_s(lambda: calls.append(1), 3) >= 0
    assert len(calls) == 4


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_optimisers_go_on_as_if_never_stopped() -> None:
    def start() -> tuple[list[torch.nn.Parameter], list[torch.optim.Optimizer]]:
        generator = torch.Generator().manual_seed(0)
        matrix, bias = (torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (4,)))
        return [matrix, bias], [torch.optim.Muon([matrix], 0.1), torch.optim.AdamW([bias], 0.1)]

    def step(parameters: list[torch.nn.Parameter], optimisers: list[torch.optim.Optimizer]) -> None:
        matrix, bias = parameters
        for optimiser in optimisers:
            optimiser.zero_grad()
        ((matrix @ torch.arange(3.0) + bias) ** 2).sum().backward()
        for optimiser in optimisers:
            optimiser.step()

    whole, optimisers = start()
    step(whole, optimisers)
    state = optimiser_state(optimisers)
    weights = [parameter.detach().clone() for parameter in whole]
    step(whole, optimisers)
    again, others = start()
    with torch.no_grad():
        for parameter, weight in zip(again, weights, strict=True):
            parameter.copy_(weight)
    restore_optimisers(others, state)
    step(again, others)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_without_a_card_the_machine_s_own_speed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "count_gpus", lambda: 0)
    assert device.training_device() == "cpu"
    assert device.gflops_here(Machine(2, 2**30, 123.0)) == 123.0


def test_with_a_card_its_speed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "training_device", lambda: "cuda")
    monkeypatch.setattr(device, "peak_gflops", lambda name, **_: 5e5 if name == "cuda" else 0.0)
    assert device.gflops_here(Machine(2, 2**30, 123.0)) == 5e5


def test_waiting_is_not_busy_on_the_processor() -> None:
    clock = device.busy_clock("cpu", 1)
    start = clock()
    time.sleep(0.2)
    assert clock() - start < 0.1
    card = device.busy_clock("cuda", 1)
    start = card()
    time.sleep(0.2)
    assert card() - start >= 0.2


def test_a_peak_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(device.SIDES, "cpu", 64)
    assert device.peak_gflops("cpu", bf16=False, n_threads=1) > 0
    device.peak_gflops.cache_clear()
