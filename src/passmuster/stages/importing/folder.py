"""A fine-tuned classifier in a folder as ``transformers`` saves it: configuration, weights, tokenizer, read as data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import DataError, NotFoundError, ResourceError, UsageError
from passmuster.modality.base import Modality
from passmuster.stages.importing.brought import Brought
from passmuster.stages.importing.classes import in_order
from passmuster.stages.importing.graph_file import MAX_BYTES, PICKLES, import_onnx, inputs_of
from passmuster.stages.importing.naming import read_named
from passmuster.stages.importing.rewrite import reduce_to
from passmuster.stages.importing.scores import Scores

CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
MAX_CONFIG_BYTES = 16 * 2**20
CONVERT = "save it with model.save_pretrained(FOLDER, safe_serialization=True)"


def bring_folder(path: Path, modality: Modality, *, preprocess: Sequence[str]) -> Brought:
    """A folder of ``transformers`` for text classification; its graph is written by Muster, and none of its code runs.

    Only ``max_tokens`` may be named of the preprocessing; without it a text is cut where the tokenizer's configuration
    says, or where the model's positions end.

    Raises
    ------
    NotFoundError
        ``import.folder`` for a file that is not there.
    DataError
        ``import.pickle``, ``import.architecture``, ``import.config``, ``import.weights``, ``import.too_large``.
    UsageError
        ``import.preprocess``, ``import.modality``.
    """
    from passmuster.modality.text.rungs.bert_classifier import FAMILIES, classifier_graph

    if modality.name != "text":
        raise UsageError("import.modality", "folders are of models for texts", value=modality.name, limit="text")
    config = read_json(path / CONFIG)
    name = next(iter(config.get("architectures") or ()), "")
    if name not in FAMILIES:
        raise DataError(
            "import.architecture", "no such architecture is known here", value=name or "none named",
            limit=", ".join(FAMILIES), where=path / CONFIG,
            next="export the model to ONNX yourself, and muster import MODEL.onnx",
        )  # fmt: skip
    data = read_weights(path)
    made = classifier_graph(name, config, tensors_of(data, path / WEIGHTS))
    classes = classes_of(config, path / CONFIG)
    model = import_onnx().load_model_from_string(made.onnx)
    feeding = modality.feed(feed_named(path, preprocess, made.max_tokens), inputs_of(model))
    source = {
        "format": "transformers", "file": path.resolve().name, "sha256": sha256_hex(data), "n_bytes": len(data),
        "producer": f"{name}, transformers {config.get('transformers_version', '')}".strip()[:100], "output": "logits",
    }  # fmt: skip
    scores = Scores("logits", "logits", classes, "logits")
    return Brought(reduce_to(model, "logits", "embedding"), scores, "embedding", feeding, source)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the folder.

    Raises
    ------
    NotFoundError
        ``import.folder``.
    DataError
        ``import.config``.
    """
    if not path.is_file():
        raise NotFoundError(
            "import.folder", f"the folder has no {path.name}", where=path.parent,
            next="name a folder as model.save_pretrained and tokenizer.save_pretrained leave it",
        )  # fmt: skip
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"more than {MAX_CONFIG_BYTES:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise DataError("import.config", f"the file cannot be read: {error}", where=path) from error
    return found


def read_weights(folder: Path) -> bytes:
    """The weights as they lie there, never from a pickle.

    Raises
    ------
    NotFoundError
        ``import.folder``.
    DataError
        ``import.pickle``, ``import.too_large``.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        if pickles := sorted(file for file in folder.iterdir() if file.suffix.lower() in PICKLES):
            raise DataError(
                "import.pickle", "the weights are a pickle, which can run code when it is read, and is not read",
                where=pickles[0], next=CONVERT,
            )  # fmt: skip
        raise NotFoundError("import.folder", f"the folder has no {WEIGHTS}", where=folder, next=CONVERT)
    if path.stat().st_size > MAX_BYTES:
        raise DataError(
            "import.too_large", "the weights are too large", value=path.stat().st_size, limit=MAX_BYTES, where=path
        )
    return path.read_bytes()


def tensors_of(data: bytes, path: Path) -> dict[str, np.ndarray]:
    """The tensors by name, floating point ones as float32.

    Raises
    ------
    DataError
        ``import.weights``.
    """
    try:
        from safetensors.numpy import load
    except ImportError as error:
        raise ResourceError(
            "import.safetensors", "the package safetensors is not installed", next='pip install "passmuster[import]"'
        ) from error
    try:
        tensors: Mapping[str, np.ndarray] = load(data)
        return {name: np.asarray(t, dtype=np.float32) for name, t in tensors.items() if t.dtype.kind not in "iub"}
    except Exception as error:  # the package's own class, and KeyError for a type that numpy lacks
        raise DataError(
            "import.weights", f"the weights cannot be read: {error}", where=path,
            next="save the model in float32, model.float().save_pretrained(FOLDER)",
        ) from error  # fmt: skip


def classes_of(config: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    """The classes in the order of the logits; () where the configuration does not name them."""
    try:
        return tuple(in_order(config["id2label"])) if config.get("id2label") else ()
    except ValueError as error:
        raise DataError("import.config", f"id2label does not name the classes: {error}", where=where) from error


def feed_named(folder: Path, preprocess: Sequence[str], most: int) -> dict[str, Any]:
    """What `Modality.feed` is told: the folder's tokenizer, and at how many tokens a text is cut."""
    named = read_named(preprocess)
    if unknown := [key for key in named if key != "max_tokens"]:
        raise UsageError(
            "import.preprocess", "a folder brings its own preprocessing", value=unknown[0], limit="max_tokens",
            next="leave --preprocess out, or --preprocess max_tokens=128",
        )  # fmt: skip
    if not (folder / TOKENIZER).is_file():
        read_json(folder / TOKENIZER)
    said = read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).is_file() else {}
    usual = said.get("model_max_length")
    cut = min(most, int(usual)) if isinstance(usual, int | float) and usual >= 1 else most
    wanted = named.get("max_tokens", cut)
    if not isinstance(wanted, int) or not 1 <= wanted <= most:
        raise UsageError("import.preprocess", "the model reads no such number of tokens", value=wanted, limit=most)
    return {"tokenizer": str(folder / TOKENIZER), "max_tokens": wanted}
