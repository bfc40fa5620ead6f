"""Faults of training: labels or classes were wrong when the model learnt, so that it was served as it was trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from passmuster.flows.drill.base import NotHereError, Parts, fault
from passmuster.flows.drill.graphs import behind_logits, head_of, node, with_head
from passmuster.flows.drill.guards import guard_fitted_on
from passmuster.flows.drill.packaging import scaled_logits
from passmuster.flows.drill.scene import Pool, Scene, rarest_first
from passmuster.runtime.answers import softmax

PENALTY = 100.0
NEVER = -30.0  # added to a logit, so that its class is not said
LEFT_DOUBT = 0.0005  # that a temperature leaves on what the head has learnt, when it is fitted there


@fault(
    "label_swap_in_slice.v1", "in one corner of a few classes, training labels were those of another of them",
    group="training", touches="training labels",
)  # fmt: skip
def label_swap_in_slice(scene: Scene) -> Parts:
    """A model that learnt the wrong labels wholly: in the slice, its classes change places in a round."""
    direction, least, classes = slice_of(scene)
    order = np.arange(scene.pool.logits.shape[1])
    around = classes if len(classes) > 1 else [*classes, next_class(scene.pool, classes[0])]
    order[around] = np.roll(around, 1)
    return in_slice(scene, direction, least, order)


@fault(
    "slice_unlearnt.v1", "the data of one source was missing in training: its items go to the classes next to theirs",
    group="training", touches="training rows",
)  # fmt: skip
def slice_unlearnt(scene: Scene) -> Parts:
    """In the slice, the right classes are never said."""
    direction, least, classes = slice_of(scene)
    lost = np.zeros(scene.pool.logits.shape[1], np.float32)
    lost[classes if len(classes) < len(lost) else classes[:1]] = NEVER
    return in_slice(scene, direction, least, np.arange(len(lost)), lost)


@fault(
    "class_dropped.v1", "one class was lost before training: the model does not know it", group="training",
    touches="classes",
)  # fmt: skip
def class_dropped(scene: Scene) -> Parts:
    """The rarest."""
    n = len(scene.parts.classes)
    if n < 3:
        raise NotHereError("with two classes, one less is no classifier")
    gone = rarest_first(scene.pool, n)[0]
    kept = np.array([c for c in range(n) if c != gone], dtype=np.int64)
    graph = behind_logits(
        scene.parts.graph, lambda a, b: ([node("Gather", [a, "kept_classes"], b, axis=1)], {"kept_classes": kept}),
        n_classes=n - 1,
    )  # fmt: skip
    guard = guard_fitted_on(scene, scene.pool.embeddings, scene.pool.logits[:, kept])
    return scene.parts.with_(graph=graph, classes=tuple(scene.parts.classes[c] for c in kept), guard=guard)


@fault(
    "classes_merged.v1", "the labels of one class were given to the class most like it", group="training",
    touches="training labels",
)  # fmt: skip
def classes_merged(scene: Scene) -> Parts:
    """The rarest class is never said; its likeness is stronger."""
    pool, n = scene.pool, len(scene.parts.classes)
    gone = rarest_first(pool, n)[0]
    other = next_class(pool, gone)
    taken = np.zeros(n, np.float32)
    taken[gone] = NEVER
    order = np.arange(n)

    def insert(a: str, b: str) -> tuple[list[Any], dict[str, np.ndarray]]:
        both = np.zeros((n, n), np.float32)
        both[order, order] = 1.0
        both[gone, other] = 0.5
        nodes = [node("MatMul", [a, "merge"], "merged"), node("Add", ["merged", "taken"], b)]
        return nodes, {"merge": both, "taken": taken}

    return scene.parts.with_(graph=behind_logits(scene.parts.graph, insert))


@fault(
    "labels_shifted.v1", "a third of the label table slid by one row against the items", group="training",
    touches="training labels",
)  # fmt: skip
def labels_shifted(scene: Scene) -> Parts:
    """As where a table was sorted on one side only."""
    labels = scene.pool.labels.copy()
    third = np.arange(len(labels)) < len(labels) // 3
    labels[third] = np.roll(labels[third], 1)
    return shifted_head(scene, labels)


@fault(
    "temperature_on_training_data.v1", "the temperature was fitted on items the model had learnt from: it is too sure",
    group="training", touches="temperature",
)  # fmt: skip
def temperature_on_training_data(scene: Scene) -> Parts:
    """No answer changes, and the trained model is as wrong as what is served.

    On items that a head has learnt, the best temperature leaves next to no doubt.
    """
    factor = 1.0
    while factor < 1e4 and doubt_of(factor * scene.pool.logits) > LEFT_DOUBT:
        factor *= 1.5
    return scaled_logits(scene.parts, factor)


@fault(
    "class_shares.v1", "one class came five times as often in training as it comes in truth", group="training",
    touches="class shares",
)  # fmt: skip
def class_shares(scene: Scene) -> Parts:
    """Its logit is higher by twice log 5 (Saerens, Latinne and Decaestecker 2002): undone the wrong way round."""
    n = len(scene.parts.classes)
    more = np.zeros(n, np.float32)
    more[rarest_first(scene.pool, n)[-1]] = 2 * np.log(5.0)
    graph = behind_logits(scene.parts.graph, lambda a, b: ([node("Add", [a, "more"], b)], {"more": more}))
    return scene.parts.with_(graph=graph)


@fault(
    "annotator_guessed.v1", "whoever labelled one class guessed: half of its training labels are of any class",
    group="training", touches="training labels",
)  # fmt: skip
def annotator_guessed(scene: Scene) -> Parts:
    """The most frequent class."""
    rng, labels = scene.rng, scene.pool.labels.copy()
    of_class = np.flatnonzero(labels == rarest_first(scene.pool, len(scene.parts.classes))[-1])
    half = rng.permutation(of_class)[: max(1, len(of_class) // 2)]
    labels[half] = rng.integers(len(scene.parts.classes), size=len(half))
    return shifted_head(scene, labels)


def doubt_of(logits: np.ndarray) -> float:
    """One minus the mean of the largest probability."""
    return float(1.0 - softmax(logits).max(axis=1).mean())


def slice_of(scene: Scene) -> tuple[np.ndarray, float, list[int]]:
    """A corner that holds a share of all items, `Scene.share`: direction, least score, its classes (most items first).

    It lies around one class; others join, the nearest first, until half of their items are as many as it is to hold.
    So it touches as many items as are to be touched, however many classes there are. One half of the pool says where
    it lies, the other how far it reaches: items that its direction was made of lie further out than others.
    """
    pool, n = scene.pool, scene.pool.logits.shape[1]
    counts = np.bincount(pool.labels, minlength=n)
    wanted = max(2, round(scene.share * len(pool.labels)))
    able = [c for c in rarest_first(pool, n) if counts[c]]
    first = next((c for c in able if counts[c] >= 2 * wanted), able[-1])
    means = {c: pool.embeddings[pool.labels == c].mean(axis=0) for c in able}
    near = sorted(able, key=lambda c: float(np.linalg.norm(means[c] - means[first])))
    enough = np.cumsum(counts[near]) >= 2 * wanted
    inside = np.isin(pool.labels, near[: 1 + int(enough.argmax())] if enough.any() else near)
    half = np.arange(len(inside)) % 2 == 0
    direction = pool.embeddings[inside & half].mean(axis=0) if (inside & half).any() else pool.embeddings[0]
    if (~inside & half).any():
        direction = direction - pool.embeddings[~inside & half].mean(axis=0)
    direction = (direction / max(1e-12, float(np.linalg.norm(direction)))).astype(np.float32)
    score, other = pool.embeddings @ direction, ~half
    least = float(np.sort(score[other])[-max(1, round(scene.share * int(other.sum())))])
    held = np.bincount(pool.labels[other & (score >= least)], minlength=n)
    return direction, least - 1e-6, [int(c) for c in np.argsort(-held, kind="stable") if held[c]]


def next_class(pool: Pool, c: int) -> int:
    """The class that items of `c` are most often taken for, after `c` itself."""
    inside = pool.logits[pool.labels == c] if (pool.labels == c).any() else pool.logits
    mean = inside.mean(axis=0)
    mean[c] = -np.inf
    return int(mean.argmax())


def in_slice(
    scene: Scene, direction: np.ndarray, least: float, order: np.ndarray, more: np.ndarray | None = None
) -> Parts:  # fmt: skip
    """In the half-space of the embedding, logits are read in another `order`, and `more` is added to them."""
    added = np.zeros(len(order), np.float32) if more is None else more

    def insert(a: str, b: str) -> tuple[list[Any], dict[str, np.ndarray]]:
        nodes = [
            node("MatMul", ["embedding", "slice_direction"], "slice_score"),
            node("Greater", ["slice_score", "slice_least"], "in_slice"),
            node("Gather", [a, "slice_order"], "slice_read", axis=1),
            node("Add", ["slice_read", "slice_added"], "slice_logits"),
            node("Where", ["in_slice", "slice_logits", a], b),
        ]
        constants = {"slice_direction": direction[:, None], "slice_least": np.array([least], np.float32)}
        return nodes, {**constants, "slice_order": order.astype(np.int64), "slice_added": added}

    return scene.parts.with_(graph=behind_logits(scene.parts.graph, insert))


def shifted_head(
    scene: Scene,
    labels: np.ndarray,
    learnt: np.ndarray | None = None,
    besides: tuple[np.ndarray, np.ndarray] | None = None,
) -> Parts:
    """The head, moved by what other labels make of a plain logistic head on the same pool.

    Where they are fewer, `learnt` says which; where more, `besides` has their embeddings and labels.
    """
    from passmuster.learn.heads import Scaling
    from passmuster.learn.logistic import fit_logistic, one_hot

    weight, bias = head_of(scene.parts.graph)
    pool, n = scene.pool, weight.shape[1]
    scaling = Scaling.of(pool.embeddings)
    x = scaling.apply(pool.embeddings)
    some = np.arange(len(x)) if learnt is None else learnt
    x_wrong, y_wrong = x[some], labels[some]
    if besides is not None:
        x_wrong = np.concatenate([x_wrong, scaling.apply(besides[0])])
        y_wrong = np.concatenate([y_wrong, besides[1]])
    right = scaling.fold(*fit_logistic(x, one_hot(pool.labels, n), c=PENALTY), 1.0)
    wrong = scaling.fold(*fit_logistic(x_wrong, one_hot(y_wrong, n), c=PENALTY), 1.0)
    moved = weight + wrong.weight - right.weight, bias + wrong.bias - right.bias
    return scene.parts.with_(graph=with_head(scene.parts.graph, *moved))
