"""Faults in how images become numbers: channels, range, orientation, size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from passmuster.flows.drill.base import NotHereError, Parts, fault
from passmuster.flows.drill.graphs import Insert, before_input, input_shape, node
from passmuster.flows.drill.scene import Scene, steps_of, with_steps

LAST = np.iinfo(np.int64).max


@fault(
    "channel_order.v1", "red and blue are exchanged before the model sees an image", group="packaging",
    touches="preprocessing",
)  # fmt: skip
def channel_order(scene: Scene) -> Parts:
    """Blue, green, red."""
    name, axes, shape = pixels_of(scene)
    if shape[axes[0]] != 3:
        raise NotHereError("these images have no colours")
    order = np.array([2, 1, 0], np.int64)
    return fed(scene, name, lambda a, b: ([node("Gather", [a, "bgr"], b, axis=axes[0])], {"bgr": order}))


@fault("pixel_range.v1", "pixels come as 0 to 255 instead of 0 to 1", group="packaging", touches="preprocessing")
def pixel_range(scene: Scene) -> Parts:
    """The division was left out."""
    name, _, _ = pixels_of(scene)
    most = np.array([255.0], np.float32)
    return fed(scene, name, lambda a, b: ([node("Mul", [a, "range"], b)], {"range": most}))


@fault("centred_twice.v1", "pixels are centred and stretched a second time", group="packaging", touches="preprocessing")
def centred_twice(scene: Scene) -> Parts:
    """Mean and deviation of one half, once more."""
    return fed(scene, pixels_of(scene)[0], scaled_by(2.0, -1.0))


@fault("brightness_inverted.v1", "light and dark are exchanged", group="packaging", touches="preprocessing")
def brightness_inverted(scene: Scene) -> Parts:
    """One minus each pixel."""
    return fed(scene, pixels_of(scene)[0], scaled_by(-1.0, 1.0))


@fault("turned.v1", "rows and columns of every image are exchanged", group="packaging", touches="preprocessing")
def turned(scene: Scene) -> Parts:
    """A transposed array."""
    name, axes, shape = pixels_of(scene)
    if shape[axes[1]] != shape[axes[2]]:
        raise NotHereError("these images are not square")
    order = list(range(4))
    order[axes[1]], order[axes[2]] = axes[2], axes[1]
    return fed(scene, name, lambda a, b: ([node("Transpose", [a], b, perm=order)], {}))


@fault("mirrored.v1", "every image is mirrored", group="packaging", touches="preprocessing")
def mirrored(scene: Scene) -> Parts:
    """An augmentation that was left on."""
    name, axes, _ = pixels_of(scene)

    def insert(a: str, b: str) -> tuple[list[Any], dict[str, np.ndarray]]:
        constants = {"from_end": [-1], "to_start": [-LAST], "of_width": [axes[2]], "backwards": [-1]}
        return [node("Slice", [a, *constants], b)], {key: np.array(value, np.int64) for key, value in constants.items()}

    return fed(scene, name, insert)


@fault("slid.v1", "every image is one pixel further to the right", group="packaging", touches="preprocessing")
def slid(scene: Scene) -> Parts:
    """The last column comes first."""
    name, axes, _ = pixels_of(scene)

    def insert(a: str, b: str) -> tuple[list[Any], dict[str, np.ndarray]]:
        constants = {"minus_one": [-1], "zero": [0], "the_end": [LAST], "of_width": [axes[2]]}
        nodes = [
            node("Slice", [a, "minus_one", "the_end", "of_width"], "last_column"),
            node("Slice", [a, "zero", "minus_one", "of_width"], "other_columns"),
            node("Concat", ["last_column", "other_columns"], b, axis=axes[2]),
        ]
        return nodes, {key: np.array(value, np.int64) for key, value in constants.items()}

    return fed(scene, name, insert)


@fault("few_greys.v1", "images were stored with eight levels of brightness", group="packaging", touches="preprocessing")
def few_greys(scene: Scene) -> Parts:
    """Three bits a channel."""

    def insert(a: str, b: str) -> tuple[list[Any], dict[str, np.ndarray]]:
        nodes = [node("Mul", [a, "levels"], "in_levels"), node("Floor", ["in_levels"], "whole_levels"),
                 node("Div", ["whole_levels", "levels"], b)]  # fmt: skip
        return nodes, {"levels": np.array([8.0], np.float32)}

    return fed(scene, pixels_of(scene)[0], insert)


@fault(
    "thumbnails.v1", "the model is fed thumbnails of half the size, blown up again", group="packaging",
    touches="preprocessing",
)  # fmt: skip
def thumbnails(scene: Scene) -> Parts:
    """A resize before the resize."""
    steps = steps_of(scene.parts)
    at = next((i for i, step in enumerate(steps) if str(step["op"]).startswith("resize")), None)
    image_only(scene)
    if at is None:
        raise NotHereError("nothing resizes images here")
    size: Any = steps[at]["size"]
    half = max(1, size // 2) if isinstance(size, int) else [max(1, s // 2) for s in size]
    return with_steps(scene.parts, [*steps[:at], {"op": "resize.v1", "size": half}, *steps[at:]])


def image_only(scene: Scene) -> None:
    """Refuse another modality."""
    if scene.healthy.manifest.modality != "image":
        raise NotHereError("of images only")


def pixels_of(scene: Scene) -> tuple[str, Sequence[int], list[int | None]]:
    """The graph's input of images: its name, which axes are channels, height and width, and its sizes."""
    image_only(scene)
    last = steps_of(scene.parts)[-1]
    name = str(last.get("input", "pixels"))
    axes = (3, 1, 2) if last.get("layout") == "nhwc" else (1, 2, 3)
    shape = input_shape(scene.parts.graph, name)
    if len(shape) != 4:
        raise NotHereError("the graph's input is no batch of images")
    return name, axes, shape


def fed(scene: Scene, name: str, insert: Insert) -> Parts:
    """The bundle whose graph does this to its images first."""
    return scene.parts.with_(graph=before_input(scene.parts.graph, insert, name=name))


def scaled_by(factor: float, shift: float) -> Insert:
    """Every pixel times `factor`, plus `shift`."""

    def insert(a: str, b: str) -> tuple[list[Any], dict[str, np.ndarray]]:
        nodes = [node("Mul", [a, "pixel_factor"], "pixel_scaled"), node("Add", ["pixel_scaled", "pixel_shift"], b)]
        return nodes, {"pixel_factor": np.array([factor], np.float32), "pixel_shift": np.array([shift], np.float32)}

    return insert
