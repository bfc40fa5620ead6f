"""The rung `stacked.v1`: static vectors of the pool and a local pretrained encoder side by side, served as one graph.

The two know different things: the pretrained encoder what words mean, the static vectors how this pool spells and what
is frequent in it. Telling spam from messages lives in spelling and links, telling topics apart in meaning; side by side
a linear head takes what it needs of both. Each view is divided by its own spread (the root mean square distance from
its mean, over a sample of the pool), so that neither drowns the other.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.records import Price
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.text.rungs import pretrained, static

BATCH = 64  # texts that are embedded at once where nothing is served
N_MEASURED = 256  # texts from which each view's spread is measured
VIEWS = ("static", "pretrained")
PARTS = tuple(f"{name}.v1" for name in VIEWS)
SHARES = {"static": 0.5, "pretrained": 0.5}  # of the squared length, after each view has been brought to one spread
TOGETHER_S = 1.5  # two graphs in one, written and read
SMALLEST_SPREAD = 0.05  # a view that hardly tells texts apart is not blown up


def unavailable(config: TrainConfig) -> str:
    """As the pretrained encoder; the static view is always there."""
    return pretrained.unavailable(config)


def quote(machine: Machine, profile: Profile) -> Price:
    """Both views, one after the other, and putting them together."""
    both = [rung(machine, profile) for rung in (static.quote, pretrained.quote)]
    return Price(
        sum(price.seconds for price in both) + TOGETHER_S,
        sum(price.memory_bytes for price in both),
        "; ".join(price.note for price in both),
    )


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Learn the static view from the raw texts, name the pretrained one, and measure both; labels are not read."""
    there = [view.embedded[name] for name in PARTS if name in view.embedded]
    known = np.arange(len(view.payloads))
    if len(there) == len(PARTS):
        known = np.intersect1d(there[0].positions, there[1].positions, assume_unique=True)
    chosen = np.sort(rng.choice(known, min(N_MEASURED, len(known)), replace=False))
    parts = fit_views(view, deadline, checkpoint, rng)
    if len(there) == len(PARTS):
        scales = scales_of([part.rows[np.searchsorted(part.positions, chosen)] for part in there])
    else:
        sample = [view.payloads[i] for i in chosen]
        scales = scales_of([embed(_EXPORT[name](parts[name]), sample) for name in VIEWS])
    arrays = {f"{name}.{key}": value for name in VIEWS for key, value in parts[name].arrays.items()}
    return Encoder(
        "stacked.v1",
        {**arrays, "scales": scales},
        {name: dict(parts[name].settings) for name in VIEWS},
    )


def fit_views(
    view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator
) -> dict[str, Encoder]:
    """Both views by name: those of the rungs fitted before, where they were."""
    fits = {"static": static.fit, "pretrained": pretrained.fit}
    return {name: view.fitted.get(f"{name}.v1") or fits[name](view, deadline, checkpoint, rng) for name in VIEWS}


def scales_of(views: Sequence[np.ndarray]) -> np.ndarray:
    """What each view is multiplied by, from its embeddings of some of the pool: to one spread, then to its share.

    The spread is the root mean square distance of the embeddings from their mean.
    """
    scales = []
    for name, view in zip(VIEWS, views, strict=True):
        x = view.astype(np.float64)
        spread = float(np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()))
        scales.append(np.sqrt(SHARES[name]) / max(SMALLEST_SPREAD, spread))
    return np.array(scales, np.float32)


def embed(graph: EncoderGraph, texts: Sequence[Any]) -> np.ndarray:
    """Embeddings (n, d) of a few texts by a graph that is not served."""
    with preparer(graph) as prepare:
        rows = [_run(graph.onnx, prepare(texts[at : at + BATCH])) for at in range(0, len(texts), BATCH)]
    return np.concatenate(rows)


@contextlib.contextmanager
def preparer(graph: EncoderGraph) -> Iterator[Callable[[Sequence[Any]], dict[str, np.ndarray]]]:
    """What turns texts into the graph's inputs, its files laid out for as long as the block runs."""
    from passmuster.modality.text.modality import TEXT

    with tempfile.TemporaryDirectory() as folder:
        for name, data in graph.assets.items():
            (Path(folder) / name).write_bytes(data)
        yield TEXT.preparer(graph.preprocess, Path(folder))


def _run(model: bytes, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embedding"], dict(inputs))
    return np.asarray(found)


def export(encoder: Encoder) -> EncoderGraph:
    """Both graphs in one: inputs of both, and ``embedding`` (n, d) with the static view first."""
    return side_by_side([export_part(encoder, name) for name in VIEWS], encoder.arrays["scales"])


def export_part(encoder: Encoder, name: str) -> EncoderGraph:
    """One view's graph."""
    return _EXPORT[name](part_of(encoder, name))


def side_by_side(graphs: Sequence[EncoderGraph], scales: np.ndarray, through: np.ndarray | None = None) -> EncoderGraph:
    """The two views' graphs and steps as one; what they give together times the matrix `through` (d, e), if any."""
    origin = {key: graphs[1].preprocess[key] for key in ("encoder", "licence")}
    branches = [list(graph.preprocess["steps"]) for graph in graphs]
    return EncoderGraph(
        onnx=_joined([graph.onnx for graph in graphs], scales, through),
        preprocess={
            "schema": 1, "modality": "text", **origin, "steps": [{"op": "side_by_side.v1", "branches": branches}],
        },
        assets={name: data for graph in graphs for name, data in graph.assets.items()},
    )  # fmt: skip


def part_of(encoder: Encoder, name: str) -> Encoder:
    """One view's encoder."""
    arrays = {k.removeprefix(f"{name}."): v for k, v in encoder.arrays.items() if k.startswith(f"{name}.")}
    return Encoder(f"{name}.v1", arrays, encoder.settings[name])


def _joined(models: Sequence[bytes], scales: np.ndarray, through: np.ndarray | None = None) -> bytes:
    """One model whose embedding is the models' embeddings, each times its scale, one after the other.

    With `through` (d, e), all of it times that matrix. Nodes and constants of each model get a prefix; inputs keep
    their names, which differ already.
    """
    import onnx
    from onnx import TensorProto, compose, helper, numpy_helper

    prefixes = [f"view{i}_" for i in range(len(models))]
    parts = [
        compose.add_prefix(onnx.load_model_from_string(model), prefix, rename_inputs=False)
        for model, prefix in zip(models, prefixes, strict=True)
    ]
    graphs = [part.graph for part in parts]
    constants = [numpy_helper.from_array(np.array(s, np.float32), f"scale_{i}") for i, s in enumerate(scales)]
    nodes = [
        helper.make_node("Mul", [f"{prefix}embedding", f"scale_{i}"], [f"scaled_{i}"])
        for i, prefix in enumerate(prefixes)
    ]
    width = sum(graph.output[0].type.tensor_type.shape.dim[1].dim_value for graph in graphs)
    beside = "embedding" if through is None else "beside"
    nodes.append(helper.make_node("Concat", [f"scaled_{i}" for i in range(len(models))], [beside], axis=1))
    if through is not None:
        constants.append(numpy_helper.from_array(np.asarray(through, np.float32), "through"))
        nodes.append(helper.make_node("MatMul", [beside, "through"], ["embedding"]))
        width = through.shape[1]
    merged = helper.make_graph(
        [node for graph in graphs for node in graph.node] + nodes,
        "stacked",
        [entry for graph in graphs for entry in graph.input],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", width])],
        [value for graph in graphs for value in graph.initializer] + constants,
    )
    model = helper.make_model(merged, opset_imports=list(parts[0].opset_import), ir_version=parts[0].ir_version)
    return bytes(model.SerializeToString())


_EXPORT = {"static": static.export, "pretrained": pretrained.export}

STACKED = Rung(
    name="stacked.v1",
    summary="static vectors of the raw texts and a pretrained encoder found on this machine, side by side",
    unavailable=unavailable,
    quote=quote,
    fit=fit,
    export=export,
    parts=PARTS,
    sampled=True,
)
