"""Images: every mode becomes grey or RGB; what cannot be read is refused before it costs anything."""

import base64
import io
import struct
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.modality.image.modality import IMAGE

CONFIG = DataConfig()
RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def refused(data: bytes, config: DataConfig = CONFIG) -> DataError:
    with pytest.raises(DataError) as caught:
        IMAGE.decode(data, config)
    return caught.value


@pytest.mark.parametrize(
    ("mode", "channels"),
    [
        ("1", 1),
        ("L", 1),
        ("P", 3),
        ("RGB", 3),
        ("RGBA", 3),
        ("LA", 1),
        ("CMYK", 3),
        ("YCbCr", 3),
        ("I;16", 1),
        ("I", 1),
    ],
)
def test_every_mode_becomes_one_or_three_channels_of_bytes(mode: str, channels: int) -> None:
    image = Image.fromarray(RAMP)
    if mode == "I;16":
        image = Image.fromarray(RAMP.astype(np.uint16) * 1_000)
    elif mode == "P":
        image = Image.fromarray(np.dstack([RAMP, RAMP * 2, RAMP * 3])).convert("P")
    else:
        image = image.convert(mode)
    pixels = IMAGE.decode(file_of(image, "TIFF" if mode in ("CMYK", "YCbCr", "I") else "PNG"), CONFIG)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (6, 8, channels)


def test_sixteen_bits_are_scaled_and_a_grey_palette_is_grey() -> None:
    deep = Image.fromarray(np.array([[0, 257 * 100, 65_535]], dtype=np.uint16))
    assert IMAGE.decode(file_of(deep), CONFIG)[0, :, 0].tolist() == [0, 100, 255]
    assert IMAGE.decode(file_of(Image.fromarray(RAMP).convert("P")), CONFIG).shape == (6, 8, 1)


def test_transparency_is_laid_on_white_and_the_camera_is_turned_upright() -> None:
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert (IMAGE.decode(file_of(clear), CONFIG) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = file_of(Image.fromarray(RAMP), "JPEG", exif=exif)
    assert IMAGE.decode(turned, CONFIG).shape == (8, 6, 1)


def test_pixels_round_trip_through_encode() -> None:
    for channels in (1, 3):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
        assert (IMAGE.decode(IMAGE.encode(pixels), CONFIG) == pixels).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = file_of(Image.fromarray(noise), kind)
    assert IMAGE.decode(whole, CONFIG).shape == (64, 64, 3)
    assert refused(whole[: len(whole) // 2]).code == "item.undecodable"


def test_a_changed_byte_of_a_png_is_found() -> None:
    whole = IMAGE.encode(np.random.default_rng(0).integers(0, 256, (9, 9, 1), dtype=np.uint8))
    for place in range(33, len(whole) - 12):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        assert refused(bytes(changed)).code == "item.undecodable"


@pytest.mark.parametrize("data", [b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert refused(data).code == "item.undecodable"


def test_empty_and_oversized_files_are_refused() -> None:
    assert refused(b"").code == "item.empty"
    assert refused(file_of(Image.fromarray(RAMP)), replace(CONFIG, max_item_bytes=10)).code == "item.too_large"


@pytest.mark.parametrize("side", [6_000, 20_000, 60_000])
def test_a_decompression_bomb_is_refused_without_allocating(side: int) -> None:
    data = bomb(side, side)
    tracemalloc.start()
    error = refused(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.code == "item.too_many_pixels"
    assert error.limit == CONFIG.max_pixels
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (3, "item.type"),
        ("not base64!", "item.type"),
        (base64.b64encode(b"junk").decode(), "item.undecodable"),
        ([[0, 256]], "item.range"),
        ([[0, float("nan")]], "item.range"),
        ([[0], [0, 1]], "item.type"),
        ([["a"]], "item.type"),
        ([], "item.type"),
        ([[[1, 2]]], "item.type"),
    ],
)
def test_what_a_request_may_not_hold(value: object, code: str) -> None:
    with pytest.raises(DataError) as caught:
        IMAGE.from_json(value, CONFIG)
    assert caught.value.code == code


def test_a_request_may_hold_a_file_a_data_url_or_lists() -> None:
    data = base64.b64encode(file_of(Image.fromarray(RAMP))).decode()
    for value in (data, f"data:image/png;base64,{data}", RAMP.tolist(), RAMP[:, :, None].tolist()):
        assert (IMAGE.from_json(value, CONFIG)[:, :, 0] == RAMP).all()


def test_operations_end_in_the_graphs_input() -> None:
    steps = [{"op": "to_mode.v1", "channels": 1}, {"op": "resize.v1", "size": 8}, {"op": "stack.v1"}]
    prepare = IMAGE.preparer({"schema": 1, "modality": "image", "steps": steps}, None)  # type: ignore[arg-type]
    out = prepare([np.full((5, 9, 3), 255, np.uint8), np.zeros((8, 8, 1), np.uint8)])["pixels"]
    assert out.shape == (2, 1, 8, 8)
    assert out.dtype == np.float32
    assert (out[0].min(), out[1].max()) == (1.0, 0.0)
