"""How a published corruption becomes an entry of the table: its constants by the picture's size, pixels in [0, 1].

Hendrycks & Dietterich (2019, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR)
published three sets of constants, for the pictures of CIFAR-10 (32 pixels a side), Tiny ImageNet (64) and ImageNet
(224). They hold for pictures of that size, so a larger picture is spoilt at 224 and enlarged again: noise of one pixel
in a picture of four thousand would be gone before any model sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from PIL import Image

from passmuster.core.errors import UsageError
from passmuster.core.records import Payload
from passmuster.modality.harm import Corruption
from passmuster.modality.image.read import as_image, from_pillow

CIFAR_UP_TO, TINY_UP_TO, LARGEST = 48, 128, 256  # shorter side, in pixels
IMAGENET_SIDE = 224

# Pixels (h, w, c) float32 in [0, 1], the constants of one severity, a generator; the same shape comes back, unclipped.
Body = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


def published(
    *, cifar: tuple[Any, ...], tiny: tuple[Any, ...], imagenet: tuple[Any, ...]
) -> Callable[[Body], Corruption]:
    """Make ``body(pixels, constants, rng)`` a corruption of severity 0 (the identity) to 5, by the picture's size."""

    def make(body: Body) -> Corruption:
        @wraps(body)
        def corrupt(payload: Payload, severity: int, rng: np.random.Generator) -> Payload:
            if not 0 <= severity <= 5:
                raise UsageError("corruption.severity", "no such severity", value=severity, limit="0 to 5")
            if not severity:
                return payload
            pixels = np.asarray(payload)
            small = shrunk(pixels)
            side = min(small.shape[:2])
            constants = cifar if side <= CIFAR_UP_TO else tiny if side <= TINY_UP_TO else imagenet
            spoilt = to_uint8(body(small.astype(np.float32) / np.float32(255), constants[severity - 1], rng))
            return spoilt if small is pixels else resized(spoilt, pixels.shape[1], pixels.shape[0])

        return corrupt

    return make


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """The picture itself, or one too large for the constants at 224 pixels of its shorter side."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    if side <= LARGEST:
        return pixels
    return resized(pixels, round(width * IMAGENET_SIDE / side), round(height * IMAGENET_SIDE / side))


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """By bicubic interpolation, antialiased where it shrinks."""
    return from_pillow(as_image(pixels).resize((width, height), Image.Resampling.BICUBIC))


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """[0, 1] to 0 … 255, rounded; what lies outside is cut."""
    return np.asarray(np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8))


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Grey (h, w, 1) of pixels (h, w, 1 or 3): ITU-R BT.601."""
    if pixels.shape[2] == 1:
        return pixels
    return np.asarray(pixels @ np.array([[0.299], [0.587], [0.114]], dtype=pixels.dtype))


def in_channels(colour: tuple[float, float, float], n: int) -> np.ndarray:
    """A colour (n,), as grey where there is one channel."""
    rgb = np.array(colour, dtype=np.float32)
    return rgb if n == 3 else luminance(rgb.reshape(1, 1, 3)).reshape(1)
