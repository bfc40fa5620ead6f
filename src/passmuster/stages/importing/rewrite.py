"""A graph that was made elsewhere, rewritten into the form of a bundle's: only what its scores need, then logits.

    as it came ─ reduce_to ─▶ ``muster.scores`` (and ``muster.embedding``) ─ with_answers ─▶ ``logits``, ``embedding``

What is written behind it are a few standard operators, the same in every version of them since the ninth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from passmuster.stages.importing.graph_file import OLDEST_OPSET, graphs_of, import_onnx, inputs_of
from passmuster.stages.importing.scores import ScoreKind

SCORES, EMBEDDING, LOGITS = "muster.scores", "muster.embedding", "logits"
TAKEN = ("logits", "embedding")  # names of a bundle's outputs, which a graph may use for something else
SMALLEST = 1e-30  # a probability of 0 is taken for this: a logarithm must be finite
LOWERING = ("Reshape", "Flatten", "Identity", "Squeeze", "Unsqueeze")  # what may stand between texts and lower case


def take_out_lowering(model: Any) -> bool:
    """Switch off the lower case that a graph gives to its texts first of all; whether there was any.

    ONNX Runtime does it by a locale of the machine, which slim machines lack, and then does not load the graph. The
    step ``lower.v1`` does it instead, by Unicode, as scikit-learn does.
    """
    texts = {entry.name for entry in inputs_of(model) if entry.kind == "string"}
    for node in model.graph.node:
        if node.op_type in LOWERING and node.input[0] in texts:
            texts |= set(node.output)
        if node.op_type == "StringNormalizer" and node.input[0] in texts:
            for attribute in node.attribute:
                if attribute.name == "case_change_action" and attribute.s == b"LOWER":
                    attribute.s = b"NONE"
                    return True
    return False


def free_batch(model: Any) -> int:
    """Let any number of items go in at once; the number that the graph was fixed to, 0 when it was free."""
    fixed = 0
    needed = {given.name for given in inputs_of(model)}
    for entry in model.graph.input:
        dims = entry.type.tensor_type.shape.dim
        if entry.name in needed and dims and dims[0].HasField("dim_value"):
            fixed = dims[0].dim_value
            dims[0].dim_param = "n"
    return fixed


def reduce_to(model: Any, scores: str, embedding: str = "") -> bytes:
    """The part of `model` that computes `scores` and `embedding`, as float32 under names of Muster's own."""
    onnx = import_onnx()
    reduced = onnx.ModelProto()
    reduced.CopyFrom(model)
    graph = reduced.graph
    names = _rename(reduced, {name: f"given.{name}" for name in TAKEN})
    wanted = {SCORES: scores} | ({EMBEDDING: embedding} if embedding else {})
    for ours, theirs in wanted.items():
        given = names.get(theirs, theirs)
        graph.node.append(onnx.helper.make_node("Cast", [given], [ours], name=ours, to=onnx.TensorProto.FLOAT))
    del graph.output[:], graph.value_info[:]
    for ours in wanted:
        graph.output.append(onnx.helper.make_tensor_value_info(ours, onnx.TensorProto.FLOAT, None))
    _drop_unneeded(graph, set(wanted))
    del reduced.metadata_props[:], reduced.training_info[:]
    if not any(entry.domain in ("", "ai.onnx") for entry in reduced.opset_import):
        reduced.opset_import.append(onnx.helper.make_opsetid("", OLDEST_OPSET))
    return bytes(reduced.SerializeToString())


def with_answers(
    reduced: bytes, kind: ScoreKind, n_classes: int, *, one_column: bool, embeds: bool, temperature: float = 1.0
) -> bytes:
    """The graph of a bundle: outputs ``embedding`` (n, d) and ``logits`` (n, c), float32.

    Logits are the model's own, or the logarithms of its probabilities, divided by the temperature. Where there is no
    embedding, ``embedding`` is the logits about their mean.

    Parameters
    ----------
    reduced : what `reduce_to` gives
    one_column : the scores are those of the second of two classes alone
    embeds : whether `reduced` has an embedding
    """
    onnx = import_onnx()
    model = onnx.load_model_from_string(reduced)
    graph, helper = model.graph, onnx.helper

    def constant(name: str, value: Any, dtype: Any = np.float32) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), f"muster.{name}"))
        return f"muster.{name}"

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(op, inputs, [output], name=f"muster.node.{output}", **attributes))
        return output

    x = node("Reshape", [SCORES, constant("columns", [-1, 1 if one_column else n_classes], np.int64)], "muster.rows")
    if one_column and kind == "probabilities":
        x = node("Concat", [node("Sub", [constant("one", 1.0), x], "muster.first"), x], "muster.both", axis=1)
    elif one_column:
        x = node("Concat", [node("Mul", [x, constant("none", 0.0)], "muster.first"), x], "muster.both", axis=1)
    if kind == "probabilities":
        x = node("Log", [node("Max", [x, constant("smallest", SMALLEST)], "muster.positive")], "muster.log")
    node("Mul", [x, constant("certainty", 1.0 / temperature)], LOGITS)
    if embeds:
        node("Identity", [EMBEDDING], "embedding")
    else:
        centring = np.eye(n_classes) - 1.0 / n_classes
        node("MatMul", [LOGITS, constant("centring", centring)], "embedding")
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["n", None]))
    graph.output.append(helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, ["n", n_classes]))
    return bytes(model.SerializeToString())


def as_logits(scores: np.ndarray, kind: ScoreKind, *, one_column: bool) -> np.ndarray:
    """What `with_answers` computes, in numpy and float64: the check that the graph was rewritten rightly.

    >>> as_logits(np.array([[0.25]]), "probabilities", one_column=True).round(3).tolist()
    [[-0.288, -1.386]]
    """
    x = np.asarray(scores, dtype=np.float64).reshape(len(scores), -1)
    if one_column:
        x = np.hstack([1.0 - x if kind == "probabilities" else np.zeros_like(x), x])
    return np.log(np.maximum(x, SMALLEST)) if kind == "probabilities" else x


def _rename(model: Any, names: dict[str, str]) -> dict[str, str]:
    """Rename tensors wherever they stand; returns `names`. Inside functions names are their own."""
    in_functions = {id(node) for function in model.functions for node in function.node}
    for graph in graphs_of(model):
        for node in graph.node:
            if id(node) not in in_functions:
                _rename_in(node.input, names)
                _rename_in(node.output, names)
        for entry in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
            entry.name = names.get(entry.name, entry.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    return names


def _rename_in(field: Any, names: dict[str, str]) -> None:
    for i, name in enumerate(field):
        if name in names:
            field[i] = names[name]


def _drop_unneeded(graph: Any, wanted: set[str]) -> None:
    """Keep the nodes, values and inputs that `wanted` depends on; nodes are in order, so one pass back finds them."""
    needed = set(wanted)
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_read_by(node))
    kept = list(reversed(kept))
    del graph.node[:]
    graph.node.extend(kept)
    for field in (graph.initializer, graph.input):
        left = [entry for entry in field if entry.name in needed]
        del field[:]
        field.extend(left)


def _read_by(node: Any) -> Iterator[str]:
    """What a node reads, from inside its own graphs too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from _read_by(inner)
            yield from (entry.name for entry in graph.output)
