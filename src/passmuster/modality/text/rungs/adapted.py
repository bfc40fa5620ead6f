"""The rung `adapted.v1`: as `stacked.v1`, with a last layer that is learnt from the raw texts, without labels.

The layer takes every text towards its neighbours in the pool (`learn.places`). It is closed-form and needs nothing but
embeddings that were there before, so it costs a second or two beside them. Adapting the transformer itself by raw texts
was tried as well; what came of it is in docs/log.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.records import Price
from passmuster.learn.places import learn_places, places_flops
from passmuster.modality.base import THROUGH, Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.text.rungs import pretrained, stacked, static

N_LEARNT = 4_000  # texts that the layer is learnt from; 1,032 of AG News taught as much as 2,800 (docs/log.md)
WIDTH = float(sum(static.DIMS.values()) + 384)
EFFICIENCY = 0.25  # of one thread, among other work, against the measured product of matrices
MEMORY_BYTES = 160 * 2**20  # rows, their neighbours, and the layer's equations


def unavailable(config: TrainConfig) -> str:
    """As the pretrained encoder."""
    return pretrained.unavailable(config)


def quote(machine: Machine, profile: Profile) -> Price:
    """Both views, and learning the layer from a sample of them."""
    views = stacked.quote(machine, profile)
    n = min(profile.n_sampled, N_LEARNT)
    seconds = places_flops(n, WIDTH) / (machine.matmul_gflops * 1e9 * EFFICIENCY)
    return Price(views.seconds + seconds, views.memory_bytes + MEMORY_BYTES, f"layer of {n} texts; {views.note}")


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Both views as `stacked.v1` has them, and the layer over them; labels are not read.

    The layer is not checkpointed: a killed fit learns it again, from the same rows to the same weights.
    """
    before = view.fitted.get("stacked.v1") or stacked.fit(view, deadline, checkpoint, rng)
    rows = _rows(view, before, rng)
    arrays = {**before.arrays, THROUGH: learn_places(rows)}
    return Encoder("adapted.v1", arrays, {**before.settings, "n_learnt": len(rows)})


def _rows(view: FitView, before: Encoder, rng: np.random.Generator) -> np.ndarray:
    """Embeddings (n, d) of both views of some of the pool: of what is embedded already, else of a sample."""
    there = [view.embedded[name] for name in stacked.PARTS if name in view.embedded]
    whole = len(there) == len(stacked.PARTS)
    known = np.intersect1d(there[0].positions, there[1].positions) if whole else np.arange(len(view.payloads))
    chosen = np.sort(rng.choice(known, min(N_LEARNT, len(known)), replace=False))
    if not whole:
        return stacked.embed(stacked.export(before), [view.payloads[i] for i in chosen])
    rows = [part.rows[np.searchsorted(part.positions, chosen)] for part in there]
    return np.hstack([s * x for s, x in zip(before.arrays["scales"], rows, strict=True)]).astype(np.float32)


def export(encoder: Encoder) -> EncoderGraph:
    """As `stacked.v1`, and the layer after it."""
    graphs: Sequence[EncoderGraph] = [stacked.export_part(encoder, name) for name in stacked.VIEWS]
    return stacked.side_by_side(graphs, encoder.arrays["scales"], encoder.arrays[THROUGH])


ADAPTED = Rung(
    name="adapted.v1",
    summary="static vectors beside a pretrained encoder, and a layer learnt from the raw texts over both",
    unavailable=unavailable,
    quote=quote,
    fit=fit,
    export=export,
    parts=stacked.PARTS,
    sampled=True,
)
