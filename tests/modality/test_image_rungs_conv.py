"""The convolutional rung: the graph equals the network, and a killed run goes on to the same weights."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passmuster.core.budget import Deadline
from passmuster.core.config import TrainConfig
from passmuster.core.errors import IntegrityError
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import Encoder, FitView

torch = pytest.importorskip("torch")
from passmuster.modality.image.rungs import conv, neighbourhood, network  # noqa: E402
from passmuster.modality.image.rungs.gradients import gradient_model  # noqa: E402
from passmuster.modality.image.rungs.pixels import runner  # noqa: E402
from passmuster.modality.image.rungs.views import MILD, random_views  # noqa: E402

N_STEPS = 12


class KilledError(Exception):
    """Stands for a kill."""


class Mortal(FileCheckpoint):
    """Dies after so many saves of the steps."""

    def __init__(self, folder: Path, n_saves: int) -> None:
        super().__init__(folder)
        self.left = n_saves

    def save(self, name: str, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> None:
        super().save(name, arrays, settings)
        self.left -= name == "conv-steps"
        if not self.left:
            raise KilledError


@pytest.fixture
def view() -> FitView:
    from sklearn.datasets import load_digits

    pixels = np.clip(load_digits().images[:300] * 16, 0, 255).astype(np.uint8)[:, :, :, None]
    return FitView(list(pixels), np.full(300, -1), 10, TrainConfig())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of a few steps, saved at each."""
    monkeypatch.setattr(conv, "_plan", lambda *_: conv.Plan(N_STEPS, 64, False))
    monkeypatch.setattr(conv, "SAVE_EVERY_S", 0.0)


def fit(view: FitView, checkpoint: FileCheckpoint, seconds: float = 60) -> Encoder:
    return conv.fit(view, Deadline.after(seconds), checkpoint, np.random.default_rng(3))


def same(a: Encoder, b: Encoder) -> bool:
    return a.arrays.keys() == b.arrays.keys() and all(np.array_equal(a.arrays[k], b.arrays[k]) for k in a.arrays)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("n_saves", [1, 4, 9])
def test_an_interrupted_run_ends_at_the_same_weights(view: FitView, tmp_path: Path, n_saves: int) -> None:
    whole = fit(view, FileCheckpoint(tmp_path / "whole"))
    with pytest.raises(KilledError):
        fit(view, Mortal(tmp_path / "killed", n_saves))
    saved = FileCheckpoint(tmp_path / "killed").load("conv-steps")
    assert saved is not None
    assert saved[1]["step"] < N_STEPS
    assert same(whole, fit(view, FileCheckpoint(tmp_path / "killed")))


@pytest.mark.usefixtures("short")
def test_another_seed_gives_other_weights(view: FitView, tmp_path: Path) -> None:
    whole = fit(view, FileCheckpoint(tmp_path / "a"))
    other = conv.fit(view, Deadline.after(60), FileCheckpoint(tmp_path / "b"), np.random.default_rng(4))
    assert not same(whole, other)


KILLED_PROGRAM = """
import sys, time
import numpy as np
from pathlib import Path
from passmuster.core.budget import Deadline
from passmuster.core.config import TrainConfig
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import FitView
from passmuster.modality.image.rungs import conv
folder = Path(sys.argv[1])
conv._plan = lambda *_: conv.Plan(12, 64, False)
conv.SAVE_EVERY_S = 0.0
teach, steps = conv.network.teach, []
def lingering(*arguments):
    steps.append(1)
    if len(steps) == 6:
        print("here", flush=True)
        time.sleep(600)
    return teach(*arguments)
conv.network.teach = lingering
view = FitView(list(np.load(folder / "pixels.npy")), np.full(300, -1), 10, TrainConfig())
conv.fit(view, Deadline.after(600), FileCheckpoint(folder), np.random.default_rng(3))
"""


@pytest.mark.usefixtures("short")
def test_kill_9_and_go_on(view: FitView, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    np.save(killed / "pixels.npy", np.stack(view.payloads))
    program = [sys.executable, "-c", KILLED_PROGRAM, str(killed)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    saved = FileCheckpoint(killed).load("conv-steps")
    assert saved is not None
    assert saved[1]["step"] == 5
    assert same(fit(view, FileCheckpoint(tmp_path / "whole")), fit(view, FileCheckpoint(killed)))


@pytest.mark.usefixtures("short")
def test_a_finished_run_is_not_repeated(view: FitView, tmp_path: Path) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    first = fit(view, checkpoint)
    started = checkpoint.load("conv-done")
    again = fit(FitView([], np.zeros(0, int), 10, TrainConfig()), checkpoint)  # nothing to learn from is needed
    assert started is not None
    assert same(first, again)
    assert dict(again.settings) == dict(first.settings)


def test_the_deadline_wins_and_is_recorded(view: FitView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "_plan", lambda *_: conv.Plan(1_000_000, 64, False))
    started = time.monotonic()
    cut = fit(view, FileCheckpoint(tmp_path), seconds=3)
    assert time.monotonic() - started < 30
    assert cut.settings["truncated"]
    assert cut.settings["step"] < 1_000_000
    assert same(cut, fit(view, FileCheckpoint(tmp_path)))  # a resume repeats the truncation


def test_the_plan_fits_the_time(view: FitView, tmp_path: Path) -> None:
    short = fit(view, FileCheckpoint(tmp_path / "short"), seconds=0.1)
    assert short.settings["plan"]["n_steps"] >= 1
    assert short.settings["step"] <= short.settings["plan"]["n_steps"]


@pytest.mark.usefixtures("short")
def test_a_damaged_checkpoint_is_refused(view: FitView, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        fit(view, Mortal(tmp_path, 3))
    path = tmp_path / "conv-steps.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(IntegrityError) as refused:
        fit(view, FileCheckpoint(tmp_path))
    assert refused.value.code == "checkpoint.damaged"


@pytest.mark.usefixtures("short")
def test_the_graph_equals_the_network(view: FitView, tmp_path: Path) -> None:
    encoder = fit(view, FileCheckpoint(tmp_path))
    frame = conv.frame_of(encoder.settings)
    pixels = frame.prepare(view.payloads[:40])
    gradients = runner(gradient_model(frame.size, frame.channels))(pixels)
    net = network.make_network(frame.channels, gradients.shape[1], encoder.arrays["net.trunk.7.bias"].shape[0]).eval()
    net.load_state_dict({k[4:]: torch.from_numpy(v) for k, v in encoder.arrays.items() if k.startswith("net.")})
    with torch.inference_mode():
        learnt = network.forward(net, torch.from_numpy(pixels), torch.from_numpy(gradients)).numpy()
    learnt /= np.linalg.norm(learnt, axis=1, keepdims=True)
    mapped = conv.Projection(encoder.arrays["projection.centre"], encoder.arrays["projection.matrix"]).apply(gradients)
    wanted = np.concatenate([learnt, mapped], axis=1) * np.sqrt(0.5)
    np.testing.assert_allclose(runner(conv.export(encoder).onnx)(pixels), wanted, atol=1e-4)


@pytest.mark.parametrize("size", [16, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_graph_equals_the_network_at_every_size(size: int, channels: int) -> None:
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).random((3, channels, size, size), dtype=np.float32)
    gradients = runner(gradient_model(size, channels))(pixels)
    net = network.make_network(channels, gradients.shape[1], 8)
    for _ in range(3):
        network.forward(net, torch.from_numpy(pixels), torch.from_numpy(gradients))  # moves the running statistics
    net.eval()
    with torch.inference_mode():
        wanted = network.forward(net, torch.from_numpy(pixels), torch.from_numpy(gradients)).numpy()
    g = conv.GraphBuilder(channels, size)
    model = g.model(network.add_network(g, network.network_state(net), conv.add_gradients(g)), 8)
    np.testing.assert_allclose(runner(model)(pixels), wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-4)


def test_views_repeat_with_their_seed_and_stay_pictures() -> None:
    pixels = torch.rand(8, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    one = random_views(pixels, MILD, torch.Generator().manual_seed(1))
    assert torch.equal(one, random_views(pixels, MILD, torch.Generator().manual_seed(1)))
    assert not torch.equal(one, random_views(pixels, MILD, torch.Generator().manual_seed(2)))
    assert one.shape == pixels.shape
    assert float(one.min()) >= 0
    assert float(one.max()) < 1.5


def test_places_gather_what_is_near() -> None:
    """Two rings that cross no line: neighbours share a place, the rings do not."""
    rng = np.random.default_rng(0)
    angle = rng.random(400) * 2 * np.pi
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(400)], axis=1)
    ring[200:] = ring[200:, [0, 2, 1]] * 1.0 + [0, 0, 3.0]
    unit = (ring / np.linalg.norm(ring, axis=1, keepdims=True)).astype(np.float32)
    found = neighbourhood.places(unit)
    same_ring = float((found[:200] @ found[:200].T).mean())
    across = float((found[:200] @ found[200:].T).mean())
    assert same_ring > across + 0.5


def test_a_graph_that_would_take_too_long_is_cut() -> None:
    unit = np.eye(64, dtype=np.float32)
    assert neighbourhood.affordable(unit, 1e9) == 64
    assert neighbourhood.affordable(unit, 1e-9) < 64


def test_a_step_lies_where_the_network_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device "meta", which stands for a card: what lay on the processor would not fit."""
    asked: list[tuple[str, bool]] = []

    def no_autocast(device: str, *, bf16: bool) -> contextlib.nullcontext[None]:
        asked.append((device, bf16))
        return contextlib.nullcontext()

    monkeypatch.setattr(network, "autocast", no_autocast)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 0.5)  # "meta" holds no values
    net = network.make_network(1, 6, 4).to("meta")
    seen: list[str] = []

    def view(block: torch.Tensor) -> torch.Tensor:
        seen.append(block.device.type)
        return block

    teacher = network.Teacher(
        net, network.make_optimiser(net), view, lambda rows: np.zeros((len(rows), 6), np.float32), bf16=True
    )
    pixels, places = torch.zeros(5, 1, 16, 16, dtype=torch.uint8), torch.ones(5, 4)
    network.teach(teacher, pixels, places, 0.5)
    assert asked == [("meta", True)]
    assert seen == ["cpu"]  # views are made on the processor
