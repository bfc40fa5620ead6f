"""`conv.v1`: a small convolutional encoder that learns from every unlabelled picture, joined with gradient histograms.

Two random views of each picture are drawn; the encoder learns to tell which views belong together among all views of the
batch (NT-Xent, Chen et al. 2020, SimCLR, eq. 1). There is no teacher and no queue. The number of steps is fixed after a
short calibration and kept in the checkpoint, so that a killed run goes on to the same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.records import Price
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.image.rungs.gradients import add_gradients, gradient_width, gradient_work
from passmuster.modality.image.rungs.graphs import GraphBuilder
from passmuster.modality.image.rungs.pixels import choose_frame, frame_of, frame_settings, working_size
from passmuster.modality.image.rungs.prices import LOOK_S, embed_s

WIDTHS = (32, 64, 128)
POOL = 2  # the last maps are averaged over this many cells a side
BATCH = 256
LEARNING_RATE = 2e-3
TEMPERATURE = 0.2
MAX_EPOCHS = 120  # more passes over a small pool no longer help
MIN_STEPS = 60
SAVE_EVERY_S = 20.0
IMPORT_S = 4.0
MARGIN = 0.06  # of the time for steps, because steps late in a run may be slower than those measured
STEP_EFFICIENCY = 0.12  # share of the measured matrix-product speed that a training step reaches


def available(train: TrainConfig) -> str:
    """Needs torch."""
    from importlib.util import find_spec

    return "" if find_spec("torch") else "torch is not installed"


def quote(machine: Machine, profile: Profile) -> Price:
    """The least time that is useful: `MIN_STEPS` steps and the embedding of the pool. More time is used when given."""
    size = working_size(profile.mean_size**0.5)
    products = _products(size, 3)
    batch = min(BATCH, profile.n_pool)
    step_s = 2 * batch * 3 * 2 * products / (machine.matmul_gflops * 1e9 * STEP_EFFICIENCY)
    work = gradient_work(size)
    embedding = embed_s(machine, profile, size, products=work["products"] + products, elements=work["elements"])
    seconds = LOOK_S + IMPORT_S + MIN_STEPS * step_s + embedding
    memory = 400 * 2**20 + profile.n_pool * (3 * size * size + 4 * (gradient_width(size, 3) + WIDTHS[-1] * POOL**2))
    return Price(seconds, memory, "uses the time that is left")


def _products(size: int, channels: int) -> float:
    """Multiply-adds of one forward pass."""
    side, total, before = math.ceil(size / 2), 0.0, channels
    for i, width in enumerate(WIDTHS):
        kernel = 5 if i == 0 else 3
        side = math.ceil(side / 2) if i > 1 else side
        total += side * side * kernel * kernel * before * width
        before = width
    return total


@dataclass(frozen=True)
class Plan:
    """What was fixed after calibration."""

    n_steps: int
    batch: int
    bf16: bool


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Train until the planned steps are done or the deadline has come; the latter is recorded."""
    import torch

    frame = choose_frame(view.payloads)
    seed = int(rng.integers(2**31))
    saved = checkpoint.load("conv")
    if saved is not None and saved[1].get("done"):
        return _encoder(saved[0], saved[1])
    pixels = torch.from_numpy(frame.prepare_bytes(view.payloads))
    torch.manual_seed(seed)
    net = _network(frame.channels, frame.size)
    optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    if saved is None:
        plan, step = _plan(net, optimiser, pixels, deadline, generator), 0
        torch.manual_seed(seed)
        net = _network(frame.channels, frame.size)
        optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=1e-4)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(pixels), generator=generator)
    else:
        arrays, settings = saved
        plan, step = Plan(**settings["plan"]), int(settings["step"])
        order = _restore(net, optimiser, generator, arrays)
    last_save = time.monotonic()
    settings = {**frame_settings(frame), "plan": plan.__dict__, "done": False}
    while step < plan.n_steps and not deadline.passed:
        at = step * plan.batch % (len(pixels) // plan.batch * plan.batch)
        if at == 0 and step:
            order = torch.randperm(len(pixels), generator=generator)
        _step(net, optimiser, pixels[order[at : at + plan.batch]], generator, step / plan.n_steps, plan.bf16)
        step += 1
        if time.monotonic() - last_save > SAVE_EVERY_S:
            checkpoint.save("conv", _state(net, optimiser, generator, order), {**settings, "step": step})
            last_save = time.monotonic()
    settings |= {"step": step, "done": True, "truncated": step < plan.n_steps}
    arrays = {k: v for k, v in _state(net, optimiser, generator, order).items() if k.startswith("net.")}
    checkpoint.save("conv", arrays, settings)
    return _encoder(arrays, settings)


def _encoder(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Encoder:
    kept = {k.removeprefix("net.features."): v for k, v in arrays.items() if k.startswith("net.features.")}
    return Encoder("conv.v1", kept, dict(settings))


def _network(channels: int, size: int) -> Any:
    """Features (n, d) under ``features`` and the head of the objective under ``head``."""
    from torch import channels_last, nn

    layers: list[Any] = []
    before = channels
    for i, width in enumerate(WIDTHS):
        if i > 1:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        kernel, stride = (5, 2) if i == 0 else (3, 1)
        layers += [nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    features = nn.Sequential(*layers)
    width = before * POOL**2
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(POOL), nn.Flatten())
    head = nn.Sequential(nn.Linear(width, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128))
    return nn.ModuleDict({"features": features, "pool": pool, "head": head}).to(memory_format=channels_last).train()


def _plan(net: Any, optimiser: Any, pixels: Any, deadline: Deadline, generator: Any) -> Plan:
    """Time some steps, with and without bfloat16 where the processor has it, and fix how many fit."""
    import torch

    batch = max(2, min(BATCH, len(pixels)))
    sample = pixels[:batch]
    native = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
    seconds = {}
    for bf16 in (False, True) if native else (False,):
        _step(net, optimiser, sample, generator, 0.0, bf16)
        _step(net, optimiser, sample, generator, 0.0, bf16)
        start = time.perf_counter()
        for _ in range(4):
            _step(net, optimiser, sample, generator, 0.0, bf16)
        seconds[bf16] = (time.perf_counter() - start) / 4
    bf16 = min(seconds, key=lambda k: seconds[k])
    fits = int(deadline.left_s * (1 - MARGIN) / seconds[bf16])
    enough = math.ceil(MAX_EPOCHS * max(1, len(pixels) // batch))
    return Plan(max(MIN_STEPS, min(fits, max(enough, 10 * MIN_STEPS))), batch, bf16)


def _step(net: Any, optimiser: Any, block: Any, generator: Any, done: float, bf16: bool) -> None:
    """One step of the objective; the learning rate rises over the first tenth and falls to zero (cosine)."""
    import torch

    rate = done / 0.1 if done < 0.1 else 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))
    for group in optimiser.param_groups:
        group["lr"] = LEARNING_RATE * max(rate, 1e-3)
    pixels = block.float() / 255
    views = torch.cat([augment(pixels, generator), augment(pixels, generator)])
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        z = net["head"](net["pool"](net["features"](views.contiguous(memory_format=torch.channels_last))))
    loss = contrast(z.float())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def contrast(z: Any) -> Any:
    """NT-Xent of ``(2 n, d)`` rows whose i-th and (n + i)-th are views of one picture."""
    import torch
    from torch.nn import functional

    z = functional.normalize(z, dim=1)
    n = len(z) // 2
    similar = (z @ z.T / TEMPERATURE).fill_diagonal_(-1e9)
    return functional.cross_entropy(similar, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def augment(pixels: Any, generator: Any) -> Any:
    """A random view of each picture (n, c, h, w) in [0, 1]: small affine map, blur, contrast, a patch cut out.

    No mirror images: digits and letters do not survive them.
    """
    import torch
    from torch.nn import functional

    n, _, h, w = pixels.shape

    def spread(*shape: int) -> Any:
        return torch.rand(*shape, generator=generator) * 2 - 1

    angle, sx = spread(n) * math.radians(12), torch.exp(spread(n) * 0.2)
    sy = sx * torch.exp(spread(n) * 0.1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = torch.cos(angle) * sx, -torch.sin(angle) * sy + spread(n) * 0.1
    theta[:, 1, 0], theta[:, 1, 1] = torch.sin(angle) * sx, torch.cos(angle) * sy
    theta[:, :, 2] = spread(n, 2) * 0.2
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    out = functional.grid_sample(pixels, grid, align_corners=False, padding_mode="border")
    blurred = functional.avg_pool2d(functional.pad(out, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = (torch.rand(n, 1, 1, 1, generator=generator) < 0.3) * torch.rand(n, 1, 1, 1, generator=generator)
    out = (out + (blurred - out) * share).clamp(1e-4, 1)
    out = out ** torch.exp(spread(n, 1, 1, 1) * 0.4) * (1 + spread(n, 1, 1, 1) * 0.4)
    half = torch.rand(n, generator=generator) * 0.3 * h / 2
    rows, columns = torch.arange(h).float()[None], torch.arange(w).float()[None]
    in_rows = (rows - torch.rand(n, 1, generator=generator) * h).abs() < half[:, None]
    in_columns = (columns - torch.rand(n, 1, generator=generator) * w).abs() < half[:, None]
    return out * ~(in_rows[:, :, None] & in_columns[:, None, :])[:, None]


def _state(net: Any, optimiser: Any, generator: Any, order: Any) -> dict[str, np.ndarray]:
    """Everything a resumed run needs."""
    arrays = {f"net.{k}": v.detach().numpy().copy() for k, v in net.state_dict().items()}
    for i, parameter in enumerate(p for g in optimiser.param_groups for p in g["params"]):
        for key, value in optimiser.state[parameter].items():
            arrays[f"optimiser.{i}.{key}"] = value.detach().numpy().copy()
    return arrays | {"generator": generator.get_state().numpy(), "order": order.numpy()}


def _restore(net: Any, optimiser: Any, generator: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Put a state back; returns the order of the pool."""
    import torch

    net.load_state_dict({k[4:]: torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith("net.")})
    for i, parameter in enumerate(p for g in optimiser.param_groups for p in g["params"]):
        prefix = f"optimiser.{i}."
        optimiser.state[parameter] = {
            k.removeprefix(prefix): torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith(prefix)
        }
    generator.set_state(torch.from_numpy(arrays["generator"].copy()))
    return torch.from_numpy(arrays["order"].copy())


def conv_model(encoder: Encoder) -> bytes:
    """The serving graph: folded convolutions, pooled, square-rooted, beside the gradients of the same pixels."""
    frame = frame_of(encoder.settings)
    g = GraphBuilder(frame.channels, frame.size)
    maps, position = g.pixels, 0
    for i, _ in enumerate(WIDTHS):
        if i > 1:
            maps = g.add("MaxPool", maps, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
            position += 1
        a = {k: encoder.arrays[f"{position}.weight"] for k in ("weight",)}
        norm = {k: encoder.arrays[f"{position + 1}.{k}"] for k in ("weight", "bias", "running_mean", "running_var")}
        scale = norm["weight"] / np.sqrt(norm["running_var"] + 1e-5)
        weight, bias = a["weight"] * scale[:, None, None, None], norm["bias"] - norm["running_mean"] * scale
        pad, stride = weight.shape[2] // 2, 2 if i == 0 else 1
        maps = g.add("Conv", maps, g.constant(weight), g.constant(bias), pads=[pad] * 4, strides=[stride] * 2)
        maps = g.add("Relu", maps)
        position += 3
    side = math.ceil(frame.size / 2)
    for _ in WIDTHS[2:]:
        side = math.ceil(side / 2)
    matrix = np.kron(_cells(side), _cells(side)).astype(np.float32).T  # (side * side, POOL * POOL)
    flat = g.add("Reshape", maps, g.constant(np.array([0, WIDTHS[-1], side * side], dtype=np.int64)))
    pooled = g.add("Flatten", g.add("MatMul", flat, g.constant(matrix)), axis=1)
    learnt = g.unit(g.add("Sqrt", pooled))
    width = WIDTHS[-1] * POOL**2 + gradient_width(frame.size, frame.channels)
    return g.model(g.unit(g.add("Concat", learnt, add_gradients(g), axis=1)), width)


def _cells(side: int) -> np.ndarray:
    """Averages over `POOL` cells of a row of `side`, as torch's adaptive pooling cuts them: (POOL, side)."""
    rows = np.zeros((POOL, side))
    for i in range(POOL):
        start, end = i * side // POOL, math.ceil((i + 1) * side / POOL)
        rows[i, start:end] = 1 / (end - start)
    return rows


def export(encoder: Encoder) -> EncoderGraph:
    """The graph for the trained weights."""
    return EncoderGraph(conv_model(encoder), frame_of(encoder.settings).preprocess)


CONV = Rung(
    name="conv.v1",
    summary="a small convolutional encoder taught by pairs of views, beside gradient histograms",
    unavailable=available,
    quote=quote,
    fit=fit,
    export=export,
)
