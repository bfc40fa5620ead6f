"""The rung `distilled.v1`: static vectors whose head learns what a pretrained encoder's model answers about the pool.

What is served is as light as `static.v1`: words looked up and added, no transformer.
"""

from __future__ import annotations

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.records import Price
from passmuster.learn.distilled import distilled_s
from passmuster.learn.folds import N_FOLDS
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.text.rungs import pretrained, static

WIDTH = float(sum(static.DIMS.values()))
MEMORY_BYTES = 300 * 2**20
COPY_S, HEADS_S = 0.1, 1.0  # of the static vectors' graph; of heads, however few the answers


def unavailable(config: TrainConfig) -> str:
    """As the pretrained encoder, which teaches it."""
    return pretrained.unavailable(config)


def quote(machine: Machine, profile: Profile) -> Price:
    """Static vectors, and fits of the head to answers about a sample of the pool."""
    there = static.quote(machine, profile)
    return Price(
        there.seconds + COPY_S,
        max(there.memory_bytes, MEMORY_BYTES),
        f"answers about {profile.n_sampled} texts; {there.note}",
        heads_s=HEADS_S
        + distilled_s(machine.matmul_gflops * 1e9, profile.n_sampled, WIDTH, profile.n_classes, N_FOLDS),
    )


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """The static vectors that were fitted before; the labels and the teacher concern the head alone."""
    before = view.fitted.get("static.v1") or static.fit(view, deadline, checkpoint, rng)
    return Encoder("distilled.v1", {**before.arrays, "scales": np.ones(1, np.float32)}, before.settings)


def export(encoder: Encoder) -> EncoderGraph:
    """As `static.v1`, to the byte: embeddings of the one are embeddings of the other."""
    arrays = {name: array for name, array in encoder.arrays.items() if name != "scales"}
    return static.export(Encoder("static.v1", arrays, encoder.settings))


DISTILLED = Rung(
    name="distilled.v1",
    summary="static vectors that learn the answers of a pretrained encoder's model about the pool",
    unavailable=unavailable,
    quote=quote,
    fit=fit,
    export=export,
    parts=("static.v1",),
    teachers=("pretrained.v1", "stacked.v1", "adapted.v1", "tuned.v1"),
)
