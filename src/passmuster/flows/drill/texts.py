"""Faults in how texts become numbers: another tokenizer, a stale vocabulary, a step that was left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from passmuster.flows.drill.base import NotHereError, Parts, fault
from passmuster.flows.drill.graphs import before_input, node
from passmuster.flows.drill.scene import Scene, with_steps
from passmuster.modality.find import modalities

N_LOOKED_AT = 200  # training texts on which a change of preprocessing must show
SLID_BY = 7  # rows of a vocabulary

Step = Mapping[str, Any]


@fault("lower_case_lost.v1", "texts are no longer made lower case", group="packaging", touches="preprocessing")
def lower_case_lost(scene: Scene) -> Parts:
    """In the steps, or in the tokenizer's own normaliser."""
    parts = changed_steps(
        scene,
        lambda step: None if step["op"] == "lower.v1" else {**step, "lower": False} if step.get("lower") else step,
    )
    return seen(scene, changed_tokenizers(parts, cased))


@fault("cut_short.v1", "texts are cut after a few words", group="packaging", touches="preprocessing")
def cut_short(scene: Scene) -> Parts:
    """At eight tokens, or four features a view."""
    few = {"max_tokens": 8, "max_features": 4}
    return seen(scene, changed_steps(scene, lambda s: {**s, **{k: min(s[k], few[k]) for k in few if k in s}}))


@fault(
    "tokenizer_of_another_model.v1", "the vocabulary is that of another model: numbers mean other words",
    group="packaging", touches="tokenizer",
)  # fmt: skip
def tokenizer_of_another_model(scene: Scene) -> Parts:
    """Every ordinary token a few rows further."""

    def slide(tokenizer: dict[str, Any]) -> None:
        vocabulary = tokenizer["model"]["vocab"]
        special = {entry["content"] for entry in tokenizer.get("added_tokens", ())}
        words = [w for w in vocabulary if w not in special]
        numbers = [vocabulary[w] for w in words]
        vocabulary.update(zip(words, np.roll(numbers, SLID_BY).tolist(), strict=True))

    def slide_views(views: list[dict[str, Any]]) -> None:
        for view in views:
            view["features"] = view["features"][SLID_BY:] + view["features"][:SLID_BY]

    return seen(scene, changed_views(changed_tokenizers(scene.parts, slide), slide_views))


@fault(
    "vocabulary_stale.v1", "the vocabulary is of an older version, which lacks every third word", group="packaging",
    touches="vocabulary",
)  # fmt: skip
def vocabulary_stale(scene: Scene) -> Parts:
    """Words that are not there fall into pieces, or out."""

    def forget(tokenizer: dict[str, Any]) -> None:
        vocabulary = tokenizer["model"]["vocab"]
        words = sorted((w for w in vocabulary if w.isalpha() and len(w) > 2), key=lambda w: vocabulary[w])
        for word in words[::3]:
            vocabulary[f"\x00{word}"] = vocabulary.pop(word)

    def forget_views(views: list[dict[str, Any]]) -> None:
        for view in views:
            view["features"] = [f"\x00{i}" if i % 3 == 0 else f for i, f in enumerate(view["features"])]

    return seen(scene, changed_views(changed_tokenizers(scene.parts, forget), forget_views))


@fault(
    "special_tokens_lost.v1", "the tokens that mark beginning and end are no longer put around a text",
    group="packaging", touches="tokenizer",
)  # fmt: skip
def special_tokens_lost(scene: Scene) -> Parts:
    """The tokenizer's post-processor is gone."""

    def forget(tokenizer: dict[str, Any]) -> None:
        tokenizer["post_processor"] = None

    return seen(scene, changed_tokenizers(scene.parts, forget))


@fault("word_weights_lost.v1", "every word weighs as much as any other", group="packaging", touches="vocabulary")
def word_weights_lost(scene: Scene) -> Parts:
    """Inverse document frequencies of 1."""

    def flatten(views: list[dict[str, Any]]) -> None:
        for view in views:
            view["idf"] = [1.0] * len(view["idf"])

    return seen(scene, changed_views(scene.parts, flatten))


@fault(
    "padding_read.v1", "the padding behind short texts is read as if it were words", group="packaging", touches="graph"
)
def padding_read(scene: Scene) -> Parts:
    """The attention mask is ones everywhere."""

    def insert(a: str, b: str) -> tuple[list[Any], dict[str, np.ndarray]]:
        nodes = [node("Mul", [a, "no_mask"], "of_mask"), node("Add", ["of_mask", "all_read"], b)]
        return nodes, {"no_mask": np.array([0], np.int64), "all_read": np.array([1], np.int64)}

    text_only(scene)
    return scene.parts.with_(graph=before_input(scene.parts.graph, insert, name="attention_mask"))


def text_only(scene: Scene) -> None:
    """Refuse another modality."""
    if scene.healthy.manifest.modality != "text":
        raise NotHereError("of texts only")


def changed_steps(scene: Scene, change: Callable[[Step], Step | None]) -> Parts:
    """The bundle with every step of preprocessing changed, or left out where the change gives None."""
    text_only(scene)

    def through(steps: list[Step]) -> list[Step]:
        new = [change(step) for step in steps]
        kept = [step for step in new if step is not None]
        return [{**s, "branches": [through(b) for b in s["branches"]]} if "branches" in s else s for s in kept]

    return with_steps(scene.parts, through(list(scene.parts.preprocess["steps"])))


def changed_tokenizers(parts: Parts, change: Callable[[dict[str, Any]], None]) -> Parts:
    """The bundle with its tokenizer files changed."""
    return _changed_files(parts, lambda data: "model" in data and "vocab" in data["model"], change)


def changed_views(parts: Parts, change: Callable[[list[dict[str, Any]]], None]) -> Parts:
    """The bundle with the vocabularies of its static vectors changed."""
    return _changed_files(parts, lambda data: "views" in data, lambda data: change(data["views"]))


def _changed_files(
    parts: Parts, holds: Callable[[dict[str, Any]], bool], change: Callable[[dict[str, Any]], None]
) -> Parts:
    assets = dict(parts.assets)
    for name, content in parts.assets.items():
        if not name.endswith(".json"):
            continue
        data = json.loads(content)
        if isinstance(data, dict) and holds(data):
            change(data)
            assets[name] = json.dumps(data, ensure_ascii=False).encode()
    return parts.with_(assets=assets)


def cased(tokenizer: dict[str, Any]) -> None:
    """Take lower case out of a tokenizer's normaliser."""
    normaliser = tokenizer.get("normalizer") or {}
    if "lowercase" in normaliser:
        normaliser["lowercase"] = False
    if normaliser.get("type") == "Sequence":
        normaliser["normalizers"] = [n for n in normaliser["normalizers"] if n.get("type") != "Lowercase"]
        for inner in normaliser["normalizers"]:
            if "lowercase" in inner:
                inner["lowercase"] = False


def seen(scene: Scene, parts: Parts) -> Parts:
    """The bundle, if the graph is fed otherwise with it.

    Raises
    ------
    NotHereError
        Where no training text looks different, or this model has no such part.
    """
    import tempfile
    from pathlib import Path

    text_only(scene)
    payloads = scene.pool.payloads[:N_LOOKED_AT]
    fed = []
    for one in (scene.parts, parts):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in one.assets.items():
                (Path(folder) / name).write_bytes(content)
            fed.append(modalities["text"].preparer(one.preprocess, Path(folder))(payloads))
    if all(name in fed[1] and np.array_equal(fed[0][name], fed[1][name]) for name in fed[0]):
        raise NotHereError("this model has no such part, or no training text looks different without it")
    return parts
