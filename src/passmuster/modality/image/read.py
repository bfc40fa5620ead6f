"""Image files to pixels and back. The header is checked before a single pixel is allocated."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.core.records import Payload
from passmuster.modality.base import Pending

# Formats that Pillow reads by itself; others (EPS, for one) would start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
PREVIEW_PIXELS = 160
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, AttributeError,
    struct.error, zlib.error,
)  # fmt: skip
# `decode` refuses such images itself, at the user's limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(data: bytes, config: DataConfig) -> np.ndarray:
    """Pixels ``(h, w, c)`` uint8, c 1 or 3, of an image file; the first frame where there are several.

    Palette, bilevel, 16 bit, CMYK and the like become grey or RGB, transparency is laid on white, and the camera's
    orientation is applied.

    Raises
    ------
    DataError
        ``item.empty``, ``item.too_large``, ``item.undecodable``, ``item.too_many_pixels`` (nothing was decompressed).
    """
    pixels = open_file(data, config).load()
    assert isinstance(pixels, np.ndarray)
    return pixels


def open_file(data: bytes, config: DataConfig) -> Pending:
    """An image file whose header was read and found good; nothing is decompressed. The errors are those of `decode`."""
    if not data:
        raise DataError("item.empty", "the image file is empty")
    if len(data) > config.max_item_bytes:
        raise DataError("item.too_large", "the image file is too large", value=len(data), limit=config.max_item_bytes)
    with _named_errors(config):
        image = _open(data, config)
    return Pending(image.width * image.height, partial(_load, image, data, config))


def _load(image: Image.Image, data: bytes, config: DataConfig) -> np.ndarray:
    with _named_errors(config), image:
        if image.format == "PNG":
            _check_png(data)
        image.load()
        turned = "exif" in image.info or image.format == "TIFF"
        return _pixels(ImageOps.exif_transpose(image) if turned else image)


@contextlib.contextmanager
def _named_errors(config: DataConfig) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many(str(error), config) from error
    except _BROKEN as error:
        detail = " ".join(str(error).split()).partition(" <_io.")[0] or type(error).__name__
        raise DataError(
            "item.undecodable", f"the image cannot be decoded: {detail}", next="repair or remove the file"
        ) from error


def _open(data: bytes, config: DataConfig) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > config.max_pixels:
        image.close()
        raise _too_many(f"{width} x {height}", config)
    if width * height == 0:
        image.close()
        raise ValueError("the image has no pixels")
    return image


def _check_png(data: bytes) -> None:
    """Compare every chunk's checksum up to the end mark; Pillow, to be fast, does not for the pixels."""
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(f"a checksum is wrong at byte {end}")
        if data[position + 4 : position + 8] == b"IEND":
            return
        position = end + 4
    raise ValueError("the file is cut off")


def _too_many(value: str, config: DataConfig) -> DataError:
    return DataError(
        "item.too_many_pixels",
        "the image would decompress to too many pixels",
        value=value,
        limit=config.max_pixels,
        next="scale it down, or raise data.max_pixels",
    )


def _pixels(image: Image.Image) -> np.ndarray:
    """One or three channels of eight bits."""
    mode = image.mode
    if mode in ("L", "RGB"):
        pass
    elif mode.startswith("I"):  # 16 bits and more: as 16 bits, unless all values fit in eight
        wide = np.asarray(image)
        scale = 257 if wide.size and wide.max() > 255 else 1
        return np.asarray(np.clip(wide // scale, 0, 255).astype(np.uint8)[:, :, None])
    elif mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    elif mode == "1":
        image = image.convert("L")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image).convert("L" if mode in ("LA", "La") else "RGB")
    elif mode == "P":
        image = image.convert("RGB")
        rgb = np.asarray(image)
        if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all():
            image = image.convert("L")
    else:
        image = image.convert("RGB")
    pixels = np.array(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def encode(pixels: Payload) -> bytes:
    """A PNG file of ``(h, w, c)`` uint8; `decode` gives the same pixels back.

    >>> bool((decode(encode(np.full((2, 3, 1), 7, np.uint8)), DataConfig()) == 7).all())
    True
    """
    file = io.BytesIO()
    as_image(np.asarray(pixels)).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def as_image(pixels: np.ndarray) -> Image.Image:
    """A Pillow image, mode L or RGB, of ``(h, w, c)`` uint8."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def from_pillow(image: Image.Image) -> np.ndarray:
    """``(h, w, c)`` uint8 of a Pillow image in mode L or RGB."""
    pixels = np.array(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def open_json(value: Any, config: DataConfig) -> Pending:
    """An image in a request's field: base64 of an image file (or a ``data:`` URL of it), or nested lists 0 to 255.

    Lists are ``[h][w]``, ``[h][w][1]`` or ``[h][w][3]``.

    >>> open_json([[0, 255]], DataConfig()).load().shape
    (1, 2, 1)
    """
    if isinstance(value, str):
        body = value.partition(",")[2] if value.startswith("data:") else value
        try:
            return open_file(base64.b64decode(body, validate=True), config)
        except (binascii.Error, ValueError) as error:
            raise DataError("item.type", f"not base64: {error}", limit="base64 of an image file") from error
    if not isinstance(value, list):
        raise DataError("item.type", "expected an image", value=type(value).__name__, limit="base64 or nested lists")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError("item.type", "rows of different lengths", limit="nested lists of equal lengths") from error
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or array.size == 0 or array.dtype.kind not in "iuf":
        raise DataError("item.type", "not pixels", value=array.shape, limit="(h, w), (h, w, 1) or (h, w, 3) numbers")
    if array.shape[0] * array.shape[1] > config.max_pixels:
        raise _too_many(f"{array.shape[1]} x {array.shape[0]}", config)
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise DataError("item.range", "a pixel lies outside 0 to 255", limit="0 to 255")
    pixels = np.round(array).astype(np.uint8)
    return Pending(pixels.shape[0] * pixels.shape[1], lambda: pixels)


def of_value(value: Any, config: DataConfig) -> np.ndarray:
    """Pixels ``(h, w, c)`` uint8 of an image at hand in Python.

    Takes a uint8 array ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 3)``, a Pillow image, the path or bytes of an image file.

    Raises
    ------
    DataError
        ``item.type`` for anything else; ``item.too_many_pixels``, ``item.unreadable`` and those of `decode`.

    >>> of_value(np.zeros((2, 3), np.uint8), DataConfig()).shape
    (2, 3, 1)
    """
    if isinstance(value, (str, Path)):
        try:
            value = Path(value).read_bytes()
        except (OSError, ValueError) as error:
            raise DataError("item.unreadable", f"the file cannot be read: {error}", value=str(value)[:200]) from error
    if isinstance(value, (bytes, bytearray)):
        return decode(bytes(value), config)
    if isinstance(value, Image.Image):
        if value.width * value.height > config.max_pixels:
            raise _too_many(f"{value.width} x {value.height}", config)
        with _named_errors(config):
            return _pixels(ImageOps.exif_transpose(value))
    limit = "uint8 (h, w), (h, w, 1) or (h, w, 3), a Pillow image, the path or bytes of an image file"
    if not isinstance(value, np.ndarray):
        raise DataError("item.type", "expected an image", value=type(value).__name__, limit=limit)
    pixels = value[:, :, None] if value.ndim == 2 else value
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        raise DataError("item.type", "not pixels", value=f"{value.dtype} {value.shape}", limit=limit)
    if pixels.shape[0] * pixels.shape[1] > config.max_pixels:
        raise _too_many(f"{pixels.shape[1]} x {pixels.shape[0]}", config)
    return np.ascontiguousarray(pixels)


def preview(payload: Payload) -> str:
    """An ``<img>`` with the picture inside, at most 160 pixels a side."""
    pixels = np.asarray(payload)
    image = as_image(pixels)
    if max(image.size) > PREVIEW_PIXELS:
        image.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
    elif max(image.size) < 48:  # small ones grow by whole pixels, so that they can be seen
        factor = 64 // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    data = base64.b64encode(encode(from_pillow(image))).decode()
    height, width = pixels.shape[:2]
    return f'<img class="image" alt="image, {width} by {height} pixels" src="data:image/png;base64,{data}">'
