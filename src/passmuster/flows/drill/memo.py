"""Predictors that remember the healthy encoder's embeddings: what a fault leaves as it was is not computed twice.

A graph is cut at its embedding. Where the part before it, the preprocessing and its files are those of the healthy
bundle, embeddings that were asked before are taken from memory, and only the part behind is run.
A model behind an address has no graph: what it said is remembered (`passmuster.flows.drill.bought`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.records import Payload
from passmuster.flows.drill.bought import Bought, PredictorOnce, is_bought
from passmuster.flows.drill.graphs import split_at_embedding
from passmuster.modality.decoded import Decoded
from passmuster.runtime.bundle import PAYLOAD_FILES, LoadedBundle
from passmuster.runtime.engine import Engine
from passmuster.runtime.predictor import Predictor

MAX_DECODED_BYTES = 512 * 2**20


@dataclass
class Memo:
    """Embeddings by content, of the one encoder that is remembered: the first that was opened."""

    encoder: str = ""
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    n_computed: int = 0  # items that an encoder was asked about
    decode: Decoded | None = None  # contents that were read, as far as there is room
    bought: Bought = field(default_factory=Bought)  # what a model behind an address said

    def open(self, bundle: LoadedBundle) -> Predictor:
        """A predictor that answers as `Predictor` does."""
        return PredictorOnce(bundle, self.bought) if is_bought(bundle) else Remembering(bundle, self)


class Remembering(Predictor):
    """`Predictor`, with the memory of `memo`."""

    def __init__(self, bundle: LoadedBundle, memo: Memo) -> None:
        super().__init__(bundle)
        self._memo = memo
        memo.decode = memo.decode or Decoded(self.modality.decode, MAX_DECODED_BYTES)
        self.modality = replace(self.modality, decode=memo.decode)
        parts = split_at_embedding(bundle.graph)
        self._tail = None if parts is None else Engine(parts[1])
        name = "" if parts is None else encoder_name(bundle, parts[0])
        memo.encoder = memo.encoder or name
        self._known = bool(name) and name == memo.encoder

    def embed(self, payloads: Sequence[Payload]) -> tuple[np.ndarray, np.ndarray]:
        """As `Predictor.embed`."""
        if not self._known or self._tail is None or not len(payloads):
            self._memo.n_computed += len(payloads)
            return super().embed(payloads)
        names = [name_of(payload) for payload in payloads]
        new = list({name: i for i, name in enumerate(names) if name not in self._memo.rows}.values())
        if new:
            self._memo.n_computed += len(new)
            embeddings, _ = super().embed([payloads[i] for i in new])
            self._memo.rows |= {names[i]: row for i, row in zip(new, embeddings, strict=True)}
        found = np.stack([self._memo.rows[name] for name in names])
        return found, self._tail.run({"embedding": found})["logits"].astype(np.float32, copy=False)


def encoder_name(bundle: LoadedBundle, front: bytes) -> str:
    """What an embedding depends on: the graph before it, its engine, the preprocessing and the files of that."""
    assets = {name: digest for name, digest in bundle.manifest.files.items() if name not in PAYLOAD_FILES}
    parts = [sha256_hex(front), to_plain(bundle.manifest.engine), to_plain(bundle.preprocess), assets]
    return sha256_hex(canonical_json(parts))


def name_of(payload: Payload) -> str:
    """A name for a content."""
    if isinstance(payload, str):
        return sha256_hex(payload.encode())
    return f"{payload.shape}{sha256_hex(np.ascontiguousarray(payload).tobytes())}"
