"""The rung `pretrained.v1`: a pretrained encoder that lies on this machine already, frozen, known by its digest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.digests import file_sha256_hex
from passmuster.core.errors import IntegrityError, NotFoundError
from passmuster.core.records import Price
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.text.rungs.bert_graph import bert_graph
from passmuster.modality.text.rungs.known_encoders import TOKENIZER, FoundEncoder, find_encoders, refuse_unusable

FLOPS_PER_TOKEN = 23e6  # of a 6 x 384 encoder, attention over short texts included
EFFICIENCY = 0.7  # of the engine against a plain product of matrices
CHARS_PER_TOKEN = 4.0
MEMORY_BYTES = 780 * 2**20  # weights in the writer, in the engine twice while engines are compared, and a batch
COMPARE_S = 7.5  # loading, making it smaller, and comparing both
N_COMPARED = 512  # texts that are embedded besides, by two engines, to choose between them


def unavailable(config: TrainConfig) -> str:
    """Why there is no encoder to use; "" when there is one. A folder that was named and cannot be used is an error."""
    if not config.pretrained:
        return "switched off (train.pretrained is false)"
    refuse_unusable(config.encoders)
    search = find_encoders(config.encoders)
    if search.found:
        return ""
    refused = f"; refused: {'; '.join(search.refused)}" if search.refused else ""
    return f"no known encoder on this machine (searched train.encoders, the hub cache, installed packages){refused}"


def quote(machine: Machine, profile: Profile) -> Price:
    """Seconds to embed a sample of the pool; fitting is reading."""
    seconds = embedding_s(machine, profile, profile.n_sampled + min(N_COMPARED, 2 * profile.n_pool))
    tokens = _tokens(profile)
    return Price(COMPARE_S + seconds, MEMORY_BYTES, f"{profile.n_sampled} texts of about {tokens:.0f} tokens")


def embedding_s(machine: Machine, profile: Profile, n_texts: int) -> float:
    """Seconds to embed so many texts of the profile's size."""
    return n_texts * _tokens(profile) * FLOPS_PER_TOKEN / (machine.matmul_gflops * 1e9 * EFFICIENCY)


def _tokens(profile: Profile) -> float:
    return min(256.0, profile.mean_size / CHARS_PER_TOKEN + 3.0)


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Name the encoder; its weights stay where they lie and enter the graph."""
    found = _first(view.train)
    digest = np.frombuffer(bytes.fromhex(found.encoder.sha256), np.uint8)
    settings = {"sha256": found.encoder.sha256, "name": found.encoder.name, "licence": found.encoder.licence}
    return Encoder("pretrained.v1", {"sha256": digest}, {**settings, "encoders": list(view.train.encoders)})


def export(encoder: Encoder, taught: Mapping[str, np.ndarray] | None = None) -> EncoderGraph:
    """The encoder's graph, and its tokenizer as an asset; weights in `taught`, by name, take the place of its own.

    Raises
    ------
    IntegrityError
        ``encoder.changed``, as `read_weights`.
    """
    found = named(encoder)
    weights = {**read_weights(found), **(taught or {})}
    known = found.encoder
    steps = [
        {"op": "normalise.v1", "lower": False},
        {"op": "wordpiece.v1", "tokenizer": TOKENIZER, "max_tokens": known.max_tokens},
    ]
    return EncoderGraph(
        onnx=bert_graph(weights, n_heads=known.n_heads, layer_norm_eps=known.layer_norm_eps),
        preprocess={"schema": 1, "modality": "text", "encoder": known.name, "licence": known.licence, "steps": steps},
        assets={TOKENIZER: found.tokenizer.read_bytes()},
    )


def read_weights(found: FoundEncoder) -> dict[str, np.ndarray]:
    """The encoder's tensors by their name in a BERT checkpoint, without prefix.

    Raises
    ------
    IntegrityError
        ``encoder.changed``, when the weights are no longer those that were found.
    """
    from safetensors.numpy import load_file

    if file_sha256_hex(found.weights) != found.encoder.sha256:
        raise IntegrityError("encoder.changed", "the encoder's weights changed while training", where=found.weights)
    return {name.removeprefix("bert."): value for name, value in load_file(found.weights).items()}


def _first(config: TrainConfig) -> FoundEncoder:
    found = find_encoders(config.encoders).found
    if not found:
        raise NotFoundError(
            "encoder.none", unavailable(config), next="name a folder with a known encoder in train.encoders"
        )
    return found[0]


def named(encoder: Encoder) -> FoundEncoder:
    """Where the encoder that was found at the start of the training lies now."""
    search = find_encoders(encoder.settings["encoders"])
    for found in search.found:
        if found.encoder.sha256 == encoder.settings["sha256"]:
            return found
    raise NotFoundError("encoder.none", "the encoder is no longer on this machine", value=encoder.settings["name"])


PRETRAINED = Rung(
    name="pretrained.v1",
    summary="a pretrained encoder found on this machine, frozen",
    unavailable=unavailable,
    quote=quote,
    fit=fit,
    export=export,
    sampled=True,
)
