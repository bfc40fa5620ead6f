"""What is brought in, whatever form it had: a graph of scores, how it is fed, and what it says of itself."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import UsageError
from passmuster.modality.base import Feeding, Modality
from passmuster.stages.importing.graph_file import inputs_of, read_graph
from passmuster.stages.importing.naming import read_named
from passmuster.stages.importing.rewrite import free_batch, reduce_to, take_out_lowering
from passmuster.stages.importing.scores import Scores, find_scores


@dataclass(frozen=True)
class Brought:
    """A model as it came. `reduced` is what `rewrite.reduce_to` gives; `embedding` the tensor behind it, "" for none.

    `source` goes into the bundle and the ledger, so that anybody can tell which file it was; `notes` are said to the
    user.
    """

    reduced: bytes
    scores: Scores
    embedding: str
    feeding: Feeding
    source: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def bring_onnx(
    path: Path, modality: Modality, *, preprocess: Sequence[str], output: str, scores: str, embedding: str
) -> Brought:
    """An ONNX file with its preprocessing named.

    Raises
    ------
    DataError, NotFoundError, ResourceError, UsageError
        As `read_graph`, `find_scores`, `read_named` and the modality's `feed`.
    """
    model, data = read_graph(path)
    found = find_scores(model, output, scores)
    if embedding and embedding not in (tensors := {name for node in model.graph.node for name in node.output}):
        near = difflib.get_close_matches(embedding, tensors, n=1, cutoff=0.6)
        raise UsageError(
            "import.embedding", "the graph computes nothing of that name", value=embedding,
            next=f"did you mean {near[0]!r}?" if near else "leave --embedding out",
        )  # fmt: skip
    notes = []
    fixed = free_batch(model)
    if fixed:
        notes.append(f"the graph was fixed to {fixed} at a time; any number is tried instead")
    named = read_named(preprocess)
    if take_out_lowering(model):
        named["lower"] = True
        notes.append("lower case is done by Muster's step lower.v1 instead of the graph, whose way needs a locale")
    feeding = modality.feed(named, inputs_of(model))
    source = {
        "format": "onnx", "file": path.name, "sha256": sha256_hex(data), "n_bytes": len(data),
        "producer": f"{model.producer_name} {model.producer_version}".strip()[:100], "output": found.output,
    }  # fmt: skip
    return Brought(reduce_to(model, found.tensor, embedding), found, embedding, feeding, source, tuple(notes))
