"""A vision transformer (Dosovitskiy et al. 2021) or DINOv2 (Oquab et al. 2024) as an ONNX graph of standard operations.

Written from its weights alone. What the folder's processor would do to pixels beyond their size (rescaling, mean and
deviation) is folded into the first product, so that the graph takes pixels in [0, 1] like every other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from passmuster.modality.image.rungs.graphs import GraphBuilder

CUBIC = -0.75  # sharpness of the cubic interpolation, as torch has it

# What a layer's parts are called in a checkpoint of each kind, after ``encoder.layer.<number>.``.
NAMES: dict[str, dict[str, str]] = {
    "vit": {
        "norm1": "layernorm_before", "norm2": "layernorm_after",
        "wide": "intermediate.dense", "back": "output.dense",
    },
    "dinov2": {
        "norm1": "norm1", "norm2": "norm2", "wide": "mlp.fc1", "back": "mlp.fc2",
        "scale1": "layer_scale1.lambda1", "scale2": "layer_scale2.lambda1",
    },
}  # fmt: skip
GATED = {"wide": "mlp.weights_in", "back": "mlp.weights_out"}  # a DINOv2 with a gate (SwiGLU, Shazeer 2020)
QUERY_KEY_VALUE = tuple(f"attention.attention.{part}" for part in ("query", "key", "value"))
ATTENDED = "attention.output.dense"


@dataclass(frozen=True)
class VitShape:
    """What a checkpoint's configuration says. `grid` is the patches a side that its positions were learnt for."""

    kind: str  # "vit" or "dinov2"
    width: int
    n_layers: int
    n_heads: int
    n_hidden: int
    patch: int
    channels: int
    grid: int
    layer_norm_eps: float
    qkv_bias: bool = True
    gated: bool = False

    @property
    def names(self) -> dict[str, str]:
        """What the parts of a layer are called."""
        return {**NAMES[self.kind], **(GATED if self.gated else {})}


def tensor_shapes(shape: VitShape) -> dict[str, tuple[int, ...]]:
    """Every tensor that `vit_graph` reads, by its name in the checkpoint (without prefix), and its shape."""
    d, names = shape.width, shape.names
    found: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, d),
        "embeddings.position_embeddings": (1, 1 + shape.grid**2, d),
        "embeddings.patch_embeddings.projection.weight": (d, shape.channels, shape.patch, shape.patch),
        "embeddings.patch_embeddings.projection.bias": (d,),
        "layernorm.weight": (d,),
        "layernorm.bias": (d,),
    }
    products = {ATTENDED: (d, d), names["back"]: (d, shape.n_hidden)}
    products[names["wide"]] = ((2 if shape.gated else 1) * shape.n_hidden, d)
    for layer in range(shape.n_layers):
        prefix = f"encoder.layer.{layer}."
        for name in QUERY_KEY_VALUE:
            found[f"{prefix}{name}.weight"] = (d, d)
            found |= {f"{prefix}{name}.bias": (d,)} if shape.qkv_bias else {}
        for name, size in products.items():
            found |= {f"{prefix}{name}.weight": size, f"{prefix}{name}.bias": size[:1]}
        for name in (names["norm1"], names["norm2"]):
            found |= {f"{prefix}{name}.weight": (d,), f"{prefix}{name}.bias": (d,)}
        for part in ("scale1", "scale2"):
            found |= {f"{prefix}{names[part]}": (d,)} if part in names else {}
    return found


def embedding_width(shape: VitShape, pooling: str) -> int:
    """Columns of the embedding."""
    return shape.width * (2 if pooling == "both" else 1)


def forward_products(shape: VitShape, size: int) -> float:
    """Multiply-adds of one image of `size` pixels a side, for quotes."""
    d, n = shape.width, (size // shape.patch) ** 2 + 1
    layer = n * d * (4 * d + (3 if shape.gated else 2) * shape.n_hidden) + 2 * n * n * d
    return float(n * d * shape.channels * shape.patch**2 + shape.n_layers * layer)


def vit_graph(
    weights: Mapping[str, np.ndarray],
    shape: VitShape,
    *,
    size: int,
    gain: tuple[float, ...],
    shift: tuple[float, ...],
    pooling: str,
) -> bytes:
    """An ONNX model: ``pixels`` (n, channels, size, size) in [0, 1] to ``embedding`` (n, `embedding_width`).

    Rows have length one.

    Parameters
    ----------
    weights : float32 tensors by the names of `tensor_shapes`
    size : pixels a side; positions are interpolated where they were learnt for another
    gain, shift : per channel, what a pixel in [0, 1] is multiplied by, and what is then added
    pooling : of the last layer, normalised: "cls" the class token, "mean" the mean of the patches, "both" side by side
    """
    return _Writer(weights, shape, size).write(np.array(gain), np.array(shift), pooling)


class _Writer:
    """The parts of the network, written one after the other."""

    def __init__(self, weights: Mapping[str, np.ndarray], shape: VitShape, size: int) -> None:
        self.weights, self.shape = weights, shape
        self.g = GraphBuilder(shape.channels, size)
        self.side = size // shape.patch

    def write(self, gain: np.ndarray, shift: np.ndarray, pooling: str) -> bytes:
        x, names = self.embed(gain, shift), self.shape.names
        for layer in range(self.shape.n_layers):
            prefix = f"encoder.layer.{layer}."
            x = self.g.add("Add", x, self.attend(self.norm(x, prefix + names["norm1"]), prefix))
            x = self.g.add("Add", x, self.think(self.norm(x, prefix + names["norm2"]), prefix))
        return self.g.model(self.pool(self.norm(x, "layernorm"), pooling), embedding_width(self.shape, pooling))

    def embed(self, gain: np.ndarray, shift: np.ndarray) -> str:
        """Patches through the first product, the class token before them, positions added: (n, 1 + patches, width)."""
        g, d, name = self.g, self.shape.width, "embeddings.patch_embeddings.projection"
        weight = self.weights[f"{name}.weight"].astype(np.float64)
        bias = self.weights[f"{name}.bias"] + np.einsum("ocij,c->o", weight, shift)
        weight = weight * gain[:, None, None]
        maps = g.add("Conv", g.pixels, g.constant(weight), g.constant(bias), strides=[self.shape.patch] * 2)
        flat = g.add("Reshape", maps, g.constant(np.array([0, d, self.side**2], np.int64)))
        patches = g.add("Transpose", flat, perm=[0, 2, 1])
        # A row of zeros goes before the patches; the class token is added to it with the first position.
        tokens = g.add("Pad", patches, g.constant(np.array([0, 1, 0, 0, 0, 0], np.int64)))
        rows = resized_positions(self.weights["embeddings.position_embeddings"][0], self.side)
        rows[0] += self.weights["embeddings.cls_token"][0, 0]
        return g.add("Add", tokens, g.constant(rows))

    def norm(self, x: str, name: str) -> str:
        scale, shift = (self.g.constant(self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.g.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=self.shape.layer_norm_eps)

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """`x` times the transposed weight, as torch keeps it, plus bias."""
        g = self.g
        return g.add("Add", g.add("MatMul", x, g.constant(weight.T)), g.constant(bias))

    def attend(self, x: str, prefix: str) -> str:
        g, d, n_heads = self.g, self.shape.width, self.shape.n_heads
        half = (d // n_heads) ** -0.25  # of the scaling, in the query and in the key
        factors = (half, half, 1.0)
        names = [prefix + name for name in QUERY_KEY_VALUE]
        weight = np.concatenate([self.weights[f"{n}.weight"] * f for n, f in zip(names, factors, strict=True)])
        zeros = np.zeros(d, np.float32)
        biases = [self.weights.get(f"{n}.bias", zeros) * f for n, f in zip(names, factors, strict=True)]
        shape = np.array([0, 0, 3, n_heads, d // n_heads], np.int64)
        split = g.add("Reshape", self.linear(x, weight, np.concatenate(biases)), g.constant(shape))
        third = g.constant(np.array([2], np.int64))
        parts = [g.add("Squeeze", g.add("Gather", split, g.constant(np.array([i])), axis=2), third) for i in range(3)]
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        query, key, value = (g.add("Transpose", p, perm=perm) for p, perm in zip(parts, orders, strict=True))
        mixed = g.add("MatMul", g.add("Softmax", g.add("MatMul", query, key), axis=-1), value)
        together = g.add("Transpose", mixed, perm=[0, 2, 1, 3])
        merged = g.add("Reshape", together, g.constant(np.array([0, 0, d], np.int64)))
        return self.linear(merged, *self.scaled(prefix, ATTENDED, "scale1"))

    def think(self, x: str, prefix: str) -> str:
        """The two dense layers, with the exact GELU (Hendrycks & Gimpel 2016) or a gate between them."""
        g, wide = self.g, prefix + self.shape.names["wide"]
        weight, bias = self.weights[f"{wide}.weight"], self.weights[f"{wide}.bias"]
        if self.shape.gated:
            gate, up = (self.linear(x, w, b) for w, b in zip(np.split(weight, 2), np.split(bias, 2), strict=True))
            h = g.add("Mul", g.add("Mul", gate, g.add("Sigmoid", gate)), up)
        else:
            x = self.linear(x, weight, bias)
            bell = g.add("Erf", g.add("Div", x, g.constant(np.float32(math.sqrt(2.0)))))
            half = g.add("Mul", x, g.constant(np.float32(0.5)))
            h = g.add("Mul", half, g.add("Add", bell, g.constant(np.float32(1.0))))
        return self.linear(h, *self.scaled(prefix, self.shape.names["back"], "scale2"))

    def scaled(self, prefix: str, name: str, part: str) -> tuple[np.ndarray, np.ndarray]:
        """A product's weight and bias, times its layer scale (Touvron et al. 2021) where the kind has one."""
        weight, bias = self.weights[f"{prefix}{name}.weight"], self.weights[f"{prefix}{name}.bias"]
        if part not in self.shape.names:
            return weight, bias
        scale = self.weights[prefix + self.shape.names[part]]
        return weight * scale[:, None], bias * scale

    def pool(self, x: str, pooling: str) -> str:
        """Rows of length one."""
        g = self.g

        def cut(start: int, end: int) -> str:
            return g.add("Slice", x, *(g.constant(np.array([v], np.int64)) for v in (start, end, 1)))

        parts = []
        if pooling in ("cls", "both"):
            parts.append(g.unit(g.add("Flatten", cut(0, 1), axis=1)))
        if pooling in ("mean", "both"):
            parts.append(g.unit(g.add("ReduceMean", cut(1, 1 + self.side**2), axes=[1], keepdims=0)))
        if len(parts) == 1:
            return parts[0]
        return g.add("Mul", g.add("Concat", *parts, axis=1), g.constant(np.float32(math.sqrt(0.5))))


def resized_positions(positions: np.ndarray, side: int) -> np.ndarray:
    """Position embeddings (1 + old², d) of a square grid, class token first, for another: (1 + side², d)."""
    old = math.isqrt(len(positions) - 1)
    if old == side:
        return positions.copy()
    across = cubic_matrix(old, side)
    grid = positions[1:].reshape(old, old, -1).astype(np.float64)
    moved = np.einsum("ai,bj,ijd->abd", across, across, grid).reshape(side * side, -1)
    return np.concatenate([positions[:1], moved.astype(np.float32)])


def cubic_matrix(n: int, m: int) -> np.ndarray:
    """What takes n evenly spaced values to m by cubic convolution (Keys 1981), pixel centres aligned, edges repeated.

    >>> bool(np.allclose(cubic_matrix(5, 3).sum(axis=1), 1)), cubic_matrix(3, 3).tolist() == np.eye(3).tolist()
    (True, True)
    """
    matrix = np.zeros((m, n))
    for row in range(m):
        at = (row + 0.5) * n / m - 0.5
        first = math.floor(at) - 1
        for tap in range(first, first + 4):
            away = abs(at - tap)
            near = (CUBIC + 2) * away**3 - (CUBIC + 3) * away**2 + 1
            far = CUBIC * (away**3 - 5 * away**2 + 8 * away - 4)
            matrix[row, min(max(tap, 0), n - 1)] += near if away <= 1 else far
    return matrix
