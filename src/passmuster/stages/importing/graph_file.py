"""An ONNX file that nobody vouches for, read with limits: nothing in it runs code, and nothing lies outside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from passmuster.core.errors import DataError, NotFoundError, ResourceError
from passmuster.modality.base import GraphInput

MAX_BYTES = 2**30  # it is held in memory a few times; a text classifier of usual size takes a third of that
OLDEST_OPSET = 9  # what is written behind a graph needs it
# Whose operators ONNX Runtime carries itself. Any other domain needs a library of somebody else's to be loaded.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".dill")
ARCHIVE = b"PK\x03\x04"  # what torch.save writes: an archive with a pickle in it
PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
CONVERT = (
    "convert it to ONNX where it was made (docs/how-to/import-a-model.md shows the three lines for scikit-learn), then "
    "muster import MODEL.onnx"
)


def read_graph(path: Path) -> tuple[Any, bytes]:
    """The model in `path` as an ``onnx.ModelProto``, and the bytes as they are.

    Raises
    ------
    NotFoundError
        ``import.none``.
    DataError
        ``import.pickle``, ``import.too_large``, ``import.unreadable``, ``import.external_data``,
        ``import.operators``, ``import.opset``.
    ResourceError
        ``import.onnx`` when the package ``onnx`` is not installed.
    """
    if not path.is_file():
        raise NotFoundError("import.none", "there is no such file", where=path, next="muster import MODEL.onnx")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(
            "import.too_large", "the file is too large", value=path.stat().st_size, limit=MAX_BYTES, where=path
        )
    data = path.read_bytes()
    refuse_pickle(path, data[:8])
    onnx = import_onnx()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own, which is no public class
        raise _unreadable(path, str(error)) from error
    if not model.graph.node or not model.graph.output:
        raise _unreadable(path, "it holds no graph")
    refuse_broken_names(model, path)
    refuse_outside_data(model, path)
    refuse_operators(model, path)
    opset = opset_of(model)
    if opset < OLDEST_OPSET:
        raise DataError(
            "import.opset", "the graph is written in too old a form", value=opset, limit=OLDEST_OPSET, where=path,
            next="convert the model again with a newer opset",
        )  # fmt: skip
    return model, data


def import_onnx() -> Any:
    """The package ``onnx``, which only importing and training need."""
    try:
        import onnx
    except ImportError as error:
        raise ResourceError(
            "import.onnx", "the package onnx is not installed", next='pip install "passmuster[import]"'
        ) from error
    return onnx


def refuse_pickle(path: Path, start: bytes) -> None:
    """Refuse what can run code when it is read, by its name and by how it begins; it is not opened.

    >>> refuse_pickle(Path("model.joblib"), b"")
    Traceback (most recent call last):
    ...
    passmuster.core.errors.DataError: a pickle can run code when it is read, and is not read (where: model.joblib)...
    """
    if path.suffix.lower() in PICKLES or start.startswith((*PICKLE_STARTS, ARCHIVE)):
        raise DataError(
            "import.pickle", "a pickle can run code when it is read, and is not read", where=path, next=CONVERT
        )


def refuse_broken_names(message: Any, path: Path) -> None:
    """Refuse a file in which a name, at any depth, is no text: the engine would only find it later, in its own way."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                refuse_broken_names(inner, path)
        elif field.type == field.TYPE_STRING:
            for name in [value] if isinstance(value, str | bytes) else value:
                if not isinstance(name, str):  # protobuf leaves bytes where they are no UTF-8
                    raise _unreadable(path, f"the name {name[:40]!r} is no text")


def refuse_outside_data(model: Any, path: Path) -> None:
    """Refuse weights in other files: the name of such a file may point anywhere on this machine."""
    external = import_onnx().TensorProto.EXTERNAL
    for tensor in tensors_of(model):
        if tensor.data_location == external or tensor.external_data:
            raise DataError(
                "import.external_data", "the graph keeps weights in another file", value=tensor.name, where=path,
                next="save the model as one file (onnx.save with save_as_external_data=False)",
            )  # fmt: skip


def refuse_operators(model: Any, path: Path) -> None:
    """Refuse operators that ONNX Runtime does not carry; functions of the file itself are looked into."""
    known = {*DOMAINS, *(function.domain for function in model.functions)}
    strange = sorted({f"{n.domain}:{n.op_type}" for n in nodes_of(model) if n.domain not in known})
    if strange:
        raise DataError(
            "import.operators", "the graph needs operators from somebody's own library", value=", ".join(strange[:5]),
            limit=", ".join(name for name in DOMAINS if name), where=path,
            next="convert the model with standard operators, and name its preprocessing instead",
        )  # fmt: skip


def opset_of(model: Any) -> int:
    """The version of the standard operators; a graph that uses none takes the newest that old ones all are."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=OLDEST_OPSET)


def inputs_of(model: Any) -> tuple[GraphInput, ...]:
    """What the graph must be fed: its inputs without those that have a value already."""
    names = import_onnx().TensorProto.DataType
    there = {tensor.name for tensor in model.graph.initializer}
    found = []
    for entry in model.graph.input:
        if entry.name not in there:
            tensor = entry.type.tensor_type
            shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
            known = tensor.elem_type in names.values()
            kind = names.Name(tensor.elem_type).lower() if known else f"type {tensor.elem_type}"
            found.append(GraphInput(entry.name, kind, shape))
    return tuple(found)


def graphs_of(model: Any) -> Iterator[Any]:
    """The graph, and every graph inside it and inside its functions."""

    def inside(nodes: Any) -> Iterator[Any]:
        for node in nodes:
            for attribute in node.attribute:
                for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    yield graph
                    yield from inside(graph.node)

    yield model.graph
    yield from inside(model.graph.node)
    for function in model.functions:
        yield from inside(function.node)


def nodes_of(model: Any) -> Iterator[Any]:
    """Every node, at every depth."""
    for graph in graphs_of(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def tensors_of(model: Any) -> Iterator[Any]:
    """Every tensor that the file holds, at every depth."""
    for graph in graphs_of(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes_of(model):
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for sparse in (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                           *attribute.sparse_tensors):  # fmt: skip
                yield from (sparse.values, sparse.indices)


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(
        "import.unreadable", f"this is no ONNX file: {why[:200]}", where=path, next="muster import MODEL.onnx"
    )
