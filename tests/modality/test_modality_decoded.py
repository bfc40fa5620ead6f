"""Contents are decoded once, as far as there is room."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.core.records import Payload
from passmuster.modality.decoded import Decoded, remembering
from passmuster.modality.find import modalities

CONFIG = DataConfig()


def test_a_content_is_read_once_and_what_does_not_fit_each_time() -> None:
    read: list[bytes] = []

    def of(data: bytes, config: DataConfig) -> Payload:
        read.append(data)
        return data.decode()

    decode = Decoded(of, most_bytes=8)
    assert [decode(data, CONFIG) for data in (b"abcd", b"efgh", b"abcd", b"efgh")] == ["abcd", "efgh", "abcd", "efgh"]
    assert read == [b"abcd", b"efgh", b"efgh"]
    assert decode.n_bytes == 8


def test_what_cannot_be_read_stays_an_error() -> None:
    image = remembering(modalities["image"], 10_000)
    for _ in range(2):
        with pytest.raises(DataError):
            image.decode(b"no picture", CONFIG)


def test_pixels_are_the_same_and_nobody_can_spoil_them_for_others() -> None:
    plain = modalities["image"]
    image, pixels = remembering(plain, 10_000), np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    data = plain.encode(pixels)
    found = np.asarray(image.decode(data, CONFIG))
    assert image.decode(data, CONFIG) is found
    assert np.array_equal(found, pixels)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
