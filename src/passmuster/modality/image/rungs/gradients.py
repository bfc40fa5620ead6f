"""`gradients.v1`: histograms of oriented gradients at two scales, as one ONNX graph. Nothing is learnt.

After Dalal & Triggs (2005), with three changes that help with few labels (docs/log-image.md): gradients keep
their sign, so that light-on-dark differs from dark-on-light; the square root of each cell (a Hellinger kernel,
Arandjelović & Zisserman 2012) stands in place of block normalisation; and two cell sizes are joined. Soft binning by
``cos^8`` replaces the linear interpolation of angles, which needs no arc tangent in the graph.
"""

from __future__ import annotations

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.records import Price
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.image.rungs.graphs import GraphBuilder
from passmuster.modality.image.rungs.pixels import choose_frame, frame_of, frame_settings, working_size
from passmuster.modality.image.rungs.prices import embed_s, look_s

N_ORIENTATIONS = 8
# Cells a side, in pixels, at each working size: about seven or eight cells across, and about four.
CELLS = {16: (4, 8), 28: (4, 7), 32: (4, 8), 64: (8, 16)}
COLOUR_GRID = 4
COLOUR_WEIGHT = 0.5
SQUARED_NOISE = 1e-8  # under the root of the gradient's length, so that flat regions give zero and not 0 / 0


def gradient_filters() -> np.ndarray:
    """Central differences along `N_ORIENTATIONS` directions, (orientations, 1, 3, 3)."""
    angles = 2 * np.pi * np.arange(N_ORIENTATIONS) / N_ORIENTATIONS
    filters = np.zeros((N_ORIENTATIONS, 1, 3, 3), dtype=np.float32)
    filters[:, 0, 1, 2], filters[:, 0, 1, 0] = np.cos(angles), -np.cos(angles)
    filters[:, 0, 2, 1], filters[:, 0, 0, 1] = np.sin(angles), -np.sin(angles)
    return filters


def gradient_width(size: int, channels: int) -> int:
    """How many features `add_gradients` gives."""
    colour = 3 * COLOUR_GRID**2 if channels == 3 else 0
    return sum(N_ORIENTATIONS * (size // cell) ** 2 for cell in CELLS[size]) + colour


def add_gradients(g: GraphBuilder) -> str:
    """Append the features of the graph's pixels, (n, `gradient_width`), of length one.

    Per channel: differences along eight directions, each weighted with the eighth power of its cosine to the gradient;
    the strongest channel counts; averages over cells, their square roots, each scale of length one.
    """
    c, s = g.channels, g.size
    edges = g.add(
        "Conv", g.pad_edges(g.pixels, 1, 1), g.constant(np.tile(gradient_filters(), (c, 1, 1, 1))), group=c
    )  # (n, c * orientations, s, s)
    slopes = g.add("Reshape", edges, g.constant(np.array([-1, c, N_ORIENTATIONS, s, s], dtype=np.int64)))
    squared = g.add("ReduceMean", g.add("Mul", slopes, slopes), axes=[2], keepdims=1)  # half the squared length
    length = g.add("Sqrt", g.add("Add", g.add("Mul", squared, g.constant(np.float32(2))), _noise(g)))
    cosine = g.add("Div", g.add("Relu", slopes), length)
    for _ in range(3):
        cosine = g.add("Mul", cosine, cosine)
    energy = g.add("ReduceMax", g.add("Mul", cosine, length), axes=[1], keepdims=0)  # (n, orientations, s, s)
    scales = []
    for cell in CELLS[s]:
        pooled = g.add("AveragePool", energy, kernel_shape=[cell, cell], strides=[cell, cell])
        scales.append(g.unit(g.add("Flatten", g.add("Sqrt", pooled), axis=1)))
    if c == 3:
        cell = s // COLOUR_GRID
        colour = g.add("AveragePool", g.pixels, kernel_shape=[cell, cell], strides=[cell, cell])
        flat = g.unit(g.add("Flatten", colour, axis=1))
        scales.append(g.add("Mul", flat, g.constant(np.float32(COLOUR_WEIGHT))))
    return g.unit(g.add("Concat", *scales, axis=1))


def _noise(g: GraphBuilder) -> str:
    return g.constant(np.float32(SQUARED_NOISE))


def gradient_model(size: int, channels: int) -> bytes:
    """The whole graph, pixels to features."""
    g = GraphBuilder(channels, size)
    return g.model(add_gradients(g), gradient_width(size, channels))


def available(train: TrainConfig) -> str:
    """Always there."""
    return ""


def quote(machine: Machine, profile: Profile) -> Price:
    """Seconds to look at the pool and to embed it."""
    size = working_size(profile.mean_size**0.5)
    seconds = look_s(profile) + embed_s(machine, profile, size, **gradient_work(size))
    return Price(seconds, 64 * 2**20 + 4 * gradient_width(size, 3) * profile.n_pool)


def gradient_work(size: int) -> dict[str, float]:
    """Multiply-adds and element-wise steps per image, for quotes; between those of one channel and of three."""
    maps = 1.7 * N_ORIENTATIONS * size * size
    return {"products": 9 * maps, "elements": 12 * maps}


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Choose the working size and channels; there is nothing else to fit."""
    return Encoder("gradients.v1", {}, frame_settings(choose_frame(view.payloads)))


def export(encoder: Encoder) -> EncoderGraph:
    """The graph for the chosen size."""
    frame = frame_of(encoder.settings)
    return EncoderGraph(gradient_model(frame.size, frame.channels), frame.preprocess)


GRADIENTS = Rung(
    name="gradients.v1",
    summary="histograms of oriented gradients at two scales; nothing is learnt",
    unavailable=available,
    quote=quote,
    fit=fit,
    export=export,
)
