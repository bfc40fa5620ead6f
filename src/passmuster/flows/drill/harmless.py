"""Copies without a fault: gates that stop one of these cry wolf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from passmuster.flows.drill.base import Parts, fault
from passmuster.flows.drill.bought import asked_otherwise, asking_in
from passmuster.flows.drill.graphs import behind_logits, head_of, node, with_head
from passmuster.flows.drill.scene import Scene
from passmuster.runtime.engine import HTTP

MIDDLING = 10.0  # of the penalties that training tries


@fault("written_again.v1", "the same model, packed again", group="harmless", touches="nothing")
def written_again(scene: Scene) -> Parts:
    """Another graph file of the same numbers; what is said of an endpoint is written in one way only."""
    if scene.parts.engine.name == HTTP:
        return scene.parts
    return scene.parts.with_(graph=behind_logits(scene.parts.graph, lambda a, b: ([node("Identity", [a], b)], {})))


@fault("rounding.v1", "the same head, every weight rounded to half precision", group="harmless", touches="nothing")
def rounding(scene: Scene) -> Parts:
    """Weights to sixteen bits and back."""
    weight, bias = (array.astype(np.float16).astype(np.float32) for array in head_of(scene.parts.graph))
    return scene.parts.with_(graph=with_head(scene.parts.graph, weight, bias))


@fault("another_order.v1", "the same classes learnt in another order", group="harmless", touches="nothing", taught=True)
def another_order(scene: Scene) -> Parts:
    """Logits and names are reordered together, as a builder who does it right would."""
    if scene.parts.engine.name == HTTP:
        known = asking_in(scene.parts).classes
        told = (*(known[int(i)] for i in scene.rng.permutation(len(known) - 1)), known[-1])  # no answer stays last
        return asked_otherwise(scene.parts, lambda asking: replace(asking, classes=told)).with_(classes=told)
    order = scene.rng.permutation(len(scene.parts.classes)).astype(np.int64)
    graph = behind_logits(
        scene.parts.graph, lambda a, b: ([node("Gather", [a, "class_order"], b, axis=1)], {"class_order": order})
    )
    return scene.parts.with_(graph=graph, classes=tuple(scene.parts.classes[int(i)] for i in order))


@fault(
    "another_seed.v1", "the head learnt again from the same labels with another seed", group="harmless",
    touches="nothing", taught=True,
)  # fmt: skip
def another_seed(scene: Scene) -> Parts:
    """What a seed decides of a head: in which order it sees the labels, and which of them its temperature is fitted on.

    The head's loss is convex, so that no seed makes it better or worse than another.
    """
    from passmuster.learn.folds import repeated_folds
    from passmuster.learn.heads import Scaling, cross_validate_logistic
    from passmuster.learn.logistic import fit_logistic, one_hot

    weight, bias = head_of(scene.parts.graph)
    pool, n = scene.pool, weight.shape[1]
    scaling = Scaling.of(pool.embeddings)
    x, c = scaling.apply(pool.embeddings), penalty_of(scene.parts.head)
    heads = []
    for seed in ([scene.seed, 0], [scene.seed, 1]):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(x))
        labels = pool.labels[order]
        judged = cross_validate_logistic(x[order], labels, repeated_folds(labels, rng), n, (c,))
        heads.append(scaling.fold(*fit_logistic(x[order], one_hot(labels, n), c=c), judged.temperature))
    one, other = heads
    moved = weight + other.weight - one.weight, bias + other.bias - one.bias
    return scene.parts.with_(graph=with_head(scene.parts.graph, *moved))


def penalty_of(head: Mapping[str, object]) -> float:
    """The penalty that training chose, where the bundle says it of a logistic head; a middling one otherwise."""
    said = head.get("penalty_c")
    logistic = str(head.get("kind", "")).startswith("logistic")
    return float(said) if logistic and isinstance(said, int | float) and said > 0 else MIDDLING
