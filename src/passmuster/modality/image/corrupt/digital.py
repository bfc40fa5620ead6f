"""Light, colour, warping and files: brightness, contrast, saturation, elastic transform, pixelation, JPEG."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d, map_coordinates

from passmuster.modality.image.corrupt.published import published, to_uint8
from passmuster.modality.image.read import as_image, from_pillow


@published(cifar=(0.05, 0.1, 0.15, 0.2, 0.3), tiny=(0.1, 0.2, 0.3, 0.4, 0.5), imagenet=(0.1, 0.2, 0.3, 0.4, 0.5))
def brightness(x: np.ndarray, more: float, rng: np.random.Generator) -> np.ndarray:
    """The value of hue, saturation and value is raised: every channel in proportion, black becomes grey."""
    value = x.max(axis=2, keepdims=True)
    raised = np.clip(value + np.float32(more), 0, 1)
    return np.asarray(np.where(value > 0, x * (raised / np.where(value > 0, value, 1)), raised))


@published(cifar=(0.75, 0.5, 0.4, 0.3, 0.15), tiny=(0.4, 0.3, 0.2, 0.1, 0.05), imagenet=(0.4, 0.3, 0.2, 0.1, 0.05))
def contrast(x: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Washed out: each channel is drawn towards its mean."""
    mean = x.mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)  # single precision drifts as it adds
    return np.asarray((x - mean) * np.float32(factor) + mean)


@published(
    cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    tiny=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
)
def saturate(x: np.ndarray, c: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Colours fade or glare: saturation times a factor, plus a constant (one of the four validation corruptions).

    A picture with one channel has no colours, and stays as it is.
    """
    if x.shape[2] == 1:
        return x
    value = x.max(axis=2, keepdims=True)
    spread = value - x.min(axis=2, keepdims=True)
    before = np.where(value > 0, spread / np.where(value > 0, value, 1), 0)
    after = np.clip(before * np.float32(c[0]) + np.float32(c[1]), 0, 1)
    scaled = value - (value - x) * (after / np.where(before > 0, before, 1))
    red = value * (1 - after * np.array([0, 1, 1], dtype=np.float32))  # the hue that grey is said to have
    return np.asarray(np.where(before > 0, scaled, red))


@published(
    cifar=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    tiny=((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    imagenet=tuple(
        (strength * 244 / 224, smooth * 244 / 224, shift * 244 / 224)  # published for 244, and applied to 224
        for strength, smooth, shift in (
            (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)
        )
    ),
)  # fmt: skip
def elastic_transform(x: np.ndarray, c: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Stretched: three points move at random, and every pixel a little, neighbours alike; lengths in shorter sides."""
    height, width, n = x.shape
    side = min(height, width)
    strength, smooth, shift = (value * side for value in c)
    moved = rng.uniform(-shift, shift, size=(3, 2))
    dx, dy = (
        strength * (_blur(height, smooth) @ rng.uniform(-1, 1, size=(height, width)) @ _blur(width, smooth).T)
        for _ in range(2)
    )
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    there = _where_from(columns, rows, moved, side)
    out = x
    for at, mode in ((there, "mirror"), ((rows + dy, columns + dx), "reflect")):
        out = np.stack([map_coordinates(out[:, :, i], at, order=1, mode=mode) for i in range(n)], axis=2)
    return out


def _where_from(columns: np.ndarray, rows: np.ndarray, moved: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that each pixel comes from, when three corners of a square in the middle go to ``+ moved``."""
    height, width = columns.shape
    middle, arm = np.array([width // 2, height // 2], dtype=np.float64), side // 3
    source = middle + arm * np.array([[1, 1], [1, -1], [-1, -1]])
    corners = np.column_stack([source + moved, np.ones(3)])
    if abs(np.linalg.det(corners)) < 0.1 * max(arm, 1) ** 2:  # the corners fell nearly on a line
        return rows, columns
    back = np.linalg.solve(corners, source)  # (3, 2): target to source
    return (
        columns * back[0, 1] + rows * back[1, 1] + back[2, 1],
        columns * back[0, 0] + rows * back[1, 0] + back[2, 0],
    )


@lru_cache(maxsize=32)
def _blur(n: int, sigma: float) -> np.ndarray:
    """Gaussian blur of a line of n with reflected ends, cut at three deviations, as a matrix (n, n)."""
    return gaussian_filter1d(np.eye(n), sigma, axis=0, mode="reflect", truncate=3) if sigma > 0 else np.eye(n)


@published(cifar=(0.95, 0.9, 0.85, 0.75, 0.65), tiny=(0.9, 0.8, 0.7, 0.6, 0.5), imagenet=(0.6, 0.5, 0.4, 0.3, 0.25))
def pixelate(x: np.ndarray, keep: float, rng: np.random.Generator) -> np.ndarray:
    """Enlarged from a picture of fewer pixels: `keep` of each side, by areas."""
    image = as_image(to_uint8(x))
    small = image.resize((max(1, int(image.width * keep)), max(1, int(image.height * keep))), Image.Resampling.BOX)
    return from_pillow(small.resize(image.size, Image.Resampling.BOX)) / np.float32(255)


@published(cifar=(80, 65, 58, 50, 40), tiny=(65, 58, 50, 40, 25), imagenet=(25, 18, 15, 10, 7))
def jpeg_compression(x: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    """Saved as JPEG of that quality, and opened again."""
    saved = io.BytesIO()
    as_image(to_uint8(x)).save(saved, "JPEG", quality=quality)
    with Image.open(saved) as image:
        return from_pillow(image) / np.float32(255)
