"""What the server answers, field by field: for its description, to which a test holds the answers themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType


class ClassSaid(Struct, rename={"class_": "class"}):
    """One class of a multi-label answer."""

    class_: Annotated[str, Meta(description="Its name")]
    probability: Annotated[float, Meta(description="That it is one of the item's, 0 to 1", ge=0, le=1)]


class Answer(Struct, kw_only=True):
    """What is said of one item."""

    id: Annotated[str, Meta(description="The prediction's id, which `POST /v1/feedback` takes")]
    label: Annotated[str, Meta(description="The class; not of a multi-label model")] | UnsetType = UNSET
    labels: (
        Annotated[list[ClassSaid], Meta(description="The classes, likeliest first; of a multi-label model")] | UnsetType
    ) = UNSET
    probability: Annotated[float, Meta(description="That the whole answer is right, 0 to 1", ge=0, le=1)]
    probabilities: Annotated[
        dict[str, float], Meta(description="Of every class, 0 to 1; less than 1 in all where an answer may name none")
    ]
    prediction_set: Annotated[list[str], Meta(description="The classes that stay possible (conformal)")]
    abstained: Annotated[bool, Meta(description="The answer is withheld: a suggestion for a person, no decision")]
    reasons: Annotated[
        list[str],
        Meta(
            description="Why it is withheld: `novel`, `low_confidence`, `degraded` (so is the channel, and this is not "
            "sure enough), `costly`, `risk`, `no_answer` (it names no class), `provisional` (the release is on trial)"
        ),
    ]
    novelty: Annotated[float, Meta(description="How unlike the reference the item is; grows with strangeness")]
    release: Annotated[str, Meta(description="The release that answered")]
    channel: Annotated[str, Meta(description="Its channel: `live` or `canary`")]


class Answers(Struct):
    """The answers to a list of items, in its order."""

    predictions: Annotated[list[Answer], Meta(description="One for each item")]


class Accepted(Struct):
    """What became of feedback: all of it is kept, or none."""

    accepted: Annotated[int, Meta(description="Facts that are kept", ge=0)]
    unknown_labels: Annotated[list[str], Meta(description="Labels among them that are no class of what is served")]
    read_as: Annotated[dict[str, str], Meta(description="Other spellings of a class among them, and that class")]


class Live(Struct):
    """The process runs."""

    live: Annotated[Literal[True], Meta(description="It does")]


class Ready(Struct):
    """Whether new work is taken; the status is 200 or 503 accordingly."""

    ready: Annotated[bool, Meta(description="Whether it is")]
    why: Annotated[str, Meta(description="Why not, where records cannot be kept")] | UnsetType = UNSET


class ModelReady(Struct, kw_only=True):
    """Whether the model answers."""

    name: Annotated[str, Meta(description="The project's name")]
    ready: Annotated[bool, Meta(description="Whether it is")]
    why: Annotated[str, Meta(description="Why not, where records cannot be kept")] | UnsetType = UNSET


class FailingSince(Struct):
    """That a release gives no answer at present."""

    n: Annotated[int, Meta(description="Times in a row")]
    since: Annotated[str, Meta(description="ISO time of the first")]
    why: Annotated[str, Meta(description="In words")]


class ServedChannel(Struct):
    """What a channel serves."""

    release: Annotated[str, Meta(description="The release")]
    bundle: Annotated[str, Meta(description="Digest of its files")]
    mode: Annotated[str, Meta(description="`normal`, or `degraded`: more answers are withheld")]
    share: Annotated[float, Meta(description="Of callers that it answers, 0 to 1", ge=0, le=1)]
    generation: Annotated[int, Meta(description="Grows whenever a channel moves")]
    failing: Annotated[FailingSince, Meta(description="Only while it gives no answer")] | UnsetType = UNSET


class Health(Struct, kw_only=True):
    """What is served, by channel."""

    draining: Annotated[bool, Meta(description="The server is shutting down")]
    channels: Annotated[dict[str, ServedChannel], Meta(description="By name: `live`, `canary`, `shadow`")]
    version: Annotated[str, Meta(description="Of Muster")]
    ready: Annotated[bool, Meta(description="Whether it is")]
    why: Annotated[str, Meta(description="Why not, where records cannot be kept")] | UnsetType = UNSET


class ServerMetadata(Struct):
    """Open Inference: the server."""

    name: Annotated[str, Meta(description="`muster`")]
    version: Annotated[str, Meta(description="Of Muster")]
    extensions: Annotated[list[str], Meta(description="None")]


class TensorMetadata(Struct):
    """Open Inference: a tensor of a model; -1 is any size."""

    name: Annotated[str, Meta(description="See the tensors below")]
    datatype: Annotated[str, Meta(description="`BYTES`, `UINT8`, `FP32` or `BOOL`")]
    shape: Annotated[list[int], Meta(description="The first side counts the items")]


class ModelParameters(Struct):
    """What Muster adds to a model's metadata."""

    classes: Annotated[list[str], Meta(description="In the order of the columns of `probabilities`")]
    task: Annotated[Literal["single-label", "multi-label"], Meta(description="One class of each item, or any number")]


class ModelMetadata(Struct):
    """Open Inference: a model."""

    name: Annotated[str, Meta(description="The project's name")]
    versions: Annotated[list[str], Meta(description="Releases that are served")]
    platform: Annotated[str, Meta(description="`onnxruntime_onnx`")]
    inputs: Annotated[list[TensorMetadata], Meta(description="One")]
    outputs: Annotated[list[TensorMetadata], Meta(description="Those that may be asked for")]
    parameters: Annotated[ModelParameters, Meta(description="What Muster adds")]


class TensorAnswered(Struct):
    """Open Inference: a tensor of an answer, row by row."""

    name: Annotated[str, Meta(description="See the tensors below")]
    datatype: Annotated[str, Meta(description="`BYTES`, `FP32` or `BOOL`")]
    shape: Annotated[list[int], Meta(description="[n], or [n, classes]")]
    data: Annotated[list[Any], Meta(description="Row by row, flat")]


class InferResponse(Struct, kw_only=True):
    """Open Inference: one element (or row) of each output per item."""

    model_name: Annotated[str, Meta(description="The project's name")]
    model_version: Annotated[str, Meta(description="The release of the live channel, or the one asked for")]
    outputs: Annotated[list[TensorAnswered], Meta(description="Those asked for")]
    id: Annotated[str, Meta(description="The request's own, where it had one")] | UnsetType = UNSET


class Error(Struct, kw_only=True):
    """What went wrong, and what mends it."""

    code: Annotated[str, Meta(description="Stable dotted name, such as `item.too_long`; branch on this")]
    what: Annotated[str, Meta(description="One sentence")]
    value: Annotated[str, Meta(description="What broke the limit")] | UnsetType = UNSET
    limit: Annotated[str, Meta(description="What it may be")] | UnsetType = UNSET
    where: Annotated[str, Meta(description="The field, such as `items[2]`")] | UnsetType = UNSET
    next: Annotated[str | None, Meta(description="What to do")]
    exit_code: Annotated[int, Meta(description="Of the command line, for the same kind of error")]


class ErrorAnswer(Struct):
    """An error, on every address but those of Open Inference."""

    error: Annotated[Error, Meta(description="The error")]


class ProtocolError(Struct):
    """An error as Open Inference has it, and its code."""

    error: Annotated[str, Meta(description="All that is known of it, in words")]
    code: Annotated[str, Meta(description="Stable dotted name; branch on this")]


TENSORS = {  # what the outputs of Open Inference hold, by name
    "label": "The class; not of a multi-label model",
    "labels": "The classes as a JSON list; of a multi-label model",
    "said": "Whether each class is among them, in the order of the classes; of a multi-label model",
    "probability": "That the whole answer is right, 0 to 1",
    "probabilities": "Of every class, in the order of `parameters.classes` of the model's metadata",
    "abstained": "The answer is withheld",
    "reasons": "Why, with commas between",
    "prediction_id": "What `POST /v1/feedback` takes",
    "release": "The release that answered",
    "channel": "Its channel: `live` or `canary`",
}
