"""Preprocessing steps of images: lists of ``(h, w, c)`` uint8 in; the last step gives the graph's inputs by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from passmuster.core.tables import Table
from passmuster.modality.base import Operation, Step
from passmuster.modality.image.read import as_image, encode, from_pillow

operations: Table[Operation] = Table("operation")
FILTERS = {f.name.lower(): f for f in Image.Resampling}
MAX_RATIO = (
    8  # of the sides of an image that keeps its proportions; a strip of one pixel's height would fill the memory
)


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
    """Every image to ``size`` pixels a side, or to ``[height, width]``; antialiased, proportions not kept.

    ``filter`` is the name of one of Pillow's, bilinear where none is given.

    >>> resize({"size": 4}, Path())([np.zeros((9, 5, 3), np.uint8)])[0].shape
    (4, 4, 3)
    """
    size = parameters["size"]
    height, width = (size, size) if isinstance(size, int) else size
    filter_name = parameters.get("filter", "bilinear")
    return lambda images: [_resized(pixels, height, width, filter_name) for pixels in images]


@operations.entry("resize_shorter.v1")
def resize_shorter(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Every image so that its shorter side has ``size`` pixels, proportions kept; antialiased by ``filter``.

    Of an image more than eight times as long as wide only the middle is kept, eight to one.

    >>> resize_shorter({"size": 4, "filter": "bicubic"}, Path())([np.zeros((9, 5, 3), np.uint8)])[0].shape
    (7, 4, 3)
    """
    size, filter_name = int(parameters["size"]), parameters["filter"]

    def one(pixels: np.ndarray) -> np.ndarray:
        most = MAX_RATIO * min(pixels.shape[:2])
        pixels = _middle(pixels, min(pixels.shape[0], most), min(pixels.shape[1], most))
        height, width = pixels.shape[:2]
        longer = int(size * max(height, width) / min(height, width))
        return _resized(pixels, *((longer, size) if height > width else (size, longer)), filter_name)

    return lambda images: [one(pixels) for pixels in images]


@operations.entry("centre_crop.v1")
def centre_crop(parameters: Mapping[str, Any], folder: Path) -> Step:
    """The middle ``size`` by ``size`` pixels of every image; none may be smaller.

    >>> centre_crop({"size": 2}, Path())([np.arange(20, dtype=np.uint8).reshape(4, 5, 1)])[0][:, :, 0].tolist()
    [[6, 7], [11, 12]]
    """
    size = int(parameters["size"])
    return lambda images: [_middle(pixels, size, size) for pixels in images]


def _resized(pixels: np.ndarray, height: int, width: int, filter_name: str) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    return from_pillow(as_image(pixels).resize((width, height), FILTERS[filter_name]))


def _middle(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


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


@operations.entry("encoded.v1")
def encoded(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Images as bytes (PNG files), for an endpoint. Parameters: ``input``.

    >>> encoded({"input": "item"}, Path())([np.zeros((2, 2, 1), np.uint8)])["item"][0][1:4]
    b'PNG'
    """
    return lambda images: {parameters["input"]: np.array([encode(pixels) for pixels in images], dtype=object)}
