"""Copies without a fault: gates that stop one of these cry wolf."""

from __future__ import annotations

import numpy as np

from passmuster.flows.drill.base import Parts, fault
from passmuster.flows.drill.graphs import behind_logits, head_of, node, with_head
from passmuster.flows.drill.scene import Scene


@fault("written_again.v1", "the same model, packed again", group="harmless", touches="nothing")
def written_again(scene: Scene) -> Parts:
    """Another graph file of the same numbers."""
    return scene.parts.with_(graph=behind_logits(scene.parts.graph, lambda a, b: ([node("Identity", [a], b)], {})))


@fault("rounding.v1", "the same head, every weight rounded to half precision", group="harmless", touches="nothing")
def rounding(scene: Scene) -> Parts:
    """Weights to sixteen bits and back."""
    weight, bias = (np.float32(np.float16(array)) for array in head_of(scene.parts.graph))
    return scene.parts.with_(graph=with_head(scene.parts.graph, weight, bias))


@fault("another_order.v1", "the same classes learnt in another order", group="harmless", touches="nothing", taught=True)
def another_order(scene: Scene) -> Parts:
    """Logits and names are reordered together, as a builder who does it right would."""
    order = np.int64(scene.rng.permutation(len(scene.parts.classes)))
    graph = behind_logits(
        scene.parts.graph, lambda a, b: ([node("Gather", [a, "class_order"], b, axis=1)], {"class_order": order})
    )
    return scene.parts.with_(graph=graph, classes=tuple(scene.parts.classes[int(i)] for i in order))


@fault(
    "another_seed.v1", "the head learnt again from a pool drawn anew", group="harmless", touches="nothing", taught=True
)
def another_seed(scene: Scene) -> Parts:
    """The difference that leaving out a tenth of the pool makes to a plain logistic head."""
    from passmuster.flows.drill.training import shifted_head

    n = len(scene.pool.labels)
    return shifted_head(scene, scene.pool.labels, scene.rng.permutation(n)[: n - n // 10])
