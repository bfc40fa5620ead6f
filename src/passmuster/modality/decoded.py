"""Contents that were decoded before, as far as there is room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from passmuster.core.config import DataConfig
from passmuster.core.records import Payload
from passmuster.modality.base import Modality


@dataclass
class Decoded:
    """`read` that reads a content once, for as long as `most_bytes` hold what was read and what came of it.

    What comes of it may be handed out again, so arrays cannot be written to. The first contents stay.
    """

    read: Callable[[bytes, DataConfig], Payload]
    most_bytes: int
    known: dict[bytes, Payload] = field(default_factory=dict)
    n_bytes: int = 0

    def __call__(self, data: bytes, config: DataConfig) -> Payload:
        found = self.known.get(data)
        if found is not None:
            return found
        found = self.read(data, config)
        n_bytes = len(data) + (len(found) if isinstance(found, str) else found.nbytes)
        if self.n_bytes + n_bytes <= self.most_bytes:
            if isinstance(found, np.ndarray):
                found.setflags(write=False)
            self.known[data] = found
            self.n_bytes += n_bytes
        return found


def remembering(modality: Modality, most_bytes: int) -> Modality:
    """`modality`, which decodes a content once."""
    return replace(modality, decode=Decoded(modality.decode, most_bytes))
