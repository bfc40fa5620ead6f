"""Texts to the inputs of graphs that were made elsewhere: what is named, what fits, and what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from import_case import WORDS, write_tokenizer
from passmuster.core.errors import UsageError
from passmuster.modality.base import GraphInput
from passmuster.modality.find import modalities
from passmuster.modality.text.feeding import feed

TEXT = modalities["text"]
STRINGS = [GraphInput("text", "string", (None, 1))]


def tokens(*names: str, kind: str = "int64", length: int | None = None) -> list[GraphInput]:
    return [GraphInput(name, kind, (None, length)) for name in names]


@pytest.fixture
def named(tmp_path: Path) -> dict[str, object]:
    return {"tokenizer": str(write_tokenizer(tmp_path / "made.json")), "max_tokens": 4}


def fed(named: dict[str, object], inputs: list[GraphInput], folder: Path, texts: list[str]) -> dict[str, np.ndarray]:
    feeding = feed(named, inputs)
    for name, data in feeding.assets.items():
        (folder / name).write_bytes(data)
    return TEXT.preparer({"steps": feeding.steps}, folder)(texts)


@pytest.mark.parametrize(("rank", "shape"), [(1, (2,)), (2, (2, 1))])
def test_strings_go_in_as_they_are(tmp_path: Path, rank: int, shape: tuple[int, ...]) -> None:
    given = [GraphInput("x", "string", (None, 1)[:rank])]
    found = fed({"strings": True}, given, tmp_path, ["  A b ", "c"])["x"]
    assert found.shape == shape
    assert found.ravel().tolist() == ["  A b ", "c"]
    lowered = fed({"strings": True, "lower": True, "normalise": True}, given, tmp_path, ["  A  b ", "c"])["x"]
    assert lowered.ravel().tolist() == ["a b", "c"]


def test_tokens_under_the_graphs_own_names(named: dict[str, object], tmp_path: Path) -> None:
    given = tokens("input_ids", "input_mask", "segment_ids", kind="int32")
    found = fed(named, given, tmp_path, ["tea cup tea cup tea", "tea"])
    tea, cup = (WORDS.index(word) + 2 for word in ("tea", "cup"))
    assert found["input_ids"].tolist() == [[tea, cup, tea, cup], [tea, 0, 0, 0]]
    assert found["input_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert found["segment_ids"].tolist() == [[0] * 4] * 2
    assert {array.dtype for array in found.values()} == {np.dtype("int32")}


def test_a_graph_of_one_length_is_padded_to_it(named: dict[str, object], tmp_path: Path) -> None:
    found = fed(named, tokens("input_ids", "attention_mask", length=6), tmp_path, ["tea"])
    assert found["attention_mask"].tolist() == [[1, 0, 0, 0, 0, 0]]
    with pytest.raises(UsageError, match="reads 3 tokens of a text, not 4"):
        feed(named, tokens("input_ids", "attention_mask", length=3))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (tokens("input_ids", "something"), "under names that are known"),
        (tokens("attention_mask"), "under names that are known"),
        (tokens("input_ids", kind="float"), "int64 or int32"),
        (STRINGS, "under names that are known"),
    ],
)
def test_inputs_that_tokens_do_not_fit(named: dict[str, object], inputs: list[GraphInput], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        feed(named, inputs)


def test_both_ways_or_none_are_refused_with_what_the_graph_reads(named: dict[str, object]) -> None:
    for given in ({}, {**named, "strings": True}):
        with pytest.raises(UsageError, match="as it is, or as tokens") as caught:
            feed(given, STRINGS)
        assert caught.value.where == "the graph reads text: string (any, 1)"
        assert "--preprocess strings" in str(caught.value.next)


def test_a_broken_tokenizer_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(Exception, match="tokenizer cannot be read"):
        feed({"tokenizer": str(tmp_path / "t.json"), "max_tokens": 4}, tokens("input_ids"))
