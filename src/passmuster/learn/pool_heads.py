"""Heads that learn from the unlabelled pool as well as from the labels, judged and fitted beside the logistic head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from passmuster.learn.blend import fit_parts, in_order
from passmuster.learn.heads import CrossValidated
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.learn.propagation import Propagation, neighbour_graph
from passmuster.learn.self_training import SelfTraining


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
    """The logistic head and every head that learns from the pool, what to serve first.

    Held-out items are out of the graph, of the pool and of the distillation. `x`, `labelled` and `labels` are as for
    `POOL_HEADS`, `folds` (repeats, l).
    """
    heads = [prepare(x, labelled, labels, n_classes) for prepare in POOL_HEADS.values()]
    return in_order([logistic, *(head.cross_validate(logistic, folds) for head in heads)])


def fit_judged(
    tried: Sequence[CrossValidated],
    x: np.ndarray,
    labelled: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    inside: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (d, k) and bias (k,) of the first of `tried`, before its temperature.

    `x` (n, d) are scaled embeddings of what labels spread over, or of the labelled items alone where they do not.
    Learnt from the labels numbered `inside`, from all when None.
    """
    logistic = next(result for result in tried if result.kind == "logistic")
    known = np.arange(len(labels)) if inside is None else inside

    def fit(kind: str) -> tuple[np.ndarray, np.ndarray]:
        if kind == "logistic":
            return fit_logistic(x[labelled[known]], one_hot(labels[known], n_classes), c=logistic.c)
        head = POOL_HEADS[kind](x, labelled, labels, n_classes)
        return head.fit(known, c=logistic.c, temperature=logistic.temperature)

    return fit_parts(tried[0], fit)
