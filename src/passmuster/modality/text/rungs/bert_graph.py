"""A BERT encoder (Devlin et al. 2019) as an ONNX graph of standard operations, written from its weights alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from passmuster.modality.text.rungs.nodes import Nodes


def bert_graph(weights: Mapping[str, np.ndarray], *, n_heads: int, layer_norm_eps: float) -> bytes:
    """An ONNX model: ``input_ids`` and ``attention_mask`` (n, length) int64 to ``embedding`` (n, d) of unit length.

    The embedding is the mean of the last layer over the tokens that the mask keeps.

    Parameters
    ----------
    weights : tensors by their name in a Hugging Face BERT checkpoint, without prefix
    n_heads : attention heads per layer
    layer_norm_eps : as in the checkpoint's configuration
    """
    return BertWriter(weights, n_heads, layer_norm_eps).bert()


class BertWriter(Nodes):
    """The parts of BERT."""

    def __init__(self, weights: Mapping[str, np.ndarray], n_heads: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.weights, self.n_heads, self.eps = weights, n_heads, layer_norm_eps
        self.d = weights["embeddings.word_embeddings.weight"].shape[1]

    def bert(self) -> bytes:
        self.pool(self.layers())
        return self.model("bert", self.d)

    def layers(self) -> str:
        """What the last layer gives for every token."""
        x, bias = self.embed(), self.mask_bias()
        n_layers = 1 + max(int(name.split(".")[2]) for name in self.weights if name.startswith("encoder.layer."))
        for layer in range(n_layers):
            prefix = f"encoder.layer.{layer}."
            x = self.norm(self.add(x, self.attend(x, bias, prefix)), prefix + "attention.output.LayerNorm")
            x = self.norm(self.add(x, self.think(x, prefix)), prefix + "output.LayerNorm")
        return x

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """`x` times the transposed weight, as torch keeps it, plus bias."""
        return self.add(self.op("MatMul", [x, self.constant(weight.T)]), self.constant(bias))

    def norm(self, x: str, prefix: str) -> str:
        scale, shift = self.weights[f"{prefix}.weight"], self.weights[f"{prefix}.bias"]
        inputs = [x, self.constant(scale), self.constant(shift)]
        return self.op("LayerNormalization", inputs, axis=-1, epsilon=float(self.eps))

    def embed(self) -> str:
        prefix = "embeddings."
        words = self.op("Gather", [self.constant(self.weights[f"{prefix}word_embeddings.weight"]), "input_ids"])
        # Positions and the only token type there is are added beforehand.
        rows = (
            self.weights[f"{prefix}position_embeddings.weight"]
            + self.weights[f"{prefix}token_type_embeddings.weight"][0]
        )
        return self.norm(self.add(words, self.first_rows(rows, self.length())), f"{prefix}LayerNorm")

    def attend(self, x: str, bias: str, prefix: str) -> str:
        width = self.d // self.n_heads
        names = [f"{prefix}attention.self.{part}" for part in ("query", "key", "value")]
        scale = np.float32(width**-0.25)  # half of the scaling in query and half in key
        factors = (scale, scale, np.float32(1.0))
        weight = np.concatenate([self.weights[f"{n}.weight"] * f for n, f in zip(names, factors, strict=True)])
        offset = np.concatenate([self.weights[f"{n}.bias"] * f for n, f in zip(names, factors, strict=True)])
        split = self.op(
            "Reshape", [self.linear(x, weight, offset), self.constant([0, 0, 3, self.n_heads, width], np.int64)]
        )
        parts = [self.op("Gather", [split, self.constant(i, np.int64)], axis=2) for i in range(3)]
        query = self.op("Transpose", [parts[0]], perm=[0, 2, 1, 3])
        key = self.op("Transpose", [parts[1]], perm=[0, 2, 3, 1])
        value = self.op("Transpose", [parts[2]], perm=[0, 2, 1, 3])
        scores = self.op("Softmax", [self.add(self.op("MatMul", [query, key]), bias)], axis=-1)
        mixed = self.op("Transpose", [self.op("MatMul", [scores, value])], perm=[0, 2, 1, 3])
        merged = self.op("Reshape", [mixed, self.constant([0, 0, self.d], np.int64)])
        out = f"{prefix}attention.output.dense"
        return self.linear(merged, self.weights[f"{out}.weight"], self.weights[f"{out}.bias"])

    def think(self, x: str, prefix: str) -> str:
        """The two dense layers with the exact GELU between them."""
        wide, back = f"{prefix}intermediate.dense", f"{prefix}output.dense"
        h = self.linear(x, self.weights[f"{wide}.weight"], self.weights[f"{wide}.bias"])
        return self.linear(self.gelu(h), self.weights[f"{back}.weight"], self.weights[f"{back}.bias"])
