"""A `transformers` folder with a vision transformer, on this machine: what lies in it, and why one is refused.

Such a folder is not known to Muster: whoever names it vouches for it. Only safetensors are read, which hold numbers and
no code, and the network is written by Muster. The weights' SHA-256 enters the run, and where digests are
configured the weights must have one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.digests import file_sha256_hex, sha256_hex
from passmuster.core.errors import DataError, IntegrityError, NotFoundError
from passmuster.modality.image.rungs import processor
from passmuster.modality.image.rungs.processor import Processor, read_processor
from passmuster.modality.image.rungs.vit_graph import NAMES, VitShape, tensor_shapes

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")  # weights that can run code when they are read
PLAIN = ("F32", "F16")  # kinds of numbers that numpy reads
MAX_BYTES = 1_900_000_000  # of weights in float32: a graph is one message of at most 2 GiB
OTHERWISE = "or take the folder out of train.encoders in muster.toml, or train with --no-pretrained"
# What `transformers` takes where a configuration says nothing.
DEFAULTS = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_channels": 3, "image_size": 224,
    "intermediate_size": 3072, "mlp_ratio": 4, "qkv_bias": True, "hidden_act": "gelu", "use_swiglu_ffn": False,
}  # fmt: skip
OF_KIND: dict[str, dict[str, Any]] = {
    "vit": {"patch_size": 16, "layer_norm_eps": 1e-12},
    "dinov2": {"patch_size": 14, "layer_norm_eps": 1e-6},
}


@dataclass(frozen=True)
class ImageEncoder:
    """An encoder that can be used: where its weights lie and what they are, its network, and how it looks at images."""

    name: str
    weights: Path
    sha256: str
    n_bytes: int
    shape: VitShape
    processor: Processor


def read_encoder(folder: str | Path, digests: Iterable[str] = ()) -> ImageEncoder:
    """What lies in `folder`; its weights must have one of `digests` (SHA-256), where there are any.

    Raises
    ------
    NotFoundError
        ``encoder.no_folder``, ``encoder.no_file``.
    IntegrityError
        ``encoder.pickle``, ``encoder.digest``; ``encoder.weights`` where they are not those of the configuration.
    DataError
        ``encoder.model_type``, ``encoder.config``, ``encoder.processor``.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise NotFoundError(
            "encoder.no_folder", "train.encoders names a folder that is not there", where=path,
            next=f"mend the path, {OTHERWISE}",
        )  # fmt: skip
    weights = path / WEIGHTS
    pickles = sorted(file for file in path.iterdir() if file.suffix.lower() in PICKLES)
    if not weights.is_file() and pickles:
        raise IntegrityError(
            "encoder.pickle", "the encoder's weights are a pickle, which can run code when it is read, and is not",
            where=pickles[0], next=f"put the original's {WEIGHTS} there, {OTHERWISE}",
        )  # fmt: skip
    for name in (CONFIG, WEIGHTS, processor.FILE):
        if not (path / name).is_file():
            raise NotFoundError(
                "encoder.no_file", f"the encoder's folder has no {name}", where=path,
                limit=", ".join((CONFIG, WEIGHTS, processor.FILE)),
                next=f"save model and image processor there with save_pretrained, {OTHERWISE}",
            )  # fmt: skip
    shape = read_shape(_json(path / CONFIG), path / CONFIG)
    looks = read_processor(_json(path / processor.FILE), shape.kind, shape.channels, path / processor.FILE)
    if looks.size < shape.patch:
        raise _config("patch_size", shape.patch, f"{looks.size}, the image's side", path / CONFIG)
    stat = weights.stat()
    sha256 = _digest(weights, stat.st_size, stat.st_mtime_ns)
    wanted = [digest.lower() for digest in digests]
    if wanted and sha256 not in wanted:
        raise IntegrityError(
            "encoder.digest", "the encoder's weights are not those of train.image_encoder_sha256", value=sha256,
            limit=", ".join(wanted), where=weights, next=f"put the original there, {OTHERWISE}",
        )  # fmt: skip
    return ImageEncoder(path.resolve().name, weights, sha256, stat.st_size, shape, looks)


def read_shape(raw: Mapping[str, Any], where: Path) -> VitShape:
    """The network that `raw`, the content of the file `where`, describes; raises as `read_encoder`.

    >>> read_shape({"model_type": "vit", "hidden_size": 192, "num_attention_heads": 3}, Path("config.json")).grid
    14
    """
    kind = raw.get("model_type")
    if kind not in NAMES:
        raise DataError(
            "encoder.model_type", "the encoder is of a kind that is not known here", value=kind,
            limit=" or ".join(NAMES), where=where, next=f"name a folder with one that is, {OTHERWISE}",
        )  # fmt: skip
    given = {**DEFAULTS, **OF_KIND[kind], **{key: value for key, value in raw.items() if value is not None}}
    if given["hidden_act"] != "gelu":
        raise _config("hidden_act", given["hidden_act"], "gelu", where)

    def whole(key: str) -> int:
        value = given[key]
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:  # a height and an equal width
            value = value[0]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _config(key, given[key], "a whole number above 0", where)
        return value

    width, patch, channels = whole("hidden_size"), whole("patch_size"), whole("num_channels")
    if width % whole("num_attention_heads"):
        raise _config("num_attention_heads", given["num_attention_heads"], f"a divisor of {width}", where)
    if channels not in (1, 3):
        raise _config("num_channels", channels, "1 or 3", where)
    if whole("image_size") < patch:
        raise _config("patch_size", patch, f"{given['image_size']}, the image's side", where)
    gated = kind == "dinov2" and bool(given["use_swiglu_ffn"])
    n_hidden = whole("intermediate_size") if kind == "vit" else width * whole("mlp_ratio")
    return VitShape(
        kind=kind,
        width=width,
        n_layers=whole("num_hidden_layers"),
        n_heads=given["num_attention_heads"],
        n_hidden=(n_hidden * 2 // 3 + 7) // 8 * 8 if gated else n_hidden,  # as DINOv2 counts them
        patch=patch,
        channels=channels,
        grid=whole("image_size") // patch,
        layer_norm_eps=float(given["layer_norm_eps"]),
        qkv_bias=bool(given["qkv_bias"]),
        gated=gated,
    )


def check_weights(encoder: ImageEncoder) -> None:
    """Hold the weights' names, shapes and kinds of numbers against the configuration; reads only the file's header.

    Raises
    ------
    IntegrityError
        ``encoder.weights``.
    """
    from safetensors import SafetensorError, safe_open

    n_numbers = sum(int(np.prod(size)) for size in tensor_shapes(encoder.shape).values())
    if 4 * n_numbers > MAX_BYTES:
        raise _weights("are too many for one graph", 4 * n_numbers, MAX_BYTES, encoder.weights)
    try:
        with safe_open(encoder.weights, framework="numpy") as file:
            prefix = _prefix(file.keys())
            for name, size in tensor_shapes(encoder.shape).items():
                if prefix + name not in file.keys():  # noqa: SIM118 (the file is no mapping)
                    raise _weights("lack a tensor that the configuration calls for", None, name, encoder.weights)
                there = file.get_slice(prefix + name)
                if tuple(there.get_shape()) != size:
                    raise _weights(f"have another shape: {name}", there.get_shape(), list(size), encoder.weights)
                if there.get_dtype() not in PLAIN:
                    raise _weights(
                        f"are in numbers that are not read: {name}",
                        there.get_dtype(),
                        ", ".join(PLAIN),
                        encoder.weights,
                    )
    except SafetensorError as error:
        raise _weights(f"cannot be read: {error}", None, "safetensors", encoder.weights) from error


def read_weights(encoder: ImageEncoder) -> dict[str, np.ndarray]:
    """The tensors in float32, by the names of `tensor_shapes`.

    Raises
    ------
    IntegrityError
        ``encoder.changed``, when they are no longer those that were found; ``encoder.weights``.
    NotFoundError
        ``encoder.none``, when they are gone.
    """
    from safetensors.numpy import load

    if not encoder.weights.is_file():
        raise NotFoundError("encoder.none", "the encoder is no longer on this machine", where=encoder.weights)
    data = encoder.weights.read_bytes()
    if sha256_hex(data) != encoder.sha256:
        raise IntegrityError("encoder.changed", "the encoder's weights changed while training", where=encoder.weights)
    check_weights(encoder)
    tensors = load(data)
    prefix = _prefix(tensors)
    weights = {name: tensors[prefix + name].astype(np.float32, copy=False) for name in tensor_shapes(encoder.shape)}
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise _weights("are not all finite", name, "finite numbers", encoder.weights)
    return weights


@lru_cache(maxsize=8)
def _digest(weights: Path, n_bytes: int, mtime_ns: int) -> str:
    """SHA-256 of a file; size and time are there so that a changed one is read again."""
    return file_sha256_hex(weights)


def _prefix(names: Iterable[str]) -> str:
    """What stands before every name in a checkpoint that has a task's head too, such as ``vit.``."""
    mark = "embeddings.cls_token"
    return next((name.removesuffix(mark) for name in names if name.endswith(mark)), "")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            "encoder.config", f"not JSON: {error}", where=path, next=f"mend the file, {OTHERWISE}"
        ) from error
    if not isinstance(found, dict):
        raise DataError(
            "encoder.config", "not a table of settings", value=type(found).__name__, where=path,
            next=f"mend the file, {OTHERWISE}",
        )  # fmt: skip
    return found


def _config(key: str, value: Any, limit: Any, where: Path) -> DataError:
    return DataError(
        "encoder.config", f"the encoder's configuration cannot be used: {key}", value=value, limit=limit, where=where,
        next=f"name another folder, {OTHERWISE}",
    )  # fmt: skip


def _weights(what: str, value: Any, limit: Any, where: Path) -> IntegrityError:
    return IntegrityError(
        "encoder.weights",
        f"the encoder's weights {what}",
        value=value,
        limit=limit,
        where=where,
        next=f"put the original there in float32, {OTHERWISE}",
    )
