"""Images to the input of graphs that were made elsewhere: what is named, what fits, and what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passmuster.core.errors import UsageError
from passmuster.modality.base import GraphInput
from passmuster.modality.find import modalities
from passmuster.modality.image.feeding import feed

IMAGE = modalities["image"]
COLOUR = GraphInput("x", "float", (None, 3, 2, 4))


def fed(named: dict[str, Any], given: GraphInput, images: list[np.ndarray]) -> np.ndarray:
    return IMAGE.preparer({"steps": feed(named, [given]).steps}, Path())(images)[given.name]


def test_mean_and_std_count_after_the_scale_by_channel() -> None:
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = 255, 51
    named = {"scale": 255, "mean": [0.5, 0.0, 0.2], "std": [0.5, 1.0, 2.0]}
    found = fed(named, COLOUR, [pixels])
    assert (found.shape, found.dtype) == ((1, 3, 2, 4), np.float32)
    np.testing.assert_allclose(found[0, :, 0, 0], [1.0, 0.0, 0.0], atol=1e-6)
    reversed_ = fed({**named, "order": "bgr"}, COLOUR, [pixels])
    np.testing.assert_allclose(reversed_[0, :, 0, 0], [(0.2 - 0.5) / 0.5, 0.0, (1 - 0.2) / 2], atol=1e-6)


def test_grey_images_are_repeated_and_resized_and_layout_is_read_from_the_graph() -> None:
    last = GraphInput("x", "float", (None, 2, 4, 3))
    found = fed({"scale": 1}, last, [np.full((8, 8, 1), 7, np.uint8)])
    assert found.shape == (1, 2, 4, 3)
    assert (found == 7).all()


def test_a_crop_keeps_proportions() -> None:
    wide = np.zeros((10, 30, 1), np.uint8)
    wide[:, 10:20] = 200
    given = GraphInput("x", "uint8", (None, 1, 10, 10))
    found = fed({"fit": "crop", "short": 10}, given, [wide])
    assert found.dtype == np.uint8
    assert (found == 200).all()


def test_a_crop_needs_its_shorter_side_and_a_filter_may_be_named() -> None:
    square = GraphInput("x", "float", (None, 1, 10, 10))
    for short in ({}, {"short": 9}):
        with pytest.raises(UsageError, match="needs short"):
            feed({"scale": 255, "fit": "crop", **short}, [square])
    steps = feed({"scale": 255, "fit": "crop", "short": 12, "filter": "bicubic"}, [square]).steps
    assert steps[1:3] == (
        {"op": "resize_shorter.v1", "size": 12, "filter": "bicubic"}, {"op": "centre_crop.v1", "size": 10},
    )  # fmt: skip
    assert feed({"scale": 255}, [square]).steps[1] == {"op": "resize.v1", "size": [10, 10], "filter": "bilinear"}


def test_an_open_size_is_named() -> None:
    given = GraphInput("x", "float16", (None, 1, None, None))
    with pytest.raises(UsageError, match="say size"):
        feed({"scale": 255}, [given])
    assert fed({"scale": 255, "size": [3, 5]}, given, [np.zeros((8, 8, 1), np.uint8)]).shape == (1, 1, 3, 5)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "say what pixels are divided by"),
        ({"scale": 255, "size": 28}, "size is named 28, and the graph reads 2"),
        ({"scale": 255, "channels": 1}, "channels is named 1, and the graph reads 3"),
        ({"scale": 255, "layout": "nhwc"}, "layout is named nhwc, and the graph is nchw"),
        ({"scale": 255, "layout": "chw"}, "nchw or nhwc, not chw"),
        ({"scale": 0}, "say what pixels are divided by"),
        ({"scale": 255, "mean": [0.5, 0.5]}, "one per channel"),
        ({"scale": 255, "std": 0}, "no std is 0"),
        ({"scale": 255, "fit": "crop", "short": 9}, "cuts a square"),
        ({"scale": 255, "filter": "sharp"}, "not sharp"),
        ({"scale": 255, "short": 9}, "belongs to fit=crop"),
        ({"scale": "much"}, "scale is a number"),
        ({"scale": 255, "colour": "rgb"}, "no preprocessing of images is called colour"),
    ],
)
def test_what_is_not_named_or_contradicts_the_graph(named: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        feed(named, [COLOUR])
    assert caught.value.code == "import.preprocess"
    assert "x: float (any, 3, 2, 4)" in str(caught.value.where)


def test_a_graph_that_reads_no_image() -> None:
    with pytest.raises(UsageError, match="one input of four dimensions"):
        feed({"scale": 255}, [GraphInput("x", "float", (None, 64))])
