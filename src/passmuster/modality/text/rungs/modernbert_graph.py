"""A ModernBERT encoder as an ONNX graph of standard operations, written from its weights alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from passmuster.modality.text.rungs.modernbert import EPSILON, THETA, Shape, rotary_tables
from passmuster.modality.text.rungs.nodes import MASKED, Nodes


def modernbert_graph(weights: Mapping[str, np.ndarray], shape: Shape) -> bytes:
    """An ONNX model: ``input_ids`` and ``attention_mask`` (n, length) int64 to ``embedding`` (n, width) of unit length.

    The embedding is the mean of the last layer over the tokens that the mask keeps.

    Parameters
    ----------
    weights : tensors by their name in a Hugging Face `modernbert` checkpoint, without prefix
    shape : sizes; no text may be longer than `shape.max_tokens`
    """
    return _Writer(weights, shape).modernbert()


class _Writer(Nodes):
    """The parts of ModernBERT."""

    def __init__(self, weights: Mapping[str, np.ndarray], shape: Shape) -> None:
        super().__init__()
        self.weights, self.shape = weights, shape

    def modernbert(self) -> bytes:
        words = self.op("Gather", [self.constant(self.weights["embeddings.tok_embeddings.weight"]), "input_ids"])
        x = self.norm(words, "embeddings.norm")
        length, kept = self.length(), self.mask_bias()
        turns = {kind: self.turns(theta, length) for kind, theta in THETA.items()}
        bias = {"global": kept, "local": self.add(kept, self.near(length)) if self.shape.window else kept}
        for layer in range(self.shape.n_layers):
            prefix, kind = f"layers.{layer}.", "local" if self.shape.reach(layer) else "global"
            before = self.norm(x, f"{prefix}attn_norm") if layer else x
            x = self.add(x, self.attend(before, bias[kind], turns[kind], f"{prefix}attn."))
            x = self.add(x, self.think(self.norm(x, f"{prefix}mlp_norm"), f"{prefix}mlp."))
        self.pool(self.norm(x, "final_norm"))
        return self.model("modernbert", self.shape.width)

    def norm(self, x: str, name: str) -> str:
        scale = self.constant(self.weights[f"{name}.weight"])
        return self.op("LayerNormalization", [x, scale], axis=-1, epsilon=EPSILON)

    def linear(self, x: str, name: str) -> str:
        """`x` times the transposed weight, as torch keeps it."""
        return self.op("MatMul", [x, self.constant(self.weights[f"{name}.weight"].T)])

    def turns(self, theta: float, length: str) -> tuple[str, str]:
        """Cosine and signed sine (length, 1, head width): the sine's first half is negative, for `rotate`."""
        cosine, sine = rotary_tables(self.shape.max_tokens, self.shape.head_width, theta)
        sine = np.concatenate([-sine[:, : sine.shape[1] // 2], sine[:, sine.shape[1] // 2 :]], axis=1)
        return self.first_rows(cosine[:, None], length), self.first_rows(sine[:, None], length)

    def near(self, length: str) -> str:
        """(length, length): 0 where two tokens are within half a window of each other, else a large negative number."""
        at = np.arange(self.shape.max_tokens)
        far = np.abs(at[:, None] - at) > self.shape.window // 2
        zero, one = (self.constant([v], np.int64) for v in (0, 1))
        rows = self.first_rows(np.where(far, np.float32(MASKED), np.float32(0)), length)
        return self.op("Slice", [rows, zero, length, one])

    def rotate(self, x: str, turns: tuple[str, str]) -> str:
        """Turn pairs (i, i + head width / 2) of `x` (n, length, heads, head width) by their place's angles."""
        half = self.shape.head_width // 2
        first, second = (
            self.op("Slice", [x, *(self.constant([v], np.int64) for v in (start, start + half, 3))])
            for start in (0, half)
        )
        swapped = self.op("Concat", [second, first], axis=-1)
        return self.add(self.op("Mul", [x, turns[0]]), self.op("Mul", [swapped, turns[1]]))

    def attend(self, x: str, bias: str, turns: tuple[str, str], prefix: str) -> str:
        width, n_heads = self.shape.head_width, self.shape.n_heads
        split = self.op(
            "Reshape", [self.linear(x, f"{prefix}Wqkv"), self.constant([0, 0, 3, n_heads, width], np.int64)]
        )
        query, key, value = (self.op("Gather", [split, self.constant(i, np.int64)], axis=2) for i in range(3))
        query = self.op("Transpose", [self.rotate(query, turns)], perm=[0, 2, 1, 3])
        key = self.op("Transpose", [self.rotate(key, turns)], perm=[0, 2, 3, 1])
        value = self.op("Transpose", [value], perm=[0, 2, 1, 3])
        scores = self.op("Mul", [self.op("MatMul", [query, key]), self.constant(width**-0.5)])
        shares = self.op("Softmax", [self.add(scores, bias)], axis=-1)
        mixed = self.op("Transpose", [self.op("MatMul", [shares, value])], perm=[0, 2, 1, 3])
        merged = self.op("Reshape", [mixed, self.constant([0, 0, self.shape.width], np.int64)])
        return self.linear(merged, f"{prefix}Wo")

    def think(self, x: str, prefix: str) -> str:
        """The gated GELU: half of the wide layer, bent, times the other half."""
        wide, hidden = self.linear(x, f"{prefix}Wi"), self.shape.hidden
        value, gate = (
            self.op("Slice", [wide, *(self.constant([v], np.int64) for v in (start, start + hidden, 2))])
            for start in (0, hidden)
        )
        return self.linear(self.op("Mul", [self.gelu(value), gate]), f"{prefix}Wo")
