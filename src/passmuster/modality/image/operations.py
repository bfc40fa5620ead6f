"""Preprocessing steps of images: lists of ``(h, w, c)`` uint8 in; the last step gives the graph's inputs by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from passmuster.core.tables import Table
from passmuster.modality.base import Operation, Step
from passmuster.modality.image.read import as_image, from_pillow

operations: Table[Operation] = Table("operation")


@operations.entry("to_mode.v1")
def to_mode(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Every image to ``channels`` 1 (grey, ITU-R 601 luma) or 3 (grey repeated).

    >>> to_mode({"channels": 3}, Path())([np.zeros((2, 2, 1), np.uint8)])[0].shape
    (2, 2, 3)
    """
    channels = int(parameters["channels"])

    def one(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[2] == channels:
            return pixels
        return from_pillow(as_image(pixels).convert("L" if channels == 1 else "RGB"))

    return lambda images: [one(pixels) for pixels in images]


@operations.entry("resize.v1")
def resize(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Every image to ``size`` pixels a side, or to ``[height, width]``; bilinear, antialiased, proportions not kept.

    >>> resize({"size": 4}, Path())([np.zeros((9, 5, 3), np.uint8)])[0].shape
    (4, 4, 3)
    """
    size = parameters["size"]
    height, width = (size, size) if isinstance(size, int) else size

    def one(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[:2] == (height, width):
            return pixels
        return from_pillow(as_image(pixels).resize((width, height), Image.Resampling.BILINEAR))

    return lambda images: [one(pixels) for pixels in images]


@operations.entry("stack.v1")
def stack(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Images of one shape to ``{"pixels": (n, c, h, w)}`` float32 in [0, 1].

    >>> stack({}, Path())([np.full((2, 2, 1), 255, np.uint8)])["pixels"].shape
    (1, 1, 2, 2)
    """

    def step(images: list[np.ndarray]) -> dict[str, np.ndarray]:
        pixels = np.stack(images).transpose(0, 3, 1, 2)
        return {"pixels": np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255)}

    return step


@operations.entry("centre_crop.v1")
def centre_crop(parameters: Mapping[str, Any], folder: Path) -> Step:
    """The short side to ``short`` pixels (bilinear, antialiased, in proportion), then the middle ``[height, width]``.

    >>> centre_crop({"short": 6, "size": [4, 4]}, Path())([np.zeros((9, 5, 3), np.uint8)])[0].shape
    (4, 4, 3)
    """
    short, (height, width) = int(parameters["short"]), parameters["size"]

    def one(pixels: np.ndarray) -> np.ndarray:
        h, w = pixels.shape[:2]
        new_h, new_w = max(height, round(h * short / min(h, w))), max(width, round(w * short / min(h, w)))
        if (h, w) != (new_h, new_w):
            pixels = from_pillow(as_image(pixels).resize((new_w, new_h), Image.Resampling.BILINEAR))
        top, left = (new_h - height) // 2, (new_w - width) // 2
        return pixels[top : top + height, left : left + width]

    return lambda images: [one(pixels) for pixels in images]


@operations.entry("standardise.v1")
def standardise(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Images of one shape to what a graph that was made elsewhere reads: ``(pixel / scale - mean) / std``.

    Parameters: ``input``, the graph's name for them; ``layout`` "nchw" or "nhwc"; ``order`` "rgb" or "bgr"; ``scale``;
    ``mean`` and ``std``, one number per channel in that order; ``dtype``.

    >>> step = standardise({"input": "x", "layout": "nhwc", "order": "rgb", "scale": 255, "mean": [0.5], "std": [0.5],
    ...                     "dtype": "float32"}, Path())
    >>> step([np.full((1, 1, 1), 255, np.uint8)])["x"].ravel().tolist()
    [1.0]
    """
    mean, std = (np.asarray(parameters[name], dtype=np.float32) for name in ("mean", "std"))
    scale, dtype = np.float32(parameters["scale"]), np.dtype(parameters["dtype"])

    def step(images: list[np.ndarray]) -> dict[str, np.ndarray]:
        pixels = np.stack(images)
        if parameters["order"] == "bgr":
            pixels = pixels[..., ::-1]
        if dtype.kind == "f":
            pixels = ((pixels.astype(np.float32) / scale - mean) / std).astype(dtype)
        if parameters["layout"] == "nchw":
            pixels = pixels.transpose(0, 3, 1, 2)
        return {parameters["input"]: np.ascontiguousarray(pixels)}

    return step
