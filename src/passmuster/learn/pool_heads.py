"""Heads that learn from the unlabelled pool as well as from the labels, and which of all heads comes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from passmuster.learn.heads import CrossValidated
from passmuster.learn.propagation import Propagation, neighbour_graph
from passmuster.learn.self_training import SelfTraining, earns_its_place


class PoolHead(Protocol):
    """A pool prepared for one way to learn from it. `fit` gives weight and bias from labels, by their numbers.

    `c` and `temperature` are the logistic head's, `folds` (repeats, l).
    """

    def fit(self, inside: np.ndarray, *, c: float, temperature: float) -> tuple[np.ndarray, np.ndarray]: ...

    def cross_validate(self, logistic: CrossValidated, folds: np.ndarray) -> CrossValidated: ...


def _propagation(x: np.ndarray, labelled: np.ndarray, labels: np.ndarray, n_classes: int) -> PoolHead:
    return Propagation(x, neighbour_graph(x), labelled, labels, n_classes)


# By the kind that ``head.json`` names: from scaled embeddings (n, d), the positions of the labelled items among them
# (l,), their classes as numbers (l,), and the number of classes.
POOL_HEADS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], PoolHead]] = {
    "propagation": _propagation,
    "self-training": SelfTraining,
}


def judge_pool_heads(
    x: np.ndarray,
    labelled: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    logistic: CrossValidated,
    folds: np.ndarray,
) -> tuple[CrossValidated, ...]:
    """The logistic head and every head that learns from the pool, the one to serve first.

    Held-out items are out of the graph, of the pool and of the distillation. `x`, `labelled` and `labels` are as for
    `POOL_HEADS`, `folds` (repeats, l).
    """
    heads = {kind: prepare(x, labelled, labels, n_classes) for kind, prepare in POOL_HEADS.items()}
    judged = {kind: head.cross_validate(logistic, folds) for kind, head in heads.items()}
    return in_order(logistic, judged["propagation"], judged["self-training"])


def in_order(
    logistic: CrossValidated, propagation: CrossValidated, self_training: CrossValidated
) -> tuple[CrossValidated, ...]:
    """By log-loss; self-training, which can go badly wrong, comes first only where it wins clearly, and else last."""
    others = sorted((logistic, propagation), key=lambda result: result.log_loss)
    first = earns_its_place(self_training, others)
    return (self_training, *others) if first else (*others, self_training)
