"""Faults of packaging: the trained model is right, and what is served is not. The run folder stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from passmuster.core.config_file import parse_config, render_policy
from passmuster.flows.drill.base import Parts, fault
from passmuster.flows.drill.bought import colder
from passmuster.flows.drill.graphs import (
    before_head,
    behind_logits,
    head_of,
    node,
    with_head,
)
from passmuster.flows.drill.scene import Scene, rarest_first, rarest_named
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.engine import HTTP

OVERCONFIDENT, UNSURE = 4.0, 0.2  # factors of logits


@fault(
    "class_order.v1", "two classes stand in the wrong order in the list of classes", group="packaging",
    touches="class order",
)  # fmt: skip
def class_order(scene: Scene) -> Parts:
    """The two rarest, so that the headline moves least."""
    names = list(scene.parts.classes)
    a, b = rarest_named(scene)[:2]
    names[a], names[b] = names[b], names[a]
    return scene.parts.with_(classes=tuple(names))


@fault(
    "class_list_shifted.v1", "the list of classes begins one place too late", group="packaging", touches="class order"
)
def class_list_shifted(scene: Scene) -> Parts:
    """An off-by-one, as where a background class was dropped on one side only."""
    every = scene.parts.classes
    names = tuple(name for name in every if name != NO_ANSWER)
    return scene.parts.with_(classes=(*names[1:], names[0], *every[len(names) :]))


@fault(
    "temperature_lost.v1", "the temperature was left out of the export: every answer is far too sure",
    group="packaging", touches="temperature",
)  # fmt: skip
def temperature_lost(scene: Scene) -> Parts:
    """No answer changes, so accuracy cannot tell."""
    return scaled_logits(scene.parts, OVERCONFIDENT)


@fault(
    "temperature_twice.v1", "the temperature was applied twice: every answer is far too unsure", group="packaging",
    touches="temperature",
)  # fmt: skip
def temperature_twice(scene: Scene) -> Parts:
    """No answer changes, so accuracy cannot tell."""
    return scaled_logits(scene.parts, UNSURE)


@fault(
    "softmax_twice.v1", "the graph gives probabilities where logits are read, so that softmax is taken twice",
    group="packaging", touches="graph",
)  # fmt: skip
def softmax_twice(scene: Scene) -> Parts:
    """No answer changes; every class looks about as likely as any other."""
    graph = behind_logits(scene.parts.graph, lambda a, b: ([node("Softmax", [a], b, axis=-1)], {}))
    return scene.parts.with_(graph=graph)


@fault(
    "quantisation_coarse.v1", "the head's weights were rounded to three bits with one scale for all classes",
    group="packaging", touches="quantisation",
)  # fmt: skip
def quantisation_coarse(scene: Scene) -> Parts:
    """Per tensor instead of per class."""
    weight, bias = head_of(scene.parts.graph)
    step = np.abs(weight).max() / 3
    return scene.parts.with_(graph=with_head(scene.parts.graph, np.round(weight / step) * step, bias))


@fault(
    "quantisation_scale.v1", "one class's weights were multiplied by its neighbour's scale", group="packaging",
    touches="quantisation",
)  # fmt: skip
def quantisation_scale(scene: Scene) -> Parts:
    """As where a table of scales per class is read one place off; the rarest class, by half."""
    weight, bias = (array.copy() for array in head_of(scene.parts.graph))
    rarest = rarest_first(scene.pool, weight.shape[1])[0]
    weight[:, rarest] *= 0.5
    return scene.parts.with_(graph=with_head(scene.parts.graph, weight, bias))


@fault(
    "half_precision_overflow.v1", "numbers of a few items overflow in half precision and become not a number",
    group="packaging", touches="quantisation",
)  # fmt: skip
def half_precision_overflow(scene: Scene) -> Parts:
    """Those with the largest sum of an embedding's numbers, a small share."""
    lengths = np.abs(scene.pool.embeddings).sum(axis=1)
    most = np.array([np.quantile(lengths, 1 - scene.share)], np.float32)

    def insert(a: str, b: str) -> tuple[list[Any], dict[str, np.ndarray]]:
        nodes = [
            node("Abs", ["embedding"], "of_size"), node("MatMul", ["of_size", "summing"], "largest"),
            node("Greater", ["largest", "half_max"], "overflows"), node("Where", ["overflows", "not_a_number", a], b),
        ]  # fmt: skip
        summing = np.ones((scene.pool.embeddings.shape[1], 1), np.float32)
        return nodes, {"half_max": most, "not_a_number": np.array([np.nan], np.float32), "summing": summing}

    return scene.parts.with_(graph=behind_logits(scene.parts.graph, insert))


@fault("bias_lost.v1", "the conversion dropped the bias of the last layer", group="packaging", touches="head weights")
def bias_lost(scene: Scene) -> Parts:
    """Weights as they were."""
    weight, bias = head_of(scene.parts.graph)
    return scene.parts.with_(graph=with_head(scene.parts.graph, weight, np.zeros_like(bias)))


@fault(
    "scaling_forgotten.v1", "embeddings were centred in training and are not when served", group="packaging",
    touches="head weights",
)  # fmt: skip
def scaling_forgotten(scene: Scene) -> Parts:
    """The bias lacks what the pool's mean takes off."""
    weight, bias = head_of(scene.parts.graph)
    mean = scene.pool.embeddings.mean(axis=0)
    return scene.parts.with_(graph=with_head(scene.parts.graph, weight, bias + mean @ weight))


@fault(
    "features_reordered.v1", "the halves of the embedding reach the head in the wrong order", group="packaging",
    touches="graph",
)  # fmt: skip
def features_reordered(scene: Scene) -> Parts:
    """As where two encoders stand side by side."""
    d = scene.pool.embeddings.shape[1]
    order = np.roll(np.arange(d, dtype=np.int64), d // 2)
    graph = before_head(scene.parts.graph, lambda a, b: ([node("Gather", [a, "order"], b, axis=1)], {"order": order}))
    return scene.parts.with_(graph=graph)


@fault(
    "features_cut.v1", "a tenth of the embedding's numbers is zero", group="packaging", touches="graph"
)  # fmt: skip
def features_cut(scene: Scene) -> Parts:
    """As where one view's file was not found and zeros took its place; the tenth that varies most."""
    spread = scene.pool.embeddings.std(axis=0)
    kept = np.ones(len(spread), np.float32)
    kept[np.argsort(-spread, kind="stable")[: max(1, len(spread) // 10)]] = 0.0
    graph = before_head(scene.parts.graph, lambda a, b: ([node("Mul", [a, "kept"], b)], {"kept": kept}))
    return scene.parts.with_(graph=graph)


@fault(
    "older_head.v1", "the weights of an earlier training, with half of the labels, were packed", group="packaging",
    touches="head weights",
)  # fmt: skip
def older_head(scene: Scene) -> Parts:
    """The difference that half of the labels make to a plain logistic head, added to the head that there is."""
    from passmuster.flows.drill.training import shifted_head

    half = scene.rng.permutation(len(scene.pool.labels))[: len(scene.pool.labels) // 2]
    return shifted_head(scene, scene.pool.labels, half)


@fault(
    "policy_of_another_project.v1", "the bundle was packed with a policy that withholds nearly every answer",
    group="packaging", touches="served policy",
)  # fmt: skip
def policy_of_another_project(scene: Scene) -> Parts:
    """`min_confidence` of 0.999."""
    import dataclasses
    import tomllib

    raw = tomllib.loads(scene.parts.policy_toml)
    config = parse_config({"policy": raw["policy"]})
    guard = dataclasses.replace(config.policy.guard, min_confidence=0.999)
    strict = dataclasses.replace(config, policy=dataclasses.replace(config.policy, guard=guard))
    return scene.parts.with_(policy_toml=render_policy(strict))


def scaled_logits(parts: Parts, factor: float) -> Parts:
    """Every logit times `factor`."""
    if parts.engine.name == HTTP:
        return colder(parts, factor)
    by = np.array([factor], np.float32)
    graph = behind_logits(parts.graph, lambda a, b: ([node("Mul", [a, "factor"], b)], {"factor": by}))
    return parts.with_(graph=graph)
