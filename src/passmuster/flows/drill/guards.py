"""Faults of the guard: answers are right, and what is withheld or kept possible is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from passmuster.flows.drill.base import Parts, fault
from passmuster.flows.drill.graphs import embedding_said, node
from passmuster.flows.drill.scene import Scene
from passmuster.runtime.guard import apply_guard, fit_novelty


@fault(
    "embedding_not_centred.v1", "the graph gives embeddings around another centre than those the guard was fitted on",
    group="packaging", touches="guard",
)  # fmt: skip
def embedding_not_centred(scene: Scene) -> Parts:
    """Every answer is right; what the guard compares is not."""
    pool = scene.pool.embeddings
    size = np.float32(3.0 * np.sqrt((pool**2).sum(axis=1).mean()) / np.sqrt(pool.shape[1]))
    centre = size * scene.rng.choice([-1.0, 1.0], pool.shape[1]).astype(np.float32)
    graph = embedding_said(scene.parts.graph, lambda a, b: ([node("Add", [a, "centre"], b)], {"centre": centre}))
    return scene.parts.with_(graph=graph)


@fault(
    "guard_of_another_model.v1", "the guard was fitted on the embeddings of another model", group="packaging",
    touches="guard",
)  # fmt: skip
def guard_of_another_model(scene: Scene) -> Parts:
    """Embeddings twice as large, whose numbers mean something else."""
    pool = scene.pool
    order = scene.rng.permutation(pool.embeddings.shape[1])
    return scene.parts.with_(guard=guard_fitted_on(scene, 2.0 * pool.embeddings[:, order], pool.logits))


@fault(
    "guard_silent.v1", "the threshold of novelty was written in another unit: nothing is ever called novel",
    group="packaging", touches="guard", unseen=True,
)  # fmt: skip
def guard_silent(scene: Scene) -> Parts:
    """A thousand times too high."""
    high = 1_000 * (1 + abs(float(scene.parts.guard["novelty_threshold"])))
    return scene.parts.with_(guard={**scene.parts.guard, "novelty_threshold": np.asarray(high)})


@fault(
    "guard_eager.v1", "the threshold of novelty was set on the wrong side: ordinary items are withheld",
    group="packaging", touches="guard",
)  # fmt: skip
def guard_eager(scene: Scene) -> Parts:
    """At the middle of what ordinary items score."""
    found = apply_guard(scene.parts.guard, scene.pool.embeddings, scene.pool.logits, scene.store.config.policy.guard)
    middle = np.asarray(float(np.median(found.novelty)))
    return scene.parts.with_(guard={**scene.parts.guard, "novelty_threshold": middle})


@fault(
    "sets_full.v1", "the threshold of prediction sets was lost: each holds every class", group="packaging",
    touches="guard",
)  # fmt: skip
def sets_full(scene: Scene) -> Parts:
    """The sets say nothing of what is possible."""
    return scene.parts.with_(guard={**scene.parts.guard, "set_threshold": np.asarray(1.0)})


def guard_fitted_on(scene: Scene, embeddings: np.ndarray, logits: np.ndarray) -> Mapping[str, np.ndarray]:
    """The guard with its detector fitted anew on half of these items, and its threshold on the other half."""
    policy = replace(scene.store.config.policy.guard, novelty=str(scene.parts.guard["detector_name"]))
    kept = {k: v for k, v in scene.parts.guard.items() if not k.startswith("detector.")}
    fit, held = (slice(start, None, 2) for start in (0, 1))
    return {**kept, **fit_novelty(embeddings[fit], logits[fit], embeddings[held], logits[held], policy)}
