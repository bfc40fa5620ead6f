"""The network of ModernBERT (Warner et al. 2024) in plain torch, over texts packed into one row without padding.

Normalisation before each part and no biases; rotary positions (Su et al. 2021); gated GELU (Shazeer 2020); where texts
are long, two layers of three look only as far as half a window to each side. Weights have the names of a `modernbert`
checkpoint of Hugging Face, so that the same arrays load there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

EPSILON = 1e-5
THETA = {"global": 160_000.0, "local": 10_000.0}
GLOBAL_EVERY = 3  # the first layer and every third after it see the whole text
INITIAL_SPREAD = 0.02


@dataclass(frozen=True)
class Shape:
    """Sizes of a network. `window` is 0 where every layer sees the whole text, else the width of a local layer's view.

    >>> Shape(n_words=100, width=64, n_layers=2, n_heads=2, hidden=96, max_tokens=32).n_matrix_parameters
    69632
    """

    n_words: int
    width: int
    n_layers: int
    n_heads: int
    hidden: int
    max_tokens: int
    window: int = 0

    @property
    def n_matrix_parameters(self) -> int:
        """Parameters that multiply every token: those of the layers, embeddings left out."""
        return self.n_layers * (4 * self.width**2 + 3 * self.width * self.hidden)

    @property
    def head_width(self) -> int:
        return self.width // self.n_heads

    def reach(self, layer: int) -> int:
        """How many tokens to each side a layer sees; 0 for all."""
        return self.window // 2 if layer % GLOBAL_EVERY else 0


@dataclass(frozen=True)
class Packed:
    """Texts in one row, the shorter first.

    ids, positions, owners : (t,) token, its place in its text, and the number of its text
    borders : (n + 1,) int32, where texts begin and the last one ends
    groups : number and length of texts of one length, in order
    """

    ids: Any
    positions: Any
    owners: Any
    borders: Any
    groups: tuple[tuple[int, int], ...]

    @property
    def n_texts(self) -> int:
        return len(self.borders) - 1


def pack(ids: np.ndarray, lengths: np.ndarray, device: str = "cpu") -> Packed:
    """Texts in one row `ids` (t,), the shorter first, of so many tokens each (n,), on `device`.

    Examples
    --------
    >>> pack(np.array([7, 8, 5, 6, 1, 2, 3]), np.array([2, 2, 3])).groups
    ((2, 2), (1, 3))
    """
    import torch

    sizes, counts = np.unique(lengths, return_counts=True)
    borders = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(borders[-1]) - np.repeat(borders[:-1], lengths)
    rows = (ids, positions, np.repeat(np.arange(len(lengths)), lengths))
    tokens, places, owners = (torch.from_numpy(row.astype(np.int64)).to(device, non_blocking=True) for row in rows)
    return Packed(
        tokens, places, owners, torch.from_numpy(borders.astype(np.int32)).to(device),
        tuple(zip(counts.tolist(), sizes.tolist(), strict=True)),
    )  # fmt: skip


def make_network(shape: Shape, seed: int) -> Any:
    """A new network, its weights drawn from `seed`: the encoder under ``model``, the word predictor under the rest.

    The predictor is a dense layer, a norm and a bias per word; its matrix is the table of the words themselves.
    """
    import torch
    from torch import nn

    def norm() -> Any:
        return nn.LayerNorm(shape.width, eps=EPSILON, bias=False)

    def linear(before: int, after: int) -> Any:
        return nn.Linear(before, after, bias=False)

    layers = []
    for i in range(shape.n_layers):
        attention = {"Wqkv": linear(shape.width, 3 * shape.width), "Wo": linear(shape.width, shape.width)}
        think = {"Wi": linear(shape.width, 2 * shape.hidden), "Wo": linear(shape.hidden, shape.width)}
        parts = {"attn": nn.ModuleDict(attention), "mlp_norm": norm(), "mlp": nn.ModuleDict(think)}
        layers.append(nn.ModuleDict(parts | ({"attn_norm": norm()} if i else {})))
    embeddings = nn.ModuleDict({"tok_embeddings": nn.Embedding(shape.n_words, shape.width), "norm": norm()})
    model = {"embeddings": embeddings, "layers": nn.ModuleList(layers), "final_norm": norm()}
    head = nn.ModuleDict({"dense": linear(shape.width, shape.width), "norm": norm()})
    net = nn.ModuleDict({"model": nn.ModuleDict(model), "head": head})
    net.register_parameter("word_bias", nn.Parameter(torch.zeros(shape.n_words)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim == 2:
                deep = name.endswith("Wo.weight")
                spread = INITIAL_SPREAD / (2 * shape.n_layers) ** 0.5 if deep else INITIAL_SPREAD
                parameter.normal_(0.0, spread, generator=generator)
    return net


def forward(net: Any, shape: Shape, batch: Packed) -> Any:
    """The last layer (t, width) of every token."""
    x = net["model"]["embeddings"]["norm"](net["model"]["embeddings"]["tok_embeddings"](batch.ids))
    turns = {kind: _turns(shape, theta, batch.positions) for kind, theta in THETA.items()}
    for i, layer in enumerate(net["model"]["layers"]):
        reach = shape.reach(i)
        before = layer["attn_norm"](x) if i else x
        qkv = layer["attn"]["Wqkv"](before).view(-1, 3, shape.n_heads, shape.head_width)
        query, key = (_rotate(part, turns["local" if reach else "global"]) for part in qkv[:, :2].unbind(1))
        x = x + layer["attn"]["Wo"](_attend(query, key, qkv[:, 2], batch, reach).flatten(1))
        x = x + _think(layer["mlp"], layer["mlp_norm"](x))
    return net["model"]["final_norm"](x)


def _think(mlp: Any, x: Any) -> Any:
    from torch.nn import functional

    value, gate = mlp["Wi"](x).chunk(2, dim=-1)
    return mlp["Wo"](functional.gelu(value) * gate)


def _turns(shape: Shape, theta: float, positions: Any) -> tuple[Any, Any]:
    """Cosine and sine (t, 1, head width) of every token's place."""
    cosine, sine = _tables_on(shape.max_tokens, shape.head_width, theta, positions.device)
    return cosine[positions][:, None], sine[positions][:, None]


@cache
def _tables_on(n_places: int, width: int, theta: float, device: Any) -> tuple[Any, Any]:
    import torch

    cosine, sine = rotary_tables(n_places, width, theta)
    return torch.from_numpy(cosine).to(device), torch.from_numpy(sine).to(device)


def rotary_tables(n_places: int, width: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine (places, width) float32: pairs (i, i + width / 2) turn with the i-th frequency.

    >>> rotary_tables(4, 8, 10_000.0)[0].shape
    (4, 8)
    """
    frequency = (1.0 / theta ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width))).astype(np.float32)
    angle = np.arange(n_places, dtype=np.float32)[:, None] * np.concatenate([frequency, frequency])
    return np.cos(angle), np.sin(angle)


def _rotate(x: Any, turns: tuple[Any, Any]) -> Any:
    import torch

    cosine, sine = turns
    first, second = x.float().chunk(2, dim=-1)
    return (x * cosine + torch.cat([-second, first], dim=-1) * sine).to(x.dtype)


def _attend(query: Any, key: Any, value: Any, batch: Packed, reach: int) -> Any:
    """Every token's mixture (t, heads, head width) of its own text's values."""
    attend = attend_at_once if query.is_cuda else attend_by_length
    return attend(query, key, value, batch, reach)


def attend_at_once(query: Any, key: Any, value: Any, batch: Packed, reach: int) -> Any:
    """One call over the whole row, in bfloat16: what a card can."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    longest = batch.groups[-1][1]
    window = (reach, reach) if reach else (-1, -1)
    q, k, v = (part.to(torch.bfloat16) for part in (query, key, value))
    return varlen_attn(q, k, v, batch.borders, batch.borders, longest, longest, window_size=window)


def attend_by_length(query: Any, key: Any, value: Any, batch: Packed, reach: int) -> Any:
    """Texts of one length after those of another: each a plain batch without padding."""
    import torch
    from torch.nn import functional

    found, start = [], 0
    for n, length in batch.groups:
        end = start + n * length
        q, k, v = (part[start:end].unflatten(0, (n, length)).transpose(1, 2) for part in (query, key, value))
        near = None
        if reach and length > reach + 1:
            at = torch.arange(length)
            near = (at[:, None] - at).abs() <= reach
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=near)
        found.append(mixed.transpose(1, 2).flatten(0, 1))
        start = end
    return torch.cat(found)


def word_logits(net: Any, x: Any) -> Any:
    """Logits (m, words) of what stood at masked places, from the last layer there (m, width)."""
    from torch.nn import functional

    guess = net["head"]["norm"](functional.gelu(net["head"]["dense"](x)))
    return functional.linear(guess, net["model"]["embeddings"]["tok_embeddings"].weight, net.word_bias)


def mean_of_texts(x: Any, batch: Packed, weight: Any = None) -> Any:
    """Mean (n, width) float32 over each text's tokens (t, width), weighed by `weight` (t,) where given."""
    import torch

    x = x.float()
    weight = torch.ones(len(x), device=x.device) if weight is None else weight
    total = torch.zeros(batch.n_texts, x.shape[1], device=x.device).index_add(0, batch.owners, x * weight[:, None])
    count = torch.zeros(batch.n_texts, device=x.device).index_add(0, batch.owners, weight)
    return total / count.clamp(min=1e-6)[:, None]


def hugging_face_config(shape: Shape, special: Mapping[str, int]) -> dict[str, Any]:
    """``config.json`` with which `transformers.AutoModel` loads the encoder's weights."""
    kinds = ["sliding_attention" if shape.reach(i) else "full_attention" for i in range(shape.n_layers)]
    return {
        "architectures": ["ModernBertModel"],
        "model_type": "modernbert",
        "vocab_size": shape.n_words,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "max_position_embeddings": shape.max_tokens,
        "norm_eps": EPSILON,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_activation": "gelu",
        "global_attn_every_n_layers": GLOBAL_EVERY if shape.window else 1,
        "layer_types": kinds,
        "local_attention": shape.window or 2 * shape.max_tokens,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": THETA["global"]},
            "sliding_attention": {"rope_type": "default", "rope_theta": THETA["local"]},
        },
        "pad_token_id": special["[PAD]"],
        "cls_token_id": special["[CLS]"],
        "bos_token_id": special["[CLS]"],
        "sep_token_id": special["[SEP]"],
        "eos_token_id": special["[SEP]"],
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
