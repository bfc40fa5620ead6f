"""The convolutional encoder in torch: made, taught one step, saved, put back, and written down for serving."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.learn.precision import autocast
from passmuster.learn.steps import optimiser_state, restore_optimisers
from passmuster.modality.image.rungs.graphs import GraphBuilder

MAPS = (32, 64, 128)  # of each convolution
KERNELS, STRIDES = (5, 3, 3), (2, 1, 1)
GRID = 2  # the last maps are averaged over this many cells a side
HIDDEN = 512
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
WARM_UP = 0.1  # share of the steps in which the learning rate rises
NORM_EPSILON = 1e-5  # of every batch normalisation


def make_network(channels: int, n_gradients: int, width: int) -> Any:
    """Convolutions under ``maps``; ``trunk`` takes their averages beside the gradient features, to (n, width)."""
    from torch import channels_last, nn

    layers: list[Any] = []
    before = channels
    for i, (after, kernel, stride) in enumerate(zip(MAPS, KERNELS, STRIDES, strict=True)):
        layers += [nn.MaxPool2d(2, ceil_mode=True)] if i > 1 else []
        layers += [nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        before = after
    n_joined = before * GRID**2 + n_gradients
    trunk = nn.Sequential(
        nn.BatchNorm1d(n_joined, affine=False),
        nn.Linear(n_joined, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, width),
    )
    net: Any = nn.ModuleDict({"maps": nn.Sequential(*layers), "trunk": trunk})  # its type lacks `memory_format`
    return net.to(memory_format=channels_last).train()


def forward(net: Any, pixels: Any, gradients: Any) -> Any:
    """Places (n, width), before they are brought to length one."""
    import torch
    from torch.nn import functional

    maps = net["maps"](pixels.contiguous(memory_format=torch.channels_last))
    averages = functional.adaptive_avg_pool2d(maps, GRID).flatten(1)
    return net["trunk"](torch.cat([averages, gradients], dim=1))


@dataclass(frozen=True)
class Teacher:
    """What a step needs beside the network: random views, their gradient features, and the optimiser.

    Views and features are made on the processor, whatever device the network lies on.
    """

    net: Any
    optimiser: Any
    view: Callable[[Any], Any]
    gradients: Callable[[np.ndarray], np.ndarray]
    bf16: bool = False

    @property
    def device(self) -> str:
        """Where the network lies: "cpu" or "cuda"."""
        return str(next(self.net.parameters()).device.type)


def make_optimiser(net: Any) -> Any:
    """AdamW (Loshchilov & Hutter 2019)."""
    import torch

    return torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def teach(teacher: Teacher, block: Any, wanted: Any, done: float) -> float:
    """One step: a view of each picture (uint8 tensor) is drawn to its place (n, width, rows of length one).

    The learning rate rises over `WARM_UP` and falls to zero by a cosine; `done` in [0, 1) is the share of steps done.
    Returns the mean squared distance per direction, in units of the places' own.
    """
    import torch

    rate = done / WARM_UP if done < WARM_UP else 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))
    for group in teacher.optimiser.param_groups:
        group["lr"] = LEARNING_RATE * max(rate, 1e-3)
    views = teacher.view(block.float() / 255)
    gradients = torch.from_numpy(teacher.gradients(views.numpy()))
    device = teacher.device
    with autocast(device, bf16=teacher.bf16):
        given = forward(teacher.net, views.to(device), gradients.to(device))
    loss = torch.nn.functional.mse_loss(given.float(), wanted.to(device) * wanted.shape[1] ** 0.5)
    teacher.optimiser.zero_grad()
    loss.backward()
    teacher.optimiser.step()
    return float(loss.detach())


def network_state(net: Any) -> dict[str, np.ndarray]:
    """Weights and running statistics as arrays (a count of batches that nothing reads is left out)."""
    state = {k: v for k, v in net.state_dict().items() if not k.endswith(".num_batches_tracked")}
    return {f"net.{k}": v.detach().cpu().numpy().copy() for k, v in state.items()}


def load_network(net: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Put a `network_state` into `net`; a missing or unknown array is an error."""
    import torch

    counts = {k: v for k, v in net.state_dict().items() if k.endswith(".num_batches_tracked")}
    state = {k[4:]: torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith("net.")}
    net.load_state_dict(counts | state)


def training_state(net: Any, optimiser: Any, generator: Any, order: Any) -> dict[str, np.ndarray]:
    """Everything that a resumed run needs to go on as if it had never stopped."""
    arrays = network_state(net) | optimiser_state([optimiser])
    return arrays | {"generator": generator.get_state().numpy().copy(), "order": order.numpy().copy()}


def restore(net: Any, optimiser: Any, generator: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Put a `training_state` back; returns the order of the pool."""
    import torch

    load_network(net, arrays)
    restore_optimisers([optimiser], arrays)
    generator.set_state(torch.from_numpy(arrays["generator"].copy()))
    return torch.from_numpy(arrays["order"].copy())


def add_network(g: GraphBuilder, arrays: Mapping[str, np.ndarray], gradients: str) -> str:
    """Append the network of `network_state`, batch normalisation folded into the weights; rows of length one."""
    maps, position = g.pixels, 0
    for i, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True)):
        if i > 1:
            maps = g.add("MaxPool", maps, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
            position += 1
        scale, shift = _normalisation(arrays, f"net.maps.{position + 1}")
        weight = arrays[f"net.maps.{position}.weight"] * scale[:, None, None, None]
        pads = [kernel // 2] * 4
        maps = g.add("Conv", maps, g.constant(weight), g.constant(shift), pads=pads, strides=[stride] * 2)
        maps = g.add("Relu", maps)
        position += 3
    joined = g.add("Concat", _averages(g, maps), gradients, axis=1)
    scale, shift = _normalisation(arrays, "net.trunk.0")
    rows = joined
    for layer, norm in ((1, 2), (4, 5), (7, None)):
        weight, bias = arrays[f"net.trunk.{layer}.weight"].astype(np.float64), arrays[f"net.trunk.{layer}.bias"]
        if layer == 1:  # the normalisation of the input
            weight, bias = weight * scale, bias + weight @ shift
        if norm is not None:
            out_scale, out_shift = _normalisation(arrays, f"net.trunk.{norm}")
            weight, bias = weight * out_scale[:, None], bias * out_scale + out_shift
        rows = g.add("Gemm", rows, g.constant(weight.T), g.constant(bias.astype(np.float32)))
        rows = g.add("Relu", rows) if norm is not None else rows
    return g.unit(rows)


def _normalisation(arrays: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift that a batch normalisation amounts to once its statistics are fixed."""
    mean, variance = (arrays[f"{name}.running_{k}"].astype(np.float64) for k in ("mean", "var"))
    gain = arrays.get(f"{name}.weight", np.ones_like(mean))
    scale = gain / np.sqrt(variance + NORM_EPSILON)
    return scale, arrays.get(f"{name}.bias", np.zeros_like(mean)) - mean * scale


def _averages(g: GraphBuilder, maps: str) -> str:
    """Means over `GRID` × `GRID` cells as torch's adaptive pooling cuts them, (n, maps * GRID²)."""
    side = math.ceil(g.size / 2)
    for _ in MAPS[2:]:
        side = math.ceil(side / 2)
    cells = np.zeros((GRID, side))
    for i in range(GRID):
        start, end = i * side // GRID, math.ceil((i + 1) * side / GRID)
        cells[i, start:end] = 1 / (end - start)
    shape = np.array([0, MAPS[-1], side * side], dtype=np.int64)
    flat = g.add("Reshape", maps, g.constant(shape))
    return g.add("Flatten", g.add("MatMul", flat, g.constant(np.kron(cells, cells).T)), axis=1)


def forward_products(size: int, channels: int, n_gradients: int) -> float:
    """Multiply-adds of one forward pass, for quotes."""
    side, total, before = math.ceil(size / 2), 0.0, channels
    for i, (after, kernel) in enumerate(zip(MAPS, KERNELS, strict=True)):
        side = math.ceil(side / 2) if i > 1 else side
        total += float(side * side * kernel * kernel * before * after)
        before = after
    return total + HIDDEN * (before * GRID**2 + n_gradients + HIDDEN + 128)
