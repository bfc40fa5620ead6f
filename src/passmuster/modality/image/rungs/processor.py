"""What a folder's ``preprocessor_config.json`` does to an image: preprocessing steps, and a gain and shift of pixels.

Read as `transformers` reads it for ViTImageProcessor (resize to a square) and BitImageProcessor (shorter side, middle).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from passmuster.core.errors import DataError

FILE = "preprocessor_config.json"
SQUARE, SHORTER = "ViTImageProcessor", "BitImageProcessor"
OF_KIND = {"vit": SQUARE, "dinov2": SHORTER}  # where the file does not say which processor it is of
DEFAULTS: dict[str, dict[str, Any]] = {
    SQUARE: {
        "size": 224, "resample": 2, "do_center_crop": False,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    },
    SHORTER: {
        "size": 224, "resample": 3, "do_center_crop": True, "crop_size": 224,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
}  # fmt: skip
ALWAYS = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
DONE = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"}


@dataclass(frozen=True)
class Processor:
    """How an image becomes the network's pixels: `steps` to `size` a side, then times `gain` plus `shift`, per channel.

    `gain` and `shift` are of pixels in [0, 1].
    """

    size: int
    steps: tuple[Mapping[str, Any], ...]
    gain: tuple[float, ...]
    shift: tuple[float, ...]


def read_processor(raw: Mapping[str, Any], kind: str, channels: int, where: Path) -> Processor:
    """The processor that `raw`, the file's content, describes; `where` is the file.

    Raises
    ------
    DataError
        ``encoder.processor``: another processor, or a setting that images of one size do not come out of.

    >>> read_processor({"size": 32}, "vit", 3, Path("x")).gain
    (2.0, 2.0, 2.0)
    """
    said = raw.get("image_processor_type") or raw.get("feature_extractor_type") or OF_KIND[kind]
    name = str(said).removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    if name not in DEFAULTS:
        raise _refused("image_processor_type", said, " or ".join(DEFAULTS), where)
    given = {**ALWAYS, **DEFAULTS[name], **{key: value for key, value in raw.items() if value is not None}}
    for key in sorted(given):
        if key.startswith("do_") and key not in DONE and given[key]:
            raise _refused(key, given[key], "false", where)
    if not given["do_resize"]:
        raise _refused("do_resize", False, "true: the graph takes images of one size", where)
    resize, side = _resize(given, name, where)
    steps: list[Mapping[str, Any]] = [{"op": "to_mode.v1", "channels": channels}, resize]
    if given["do_center_crop"]:
        crop = _side(given.get("crop_size", side), "crop_size", where)
        if crop > side:
            raise _refused("crop_size", crop, f"{side}, what the image is resized to", where)
        steps.append({"op": "centre_crop.v1", "size": crop})
        side = crop
    elif resize["op"] != "resize.v1":
        raise _refused("do_center_crop", False, "true, where proportions are kept", where)
    gain, shift = _colour(given, channels, where)
    return Processor(side, (*steps, {"op": "stack.v1"}), gain, shift)


def _resize(given: Mapping[str, Any], name: str, where: Path) -> tuple[dict[str, Any], int]:
    filters = {int(f.value): f.name.lower() for f in Image.Resampling}
    if given["resample"] not in filters:
        raise _refused("resample", given["resample"], ", ".join(map(str, sorted(filters))), where)
    size = given["size"]
    kept = name == SHORTER if isinstance(size, int) else isinstance(size, Mapping) and set(size) == {"shortest_edge"}
    side = _side(size["shortest_edge"] if kept and isinstance(size, Mapping) else size, "size", where)
    op = "resize_shorter.v1" if kept else "resize.v1"
    return {"op": op, "size": side, "filter": filters[given["resample"]]}, side


def _side(size: Any, key: str, where: Path) -> int:
    """Pixels a side, of a number or of a height and an equal width."""
    if isinstance(size, Mapping) and set(size) == {"height", "width"} and size["height"] == size["width"]:
        size = size["height"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise _refused(key, size, "a whole number, or an equal height and width", where)
    return size


def _colour(given: Mapping[str, Any], channels: int, where: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gain and shift for each channel: ``(255 factor x - mean) / deviation`` of a pixel x in [0, 1]."""
    factor = given["rescale_factor"] if given["do_rescale"] else 1.0
    plain = {"rescale_factor": factor, "image_mean": 0.0, "image_std": 1.0}
    named = ("image_mean", "image_std")
    settings: dict[str, Any] = {key: given[key] if given["do_normalize"] else plain[key] for key in named}
    for key, value in {**settings, "rescale_factor": factor}.items():
        values = value if isinstance(value, list) and key != "rescale_factor" else [value]
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
        if not numbers or (isinstance(value, list) and len(value) != channels):
            raise _refused(key, value, f"a number, or {channels} of them", where)
        if key == "image_std" and min(values) <= 0:
            raise _refused(key, value, "above 0", where)
        settings[key] = values * channels if len(values) == 1 else values
    pairs = list(zip(settings["image_mean"], settings["image_std"], strict=True))
    return tuple(255 * factor / std for _, std in pairs), tuple(-mean / std for mean, std in pairs)


def _refused(key: str, value: Any, limit: Any, where: Path) -> DataError:
    return DataError(
        "encoder.processor", f"the encoder's processor is not one that can be served: {key}", value=value, limit=limit,
        where=where, next="name another folder in train.encoders, or train with --no-pretrained",
    )  # fmt: skip
