"""The Open Inference Protocol, version 2, as JSON over HTTP: tensors in, tensors out.

Source: https://github.com/open-inference/open-inference-protocol, specification/protocol/inference_rest.md. Texts come
as one BYTES tensor. Images come as BYTES (base64 of an image file), as UINT8 (values 0 to 255), or as FP32 (values 0 to
1), the last two of shape [n, height, width, channels] with one or three channels, [n, height, width] for grey.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.core.label_sets import MULTI, SINGLE, classes_in
from passmuster.modality.base import Modality, Pending
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.predictor import Predictor
from passmuster.stages.serve.answering import Answered
from passmuster.stages.serve.decoding import Field
from passmuster.stages.serve.requests import check_count, check_key, decode

INPUTS = {"text": ("text", "BYTES", [-1]), "image": ("image", "UINT8", [-1, -1, -1, -1])}
SEE = "see the inputs in /v2/models/{model}"
OUTPUTS = {
    "label": "BYTES",
    "probability": "FP32",
    "probabilities": "FP32",
    "abstained": "BOOL",
    "reasons": "BYTES",
    "prediction_id": "BYTES",
    "release": "BYTES",
    "channel": "BYTES",
}
# Of a multi-label model: which classes are said, for each class and as a JSON list.
LABEL_SETS_OUTPUTS = {
    "labels": "BYTES",
    "said": "BOOL",
    **{name: kind for name, kind in OUTPUTS.items() if name != "label"},
}
BY_CLASS = ("probabilities", "said")  # a column for each class


class Tensor(msgspec.Struct):
    """A tensor of a request; `data` row-major, flat or nested."""

    name: Annotated[str, Meta(description="`text` or `image`, by the project")]
    shape: Annotated[list[int], Meta(description="Its first side counts the items")]
    datatype: Annotated[str, Meta(description="`BYTES`; of images `UINT8` (0 to 255) and `FP32` (0 to 1) too")]
    data: Annotated[list[Any], Meta(description="Row by row, flat or nested")]
    parameters: Annotated[dict[str, Any], Meta(description="Not looked at")] = msgspec.field(default_factory=dict)


class WantedOutput(msgspec.Struct):
    """An output that the caller asks for."""

    name: Annotated[str, Meta(description="One of the outputs in the model's metadata")]
    parameters: Annotated[dict[str, Any], Meta(description="Not looked at")] = msgspec.field(default_factory=dict)


class InferRequest(msgspec.Struct):
    """Body of ``/v2/models/{model}/infer``."""

    inputs: Annotated[list[Tensor], Meta(description="One tensor, of items")]
    id: Annotated[str, Meta(description="Comes back with the answer")] = ""
    outputs: Annotated[list[WantedOutput], Meta(description="Those wanted; all, when empty")] = msgspec.field(
        default_factory=list
    )
    parameters: Annotated[dict[str, Any], Meta(description="`key` is the routing key")] = msgspec.field(
        default_factory=dict
    )


def read_infer(
    body: bytes, header_key: str, modality: Modality, config: DataConfig, max_items: int, task: str = SINGLE
) -> tuple[InferRequest, list[Field], str]:
    """The request, its items, and its routing key.

    Raises
    ------
    UsageError, DataError
        ``request.*`` and ``tensor.*``; names the tensor and the field.
    """
    asked: InferRequest = decode(body, InferRequest)
    name, _, _ = INPUTS[modality.name]
    if len(asked.inputs) != 1 or asked.inputs[0].name != name:
        found = ", ".join(t.name for t in asked.inputs) or "none"
        raise DataError(
            "tensor.inputs", "this model takes one input tensor", value=found, limit=name, where="inputs", next=SEE
        )
    known = outputs_of(task)
    if unknown := [o.name for o in asked.outputs if o.name not in known]:
        raise DataError(
            "tensor.outputs",
            "there is no such output",
            value=unknown[0],
            limit=", ".join(known),
            where="outputs",
            next="leave outputs out to get all of them",
        )
    key = asked.parameters.get("key", "") or header_key
    if not isinstance(key, str):
        raise DataError(
            "request.key", "the routing key is not a string", where="parameters.key", next="send it as text"
        )
    return asked, fields_of(asked.inputs[0], modality, config, max_items), check_key(key)


def fields_of(tensor: Tensor, modality: Modality, config: DataConfig, max_items: int) -> list[Field]:
    """The items in a tensor; the first axis counts them."""
    where = f"inputs.{tensor.name}"
    if not tensor.shape or any(side < 0 for side in tensor.shape):
        raise DataError("tensor.shape", "sides of a tensor are not negative", value=tensor.shape, where=where, next=SEE)
    check_count(tensor.shape[0], max_items)
    if tensor.datatype == "BYTES":
        texts = flatten(tensor.data, tensor.shape, where)
        if len(texts) != tensor.shape[0]:
            raise DataError("tensor.shape", "BYTES has one element per item", value=tensor.shape, where=where, next=SEE)
        return [Field(f"{where}.data[{i}]", partial(modality.open_json, t, config)) for i, t in enumerate(texts)]
    if modality.name != "image" or tensor.datatype not in ("UINT8", "FP32"):
        allowed = "BYTES" if modality.name != "image" else "BYTES, UINT8, FP32"
        raise DataError(
            "tensor.datatype", "not a type of this input", value=tensor.datatype, limit=allowed, where=where, next=SEE
        )
    return images_of(tensor, config, where)


def images_of(tensor: Tensor, config: DataConfig, where: str) -> list[Field]:
    """A UINT8 or FP32 tensor as images."""
    shape = [*tensor.shape, 1] if len(tensor.shape) == 3 else tensor.shape
    if len(shape) != 4 or shape[3] not in (1, 3) or not shape[1] or not shape[2]:
        limit = "[n, height, width, 1 or 3] or [n, height, width]"
        raise DataError("tensor.shape", "no shape of images", value=tensor.shape, limit=limit, where=where, next=SEE)
    if shape[1] * shape[2] > config.max_pixels:
        raise DataError(
            "item.too_large", "an image has too many pixels", value=shape[1] * shape[2], limit=config.max_pixels,
            where=where, next="scale it down, or raise data.max_pixels",
        )  # fmt: skip
    values = flatten(tensor.data, tensor.shape, where)
    if not all(type(value) in (int, float) for value in values):
        raise DataError("tensor.data", "a value is not a number", where=where, next=SEE)
    top = 255.0 if tensor.datatype == "UINT8" else 1.0
    wrong = _first_wrong(values, top, whole=tensor.datatype == "UINT8")
    if wrong is not None:
        kind = "whole numbers 0 to 255" if tensor.datatype == "UINT8" else "numbers 0 to 1"
        raise DataError(
            "tensor.data", f"{tensor.datatype} pixels are {kind}", value=str(values[wrong])[:40],
            where=f"{where}.data[{wrong // math.prod(shape[1:])}]", next=SEE,
        )  # fmt: skip
    array = np.asarray(values, dtype=np.float64)
    images = np.rint(array * (255.0 / top)).astype(np.uint8).reshape(shape)
    return [Field(f"{where}.data[{i}]", partial(_there_already, image)) for i, image in enumerate(images)]


def _first_wrong(values: Sequence[float], top: float, *, whole: bool) -> int | None:
    """Where the first value lies that is no pixel, an integer too large for any float included."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except OverflowError:
        return next(i for i, value in enumerate(values) if not 0 <= value <= top)
    wrong = ~((array >= 0) & (array <= top))
    if whole:
        wrong |= array != np.floor(array)
    return int(wrong.argmax()) if wrong.any() else None


def _there_already(image: np.ndarray) -> Pending:
    return Pending(image.shape[0] * image.shape[1], lambda: image)


def flatten(data: Sequence[Any], shape: Sequence[int], where: str) -> list[Any]:
    """Flat or nested row-major data, whose number of elements is what `shape` says."""
    n = math.prod(shape)
    flat: list[Any] = list(data)
    for _ in shape[1:]:
        if not flat or not isinstance(flat[0], list):
            break
        if not all(isinstance(part, list) for part in flat):
            raise DataError("tensor.data", "the data are nested unevenly", where=where, next=SEE)
        flat = [value for part in flat for value in part]
    if len(flat) != n:
        raise DataError(
            "tensor.data", "the data do not fill the shape", value=len(flat), limit=n, where=where, next=SEE
        )
    return flat


def describe_model(name: str, versions: Sequence[str], predictor: Predictor) -> dict[str, Any]:
    """Metadata of the model: its input and outputs; -1 is any size."""
    input_name, datatype, shape = INPUTS[predictor.modality.name]
    classes = classes_of(predictor)
    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": input_name, "datatype": datatype, "shape": shape}],
        "outputs": [
            {"name": out, "datatype": kind, "shape": [-1, len(classes)] if out in BY_CLASS else [-1]}
            for out, kind in outputs_of(predictor.task).items()
        ],
        "parameters": {"classes": classes, "task": predictor.task},
    }


def classes_of(predictor: Predictor) -> list[str]:
    """The classes that a release can give: that a model elsewhere names none is no class."""
    return [name for name in predictor.classes if name != NO_ANSWER]


def outputs_of(task: str) -> dict[str, str]:
    """Names and types of what a model of a task gives."""
    return LABEL_SETS_OUTPUTS if task == MULTI else OUTPUTS


def infer_answer(
    asked: InferRequest,
    answers: Sequence[Answered],
    model: str,
    version: str,
    classes: Sequence[str],
    task: str = SINGLE,
) -> dict[str, Any]:
    """The response: one element (or row) per item. Probabilities follow `classes`, 0 for one that a release lacks."""
    rows = [a.by_class for a in answers]
    sets = [classes_in(a.prediction.label, task) for a in answers]
    columns: dict[str, list[Any]] = {
        "label": [a.prediction.label for a in answers],
        "labels": [json.dumps(names, ensure_ascii=False) for names in sets],
        "said": [c in names for names in sets for c in classes],
        "probability": [a.prediction.probability for a in answers],
        "probabilities": [row.get(c, 0.0) for row in rows for c in classes],
        "abstained": [a.prediction.abstained for a in answers],
        "reasons": [",".join(a.prediction.reasons) for a in answers],
        "prediction_id": [a.item.id for a in answers],
        "release": [a.lane.release.id for a in answers],
        "channel": [a.lane.channel.name for a in answers],
    }
    kinds = outputs_of(task)
    wanted = [output.name for output in asked.outputs] or list(kinds)
    n = len(answers)
    outputs = [
        {
            "name": out,
            "datatype": kinds[out],
            "shape": [n, len(classes)] if out in BY_CLASS else [n],
            "data": columns[out],
        }
        for out in wanted
    ]
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    return {**answer, "id": asked.id} if asked.id else answer
