"""The rung `pretrained.v1`: a vision transformer in a folder that the user names, frozen; its digest is recorded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.errors import NotFoundError
from passmuster.core.records import Price
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.image.rungs.encoder_folder import ImageEncoder, check_weights, read_encoder, read_weights
from passmuster.modality.image.rungs.pixels import BATCH
from passmuster.modality.image.rungs.prices import look_s, prepare_s
from passmuster.modality.image.rungs.processor import Processor
from passmuster.modality.image.rungs.vit_graph import VitShape, forward_products, vit_graph

EFFICIENCY = 0.7  # of the engine against a plain product of matrices
N_COMPARED = 256  # images that are embedded besides, by two engines, to choose between them
LOAD_S_PER_BYTE = 2e-8  # digest, graph, quantising, and loading engines
MEMORY_BYTES = 250 * 2**20  # engine and batch of a small network
COPIES = 6.0  # of the weights: as read, in the writer, in its bytes, in the engine, and of a smaller graph


def unavailable(config: TrainConfig) -> str:
    """Why there is no encoder to use; "" when there is one. A folder that was named and cannot be used is an error."""
    if not config.pretrained:
        return "switched off (train.pretrained is false)"
    if not config.encoders:
        return "no folder with an image encoder is named in train.encoders"
    for folder in config.encoders:
        check_weights(read_encoder(folder, config.image_encoder_sha256))
    return ""


def quote(machine: Machine, profile: Profile) -> Price:
    """Seconds to embed a sample of the pool with the first encoder that is named; fitting is reading."""
    found = _first(profile.encoders)
    products = forward_products(found.shape, found.processor.size)
    n = profile.n_sampled + min(N_COMPARED, 2 * profile.n_pool)
    seconds = n * 2 * products / (machine.matmul_gflops * 1e9 * EFFICIENCY)
    seconds += prepare_s(profile, found.processor.size, profile.n_sampled)
    memory = MEMORY_BYTES + int(COPIES * found.n_bytes) + _batch_bytes(found)
    note = f"{found.name}, {products / 1e9:.2f} billion multiply-adds an image"
    return Price(look_s(profile) + LOAD_S_PER_BYTE * found.n_bytes + seconds, memory, note)


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Name the encoder and keep what its folder says of it; its weights stay where they lie and enter the graph."""
    found = _first(view.train.encoders, view.train.image_encoder_sha256)
    settings = {
        "name": found.name, "weights": str(found.weights.resolve()), "sha256": found.sha256, "n_bytes": found.n_bytes,
        "shape": asdict(found.shape), "processor": asdict(found.processor), "pooling": view.train.image_pooling,
    }  # fmt: skip
    digest = np.frombuffer(bytes.fromhex(found.sha256), np.uint8)
    return Encoder("pretrained.v1", {"sha256": digest}, settings)


def export(encoder: Encoder) -> EncoderGraph:
    """The encoder's graph, with its processor as the preprocessing.

    Raises
    ------
    IntegrityError, NotFoundError
        As `read_weights`.
    """
    kept = encoder.settings
    looks = Processor(**kept["processor"])
    shape = VitShape(**kept["shape"])
    found = ImageEncoder(kept["name"], Path(kept["weights"]), kept["sha256"], kept["n_bytes"], shape, looks)
    onnx = vit_graph(
        read_weights(found), shape, size=looks.size, gain=looks.gain, shift=looks.shift, pooling=kept["pooling"]
    )
    origin = {"encoder": found.name, "encoder_sha256": found.sha256}
    return EncoderGraph(onnx, {"schema": 1, "modality": "image", **origin, "steps": list(looks.steps)})


def _first(folders: tuple[str, ...], digests: tuple[str, ...] = ()) -> ImageEncoder:
    if not folders:
        raise NotFoundError(
            "encoder.none", "no folder with an image encoder is named", next="name one in train.encoders of muster.toml"
        )
    return read_encoder(folders[0], digests)


def _batch_bytes(found: ImageEncoder) -> int:
    """Of a batch within one layer: rows, hidden rows and attention, in float32, about two of each at a time."""
    shape = found.shape
    n = (found.processor.size // shape.patch) ** 2 + 1
    each = n * (4 * shape.width + 2 * shape.n_hidden) + 2 * shape.n_heads * n * n
    return 4 * BATCH * (each + 2 * shape.channels * found.processor.size**2)


PRETRAINED = Rung(
    name="pretrained.v1",
    summary="a vision transformer from a folder on this machine, frozen",
    unavailable=unavailable,
    quote=quote,
    fit=fit,
    export=export,
    sampled=True,
)
