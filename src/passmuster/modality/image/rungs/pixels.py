"""At what size and in how many colours a rung looks at the pool, and the pool's pixels as it will see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.records import Payload
from passmuster.modality.image.operations import operations

BATCH = 64  # of the engine: larger ones leave the caches
# The longest side that a working size is for. Small pictures are enlarged: gradients need room.
SIZES = ((12, 16), (28, 28), (48, 32), (1 << 30, 64))


@dataclass(frozen=True)
class Frame:
    """The working size (pixels a side) and channels (1 or 3)."""

    size: int
    channels: int

    @property
    def preprocess(self) -> dict[str, Any]:
        """The bundle's preprocessing: what turns stored images into the graph's input."""
        return {"schema": 1, "modality": "image", "steps": self._steps}

    @property
    def _steps(self) -> list[dict[str, Any]]:
        return [
            {"op": "to_mode.v1", "channels": self.channels},
            {"op": "resize.v1", "size": self.size},
            {"op": "stack.v1"},
        ]

    def prepare(self, payloads: Sequence[Payload]) -> np.ndarray:
        """Pixels (n, c, size, size), float32 in [0, 1]."""
        values: Any = list(payloads)
        for step in self._steps:
            values = operations[step["op"]](step, Path())(values)
        return np.asarray(values["pixels"])

    def prepare_bytes(self, payloads: Sequence[Payload]) -> np.ndarray:
        """The same pixels as uint8 (n, c, size, size): a pool of sixty thousand fits in memory four times over."""
        out = np.empty((len(payloads), self.channels, self.size, self.size), dtype=np.uint8)
        for start in range(0, len(payloads), BATCH):
            block = payloads[start : start + BATCH]
            out[start : start + len(block)] = np.rint(self.prepare(block) * 255)
        return out


def working_size(longest_side: float) -> int:
    """The size for pictures whose longest side is typically this many pixels.

    >>> [working_size(side) for side in (8, 28, 32, 1000)]
    [16, 28, 32, 64]
    """
    return next(size for limit, size in SIZES if longest_side <= limit)


def choose_frame(payloads: Sequence[Payload]) -> Frame:
    """The frame for this pool: its median longest side, and colour if a twentieth of the pictures have it.

    >>> choose_frame([np.zeros((28, 20, 1), np.uint8)] * 3)
    Frame(size=28, channels=1)
    """
    shapes = [np.shape(p) for p in payloads]
    side = float(np.median([max(s[:2]) for s in shapes]))
    coloured = sum(1 for p in _spread(payloads, 200) if _has_colour(np.asarray(p)))
    return Frame(working_size(side), 3 if coloured > 0.05 * min(len(payloads), 200) else 1)


def _spread(payloads: Sequence[Payload], n: int) -> list[Payload]:
    return [payloads[i] for i in np.unique(np.linspace(0, len(payloads) - 1, n).astype(int))]


def _has_colour(pixels: np.ndarray) -> bool:
    """Whether the channels differ by more than compression leaves."""
    return pixels.shape[2] == 3 and bool(np.ptp(pixels.astype(np.int16), axis=2).mean() > 4)


def runner(model: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """The function that a graph computes: pixels, uint8 or float32 in [0, 1], to embeddings (n, d)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(pixels: np.ndarray) -> np.ndarray:
        rows = []
        for start in range(0, len(pixels), BATCH):
            block = pixels[start : start + BATCH]
            if block.dtype == np.uint8:
                block = block.astype(np.float32) / np.float32(255)
            rows.append(session.run(["embedding"], {"pixels": block})[0])
        return np.concatenate(rows)

    return run


def frame_settings(frame: Frame) -> dict[str, Any]:
    """The frame as JSON-ready settings of an encoder."""
    return {"size": frame.size, "channels": frame.channels}


def frame_of(settings: Mapping[str, Any]) -> Frame:
    """The frame that `frame_settings` wrote."""
    return Frame(int(settings["size"]), int(settings["channels"]))
