"""Which tensor of a graph holds the scores of the classes, of which kind they are, and how the file names classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from passmuster.core.errors import UsageError
from passmuster.stages.importing.graph_file import import_onnx, nodes_of

ScoreKind = Literal["probabilities", "logits"]
KINDS: tuple[ScoreKind, ...] = ("probabilities", "logits")
# What the usual converters call them, in lower case.
CALLED: dict[str, ScoreKind] = {
    "logits": "logits", "output_probability": "probabilities", "probabilities": "probabilities",
    "probability": "probabilities", "probs": "probabilities", "softmax": "probabilities",
}  # fmt: skip
CLASS_NAMES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")  # attributes of ai.onnx.ml


@dataclass(frozen=True)
class Scores:
    """The tensor, its kind, and the classes in the order of its columns, as the file names them (() if it does not)."""

    tensor: str
    kind: ScoreKind
    classes: tuple[str, ...]
    output: str  # as the file calls the output that it was found by


def find_scores(model: Any, output: str = "", kind: str = "") -> Scores:
    """The scores, by the name that the user gave or as the only thing that they can be.

    Parameters
    ----------
    output : an output of the graph, or any tensor inside it; "" where one output alone can be scores
    kind : "probabilities" or "logits"; "" where the output's name says it

    Raises
    ------
    UsageError
        ``import.output``, ``import.scores``.
    """
    if kind and kind not in KINDS:
        raise UsageError("import.scores", "no such kind of scores", value=kind, limit=", ".join(KINDS))
    zipped = {node.output[0]: node for node in model.graph.node if node.op_type == "ZipMap"}
    candidates = score_outputs(model, zipped)
    if not output:
        if len(candidates) != 1:
            what = "several outputs could be the scores" if candidates else "no output of the graph can be the scores"
            every = ", ".join(entry.name for entry in model.graph.output)
            raise UsageError(
                "import.output", what, value=", ".join(candidates) or every, next="name it with --output NAME"
            )
        output = candidates[0]
    elif output not in {name for node in model.graph.node for name in node.output}:
        raise UsageError(
            "import.output",
            "the graph computes nothing of that name",
            value=output,
            limit=", ".join(candidates) or None,
            next="name one of these, or leave --output out",
        )
    found: ScoreKind | None = next((known for known in KINDS if known == kind), CALLED.get(output.lower()))
    if output in zipped:
        found = found or "probabilities"
    if found is None:
        raise UsageError(
            "import.scores", "the name of this output does not say what it is", value=output, limit=", ".join(KINDS),
            next="add --scores probabilities, or --scores logits",
        )  # fmt: skip
    tensor = zipped[output].input[0] if output in zipped else output
    return Scores(tensor, found, class_names(model), output)


def score_outputs(model: Any, zipped: dict[str, Any]) -> list[str]:
    """Outputs that may hold scores: floating-point tensors, and maps of classes to them."""
    kinds = import_onnx().TensorProto
    floats = {kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16}
    return [
        entry.name for entry in model.graph.output if entry.name in zipped or entry.type.tensor_type.elem_type in floats
    ]


def class_names(model: Any) -> tuple[str, ...]:
    """The classes that classifiers inside the graph name, where all of them name the same."""
    named = {names for node in nodes_of(model) if (names := _names_of(node.attribute))}
    return named.pop() if len(named) == 1 else ()


def _names_of(attributes: Sequence[Any]) -> tuple[str, ...]:
    for attribute in attributes:
        if attribute.name in CLASS_NAMES and (attribute.strings or attribute.ints):
            return tuple(s.decode("utf-8", "replace") for s in attribute.strings) or tuple(map(str, attribute.ints))
    return ()
