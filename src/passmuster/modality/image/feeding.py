"""How images become the input of a graph that was made elsewhere, as its owner names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from passmuster.core.errors import UsageError
from passmuster.modality.base import Feeding, GraphInput
from passmuster.modality.image.operations import FILTERS

DTYPES = {"float": "float32", "float16": "float16", "double": "float64", "uint8": "uint8"}
KEYS = ("size", "channels", "layout", "order", "scale", "mean", "std", "fit", "short", "filter")
HELP = (
    "for example --preprocess size=224 --preprocess channels=3 --preprocess layout=nchw --preprocess scale=255 "
    "--preprocess mean=0.485,0.456,0.406 --preprocess std=0.229,0.224,0.225"
)
LARGEST_SIDE = 4_096


def feed(named: Mapping[str, Any], inputs: Sequence[GraphInput]) -> Feeding:
    """Steps from images to the graph's input.

    ``scale`` must be named, because no graph shows it: 255 for pixels from 0 to 1, 1 for pixels from 0 to 255.
    ``mean`` and ``std`` (one number, or one per channel; 0 and 1 when left out) count after that scaling. ``size`` (one
    number, or height and width), ``channels`` and ``layout`` ("nchw" or "nhwc") are taken from the graph where it fixes
    them, and refused where they contradict it. ``order`` is "rgb" or "bgr". ``fit`` is "stretch" (the default), or
    "crop": the shorter side to ``short`` pixels, then the middle; ``filter`` is "bilinear" (the default) or another.

    Raises
    ------
    UsageError
        ``import.preprocess``.

    >>> graph = [GraphInput("x", "float", (None, 1, 28, 28))]
    >>> [step["op"] for step in feed({"scale": 255}, graph).steps]
    ['to_mode.v1', 'resize.v1', 'standardise.v1']
    """
    if unknown := [key for key in named if key not in KEYS]:
        raise _refusal(f"no preprocessing of images is called {unknown[0]}", inputs, limit=", ".join(KEYS))
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].kind not in DTYPES:
        raise _refusal("images go into one input of four dimensions, of " + ", ".join(DTYPES), inputs)
    given = inputs[0]
    layout = _layout(named, given, inputs)
    place = {"c": layout.index("c"), "h": layout.index("h"), "w": layout.index("w")}
    channels = _agreed("channels", _whole(named, "channels", inputs), given.shape[place["c"]], inputs)
    if channels not in (1, 3):
        raise _refusal(f"images have 1 or 3 channels, not {channels}", inputs)
    sides: list[float | None] = [*(_numbers(named, "size", inputs) or (None, None))]
    sides = sides * 2 if len(sides) == 1 else sides
    if len(sides) != 2 or any(s is not None and s != int(s) for s in sides):
        raise _refusal("size is one whole number, or height and width", inputs)
    size = [
        _agreed("size", None if side is None else int(side), given.shape[place[axis]], inputs)
        for side, axis in zip(sides, "hw", strict=True)
    ]
    if not all(1 <= side <= LARGEST_SIDE for side in size):
        raise _refusal(f"a side has from 1 to {LARGEST_SIDE:,} pixels", inputs)
    last = {
        "op": "standardise.v1", "input": given.name, "layout": layout, "dtype": DTYPES[given.kind],
        "order": _word(named, "order", ("rgb", "bgr"), inputs), **_scaling(named, channels, given, inputs),
    }  # fmt: skip
    return Feeding(({"op": "to_mode.v1", "channels": channels}, *_fit(named, size, inputs), last))


def _layout(named: Mapping[str, Any], given: GraphInput, inputs: Sequence[GraphInput]) -> str:
    """As named, else as the graph shows: where 1 or 3 stands."""
    shown = [layout for layout, place in (("nchw", 1), ("nhwc", 3)) if given.shape[place] in (1, 3)]
    if "layout" in named:
        layout = _word(named, "layout", ("nchw", "nhwc"), inputs)
        if shown and layout not in shown:
            raise _refusal(f"layout is named {layout}, and the graph is {shown[0]}", inputs)
        return layout
    if len(shown) != 1:
        raise _refusal("say whether channels come first or last: layout=nchw or layout=nhwc", inputs)
    return shown[0]


def _scaling(
    named: Mapping[str, Any], channels: int, given: GraphInput, inputs: Sequence[GraphInput]
) -> dict[str, Any]:
    if given.kind == "uint8":
        if wrong := [key for key in ("scale", "mean", "std") if key in named]:
            raise _refusal(f"the graph reads pixels as they are (uint8), so {wrong[0]} has no meaning", inputs)
        return {"scale": 1.0, "mean": [0.0] * channels, "std": [1.0] * channels}
    scale = _numbers(named, "scale", inputs)
    if not scale or len(scale) != 1 or not scale[0] > 0:
        raise _refusal("say what pixels are divided by: scale=255 for 0 to 1, scale=1 for 0 to 255", inputs)
    found: dict[str, Any] = {"scale": scale[0]}
    for key, usual in (("mean", 0.0), ("std", 1.0)):
        values = _numbers(named, key, inputs) or [usual]
        values = values * channels if len(values) == 1 else values
        if len(values) != channels or (key == "std" and not all(v > 0 for v in values)):
            raise _refusal(f"{key} is one number, or one per channel ({channels}), and no std is 0", inputs)
        found[key] = values
    return found


def _fit(named: Mapping[str, Any], size: list[int], inputs: Sequence[GraphInput]) -> list[dict[str, Any]]:
    by = _word(named, "filter", ("bilinear", *(name for name in FILTERS if name != "bilinear")), inputs)
    if _word(named, "fit", ("stretch", "crop"), inputs) == "stretch":
        if "short" in named:
            raise _refusal("short belongs to fit=crop", inputs)
        return [{"op": "resize.v1", "size": size, "filter": by}]
    short = _whole(named, "short", inputs)
    if size[0] != size[1]:
        raise _refusal("fit=crop cuts a square, and the graph reads none", inputs)
    if short is None or not size[0] <= short <= LARGEST_SIDE:
        raise _refusal("fit=crop needs short, the pixels of the short side before cropping, as large as size", inputs)
    shorter = {"op": "resize_shorter.v1", "size": short, "filter": by}
    return [shorter, {"op": "centre_crop.v1", "size": size[0]}]


def _agreed(key: str, named: int | None, shown: int | None, inputs: Sequence[GraphInput]) -> int:
    """What was named and what the graph shows, which must not contradict each other."""
    if named is not None and shown is not None and named != shown:
        raise _refusal(f"{key} is named {named}, and the graph reads {shown}", inputs)
    if (found := named if named is not None else shown) is None:
        raise _refusal(f"say {key}: the graph leaves it open", inputs)
    return found


def _word(named: Mapping[str, Any], key: str, allowed: tuple[str, ...], inputs: Sequence[GraphInput]) -> str:
    word = str(named.get(key, allowed[0])).lower()
    if word not in allowed:
        raise _refusal(f"{key} is {' or '.join(allowed)}, not {word}", inputs)
    return word


def _whole(named: Mapping[str, Any], key: str, inputs: Sequence[GraphInput]) -> int | None:
    values = _numbers(named, key, inputs)
    if values is None:
        return None
    if len(values) != 1 or values[0] != int(values[0]):
        raise _refusal(f"{key} is a whole number", inputs)
    return int(values[0])


def _numbers(named: Mapping[str, Any], key: str, inputs: Sequence[GraphInput]) -> list[float] | None:
    if key not in named:
        return None
    values = named[key] if isinstance(named[key], list | tuple) else [named[key]]
    if not values or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise _refusal(f"{key} is a number, or several with commas between", inputs)
    return [float(v) for v in values]


def _refusal(what: str, inputs: Sequence[GraphInput], limit: str | None = None) -> UsageError:
    where = "the graph reads " + "; ".join(map(str, inputs))
    return UsageError("import.preprocess", what, limit=limit, where=where, next=HELP)
