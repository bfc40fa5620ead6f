"""Preprocessing steps of texts: lists in, lists out; the last step of a pipeline gives the graph's inputs by name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.tables import Table
from passmuster.modality.base import Operation, Step
from passmuster.modality.text.read import encode

operations: Table[Operation] = Table("operation")
_SPACES = re.compile(r"\s+")


@operations.entry("normalise.v1")
def normalise(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Unicode NFKC, runs of white space to one space, lower case when ``lower`` is true (default false).

    >>> normalise({"lower": True}, Path())(["  Ｈello\\n World"])
    ['hello world']
    """
    lower = bool(parameters.get("lower", False))

    def step(texts: list[str]) -> list[str]:
        plain = [_SPACES.sub(" ", unicodedata.normalize("NFKC", text)).strip() for text in texts]
        return [text.lower() for text in plain] if lower else plain

    return step


@operations.entry("side_by_side.v1")
def side_by_side(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Several pipelines of steps over the same texts, their inputs put together.

    Parameters: ``branches``, a list of lists of steps; no two may name the same input.
    """
    branches = [
        [operations[step["op"]]({k: v for k, v in step.items() if k != "op"}, folder) for step in branch]
        for branch in parameters["branches"]
    ]

    def step(texts: list[str]) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for branch in branches:
            values: Any = texts
            for one in branch:
                values = one(values)
            inputs |= values
        return inputs

    return step


@operations.entry("lower.v1")
def lower(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Lower case by Unicode, and nothing else: what scikit-learn does first with a text.

    >>> lower({}, Path())(["Straße ÄRGER"])
    ['straße ärger']
    """
    return lambda texts: [text.lower() for text in texts]


@operations.entry("strings.v1")
def strings(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Texts as they are, for a graph that reads strings.

    Parameters: ``input``, the graph's name for them, and ``rank``, 1 for (n,) or 2 for (n, 1).

    >>> strings({"input": "text", "rank": 2}, Path())(["a", "b"])["text"].shape
    (2, 1)
    """
    name, rank = parameters["input"], int(parameters["rank"])

    def step(texts: list[str]) -> dict[str, np.ndarray]:
        column = np.array(texts, dtype=object)
        return {name: column if rank == 1 else column[:, None]}

    return step


@operations.entry("encoded.v1")
def encoded(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Texts as bytes (UTF-8), for an endpoint. Parameters: ``input``.

    >>> encoded({"input": "item"}, Path())(["tea"])["item"].tolist()
    [b'tea']
    """
    return lambda texts: {parameters["input"]: np.array([encode(text) for text in texts], dtype=object)}


operations.add_lazy("text_features.v1", "passmuster.modality.text.tokens:text_features")
operations.add_lazy("wordpiece.v1", "passmuster.modality.text.tokens:wordpiece")
operations.add_lazy("tokens.v1", "passmuster.modality.text.tokens:tokens")
