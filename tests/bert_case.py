"""A BERT of random weights, small enough to learn in a second."""

from __future__ import annotations

import numpy as np

WIDTH, N_HEADS, EPSILON, N_WORDS, N_POSITIONS = 16, 2, 1e-12, 40, 16


def random_bert(n_layers: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays under the names of a Hugging Face checkpoint."""
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (N_WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (N_POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    names = ["embeddings.LayerNorm"]
    for layer in range(n_layers):
        prefix = f"encoder.layer.{layer}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{prefix}{part}.weight": (WIDTH, WIDTH), f"{prefix}{part}.bias": (WIDTH,)}
        shapes |= {f"{prefix}intermediate.dense.weight": (4 * WIDTH, WIDTH), f"{prefix}intermediate.dense.bias": (64,)}
        shapes |= {f"{prefix}output.dense.weight": (WIDTH, 4 * WIDTH), f"{prefix}output.dense.bias": (WIDTH,)}
        names += [f"{prefix}attention.output.LayerNorm", f"{prefix}output.LayerNorm"]
    arrays = {name: rng.normal(size=shape).astype(np.float32) * 0.3 for name, shape in shapes.items()}
    for name in names:
        arrays |= {f"{name}.weight": np.ones(WIDTH, np.float32), f"{name}.bias": np.zeros(WIDTH, np.float32)}
    return arrays
