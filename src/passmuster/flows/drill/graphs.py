"""Changes to a served graph, as a mistaken export makes them: behind its logits, between embedding and head, or before
its input. Each gives a whole new graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from passmuster.flows.drill.base import NotHereError

HEAD = ("head_weight", "head_bias")

# From the name of what goes in and the name of what must come out, to nodes and constants.
Insert = Callable[[str, str], tuple[list[Any], dict[str, np.ndarray]]]


def behind_logits(graph: bytes, insert: Insert, *, n_classes: int | None = None) -> bytes:
    """`insert` between the logits that were and those that are said; `n_classes` where their number changes."""
    model = _load(graph)
    for node in model.graph.node:
        node.output[:] = ["logits_before" if name == "logits" else name for name in node.output]
        node.input[:] = ["logits_before" if name == "logits" else name for name in node.input]
    _add(model, *insert("logits_before", "logits"))
    if n_classes is not None:
        said = next(o for o in model.graph.output if o.name == "logits")
        said.type.tensor_type.shape.dim[1].dim_value = n_classes
    return bytes(model.SerializeToString())


def before_head(graph: bytes, insert: Insert) -> bytes:
    """`insert` between the embedding, which stays what it is, and everything that reads it."""
    model = _load(graph)
    readers = [node for node in model.graph.node if "embedding" in node.input]
    if not readers:
        raise NotHereError("nothing of this graph comes behind its embedding")
    for node in readers:
        node.input[:] = ["embedding_read" if name == "embedding" else name for name in node.input]
    nodes, constants = insert("embedding", "embedding_read")
    _add(model, nodes, constants, before=readers[0])
    return bytes(model.SerializeToString())


def embedding_said(graph: bytes, insert: Insert) -> bytes:
    """`insert` behind the embedding, for who reads the graph's output; its logits stay what they are."""
    model = _load(graph)
    for node in model.graph.node:
        node.output[:] = ["embedding_before" if name == "embedding" else name for name in node.output]
        node.input[:] = ["embedding_before" if name == "embedding" else name for name in node.input]
    _add(model, *insert("embedding_before", "embedding"))
    return bytes(model.SerializeToString())


def before_input(graph: bytes, insert: Insert, *, name: str = "pixels") -> bytes:
    """`insert` between an input and everything that reads it."""
    model = _load(graph)
    if not any(entry.name == name for entry in model.graph.input):
        raise NotHereError(f"this graph has no input named {name}")
    for node in model.graph.node:
        node.input[:] = ["input_read" if given == name else given for given in node.input]
    nodes, constants = insert(name, "input_read")
    _add(model, nodes, constants, before=model.graph.node[0])
    return bytes(model.SerializeToString())


def input_shape(graph: bytes, name: str) -> list[int | None]:
    """Sizes of an input, None where the graph leaves one open; raises `NotHereError` without such an input."""
    for entry in _load(graph).graph.input:
        if entry.name == name:
            return [d.dim_value or None for d in entry.type.tensor_type.shape.dim]
    raise NotHereError(f"this graph has no input named {name}")


def head_of(graph: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Weight (d, k) and bias (k,) of the head that Muster wrote behind the encoder."""
    from onnx import numpy_helper

    found = {i.name: i for i in _load(graph).graph.initializer if i.name in HEAD}
    if set(found) != set(HEAD):
        raise NotHereError("the head of this graph is not one that Muster wrote")
    return numpy_helper.to_array(found["head_weight"]), numpy_helper.to_array(found["head_bias"])


def with_head(graph: bytes, weight: np.ndarray, bias: np.ndarray) -> bytes:
    """The same encoder with another head of the same size."""
    from onnx import numpy_helper

    head_of(graph)
    model = _load(graph)
    for constant in model.graph.initializer:
        if constant.name in HEAD:
            array = weight if constant.name == "head_weight" else bias
            constant.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), constant.name))
    return bytes(model.SerializeToString())


def split_at_embedding(graph: bytes) -> tuple[bytes, bytes] | None:
    """The encoder, and what reads its embedding alone; None where more than the embedding is read."""
    from onnx import TensorProto, helper

    model = _load(graph)
    made_by = {name: node for node in model.graph.node for name in node.output}
    wanted, front = ["embedding"], set()
    while wanted:
        node = made_by.get(wanted.pop())
        if node is not None and id(node) not in front:
            front.add(id(node))
            wanted += list(node.input)
    tail = [node for node in model.graph.node if id(node) not in front]
    made_in_tail = {name for node in tail for name in node.output}
    constants = {i.name: i for i in model.graph.initializer}
    read = {name for node in tail for name in node.input if name and name not in made_in_tail}
    if not tail or "embedding" not in read or read - {"embedding"} - set(constants):
        return None
    other = helper.make_graph(
        tail, "tail", [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None)],
        [o for o in model.graph.output if o.name == "logits"], [constants[n] for n in sorted(read & set(constants))],
    )  # fmt: skip
    behind = helper.make_model(other, opset_imports=model.opset_import)
    behind.ir_version = model.ir_version
    kept = [node for node in model.graph.node if id(node) in front]
    of_front = {name for node in kept for name in node.input}
    _replace(model.graph.node, kept)
    _replace(model.graph.initializer, [i for i in model.graph.initializer if i.name in of_front])
    _replace(model.graph.output, [o for o in model.graph.output if o.name == "embedding"])
    return bytes(model.SerializeToString(deterministic=True)), bytes(behind.SerializeToString())


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    """An ONNX node with one output."""
    from onnx import helper

    return helper.make_node(kind, list(inputs), [output], **attributes)


def _load(graph: bytes) -> Any:
    import onnx

    if graph.startswith(b"{"):  # how an endpoint is asked
        raise NotHereError("the model is behind an address: its graph is not here")
    return onnx.load_model_from_string(graph)


def _replace(field: Any, entries: list[Any]) -> None:
    copies = [type(entry)() for entry in entries]
    for copy, entry in zip(copies, entries, strict=True):
        copy.CopyFrom(entry)
    del field[:]
    field.extend(copies)


def _add(model: Any, nodes: list[Any], constants: dict[str, np.ndarray], before: Any = None) -> None:
    from onnx import numpy_helper

    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    if before is None:
        model.graph.node.extend(nodes)
        return
    at = next(i for i, entry in enumerate(model.graph.node) if entry.output == before.output)
    _replace(model.graph.node, [*model.graph.node[:at], *nodes, *model.graph.node[at:]])
