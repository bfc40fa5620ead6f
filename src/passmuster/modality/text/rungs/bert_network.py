"""A BERT encoder (Devlin et al. 2019) in torch, from its weights alone: what `bert_graph.py` writes, for learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Weights = Mapping[str, Any]  # tensors by their name in a Hugging Face BERT checkpoint, without prefix


@dataclass(frozen=True)
class Bert:
    """Weights, and what they do not say: attention heads per layer, and the epsilon of every normalisation."""

    weights: Weights
    n_heads: int
    layer_norm_eps: float

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], n_heads: int, layer_norm_eps: float) -> Bert:
        """From the checkpoint's arrays; integers in it are not weights."""
        import torch

        floats = {name: array for name, array in arrays.items() if array.dtype.kind == "f"}
        weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in floats.items()}
        return cls(weights, n_heads, layer_norm_eps)

    @property
    def device(self) -> str:
        """Where the weights lie: "cpu" or "cuda"."""
        return str(self.weights["embeddings.LayerNorm.weight"].device.type)

    def to(self, device: str) -> Bert:
        """The same on a device; weights that lie there already are not copied."""
        weights = {name: weight.to(device) for name, weight in self.weights.items()}
        return Bert(weights, self.n_heads, self.layer_norm_eps)

    @property
    def n_layers(self) -> int:
        return 1 + max(int(name.split(".")[2]) for name in self.weights if name.startswith("encoder.layer."))

    def enter(self, texts: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Word pieces by number, one list per text, to what the first layer sees (n, length, d), and the mask of it."""
        import torch
        from torch.nn import functional

        ids = torch.zeros(len(texts), max(len(text) for text in texts), dtype=torch.long)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        for row, text in enumerate(texts):
            ids[row, : len(text)], mask[row, : len(text)] = torch.tensor(text), True
        w = self.weights
        ids, mask = ids.to(self.device), mask.to(self.device)
        x = functional.embedding(ids, w["embeddings.word_embeddings.weight"])
        x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = x + w["embeddings.token_type_embeddings.weight"][0]
        return self._norm(x, "embeddings.LayerNorm"), mask

    def layers(self, x: Any, mask: Any, first: int, last: int, dropout: float = 0.0) -> Any:
        """`x` (n, length, d) through the layers from `first` to before `last`; dropout on what each adds."""
        from torch.nn import functional

        kept = None if bool(mask.all()) else mask[:, None, None, :]
        for layer in range(first, last):
            prefix = f"encoder.layer.{layer}."
            added = functional.dropout(self._attend(x, kept, prefix), dropout, training=dropout > 0)
            x = self._norm(x + added, f"{prefix}attention.output.LayerNorm")
            wide = functional.gelu(self._linear(x, f"{prefix}intermediate.dense"))
            added = functional.dropout(self._linear(wide, f"{prefix}output.dense"), dropout, training=dropout > 0)
            x = self._norm(x + added, f"{prefix}output.LayerNorm")
        return x

    def _linear(self, x: Any, name: str) -> Any:
        from torch.nn import functional

        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Any, name: str) -> Any:
        from torch.nn import functional

        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, scale.shape, scale, shift, self.layer_norm_eps)

    def _attend(self, x: Any, kept: Any, prefix: str) -> Any:
        from torch.nn import functional

        n, length, d = x.shape
        query, key, value = (
            self._linear(x, f"{prefix}attention.self.{part}").view(n, length, self.n_heads, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=kept)
        return self._linear(mixed.transpose(1, 2).reshape(n, length, d), f"{prefix}attention.output.dense")


def pooled(x: Any, mask: Any) -> Any:
    """Mean of the last layer over the tokens that the mask keeps, brought to unit length (n, d), float32."""
    from torch.nn import functional

    return functional.normalize((x.float() * mask[:, :, None]).sum(dim=1), dim=1)
