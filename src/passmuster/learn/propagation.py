"""Propagation: labels spread over a neighbour graph of the whole pool, then distilled into a linear head.

The iteration is label spreading (Zhou et al. 2004, "Learning with local and global consistency", section 2). It starts
not from the labels alone but from the logistic head's calibrated answers with the labels written over them, as in
"Combining label propagation and simple models" (Huang et al. 2021): with 8 labels per class that was five to eight
points better than spreading the labels alone. What is served is the linear head fitted to the spread answers.

Classes spread at their shares in the pool as the head's answers show them (`learn/shares.py`), which need not be those
among the labels; the distilled head is moved back to the labels' shares, where it is judged beside other heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.learn.heads import CrossValidated, cross_validate
from passmuster.learn.logistic import fit_logistic, one_hot, softmax
from passmuster.learn.neighbours import Lists, nearest, search_flops
from passmuster.learn.shares import label_shares, share_shift


@dataclass(frozen=True)
class Spreading:
    """How labels spread. Chosen on a validation part of Banking77's training split; see docs/log.md."""

    n_neighbours: int = 15
    power: float = 3.0  # of the cosine, as the weight of an edge
    alpha: float = 0.5  # share of an item's answer that comes from its neighbours
    n_steps: int = 20
    balance: float = 1.0  # 0: classes as large as they come out; 1: as large as they are expected to be
    pool_weight: float = 0.2  # of an unlabelled item in the distillation, a labelled one counts 1
    max_iterations: int = 40


def neighbour_graph(embeddings: np.ndarray, settings: Spreading = Spreading(), lists: Lists = Lists()) -> Any:
    """Symmetric weights (n, n), scipy CSR: cosine to the power of `power` between each item and its nearest.

    The nearest are found exactly while items are few, else by inverted lists (see `neighbours.nearest`).
    """
    from scipy import sparse

    near, cosines = nearest(embeddings, settings.n_neighbours, lists)
    n, k = near.shape
    values = np.maximum(cosines, 0.0).ravel() ** settings.power  # nobody found: no weight
    edges = (values, np.maximum(near, 0).ravel(), np.arange(0, n * k + 1, k))
    graph = sparse.csr_matrix(edges, shape=(n, n))
    return graph.maximum(graph.T).tocsr()


def spread(graph: Any, start: np.ndarray, prior: np.ndarray, settings: Spreading = Spreading()) -> np.ndarray:
    """Answers (n, k) after spreading `start` (n, k, rows sum to 1) over `graph`; rows sum to 1.

    `prior` (k,) is the expected share of each class; class sizes are moved towards it by `balance`.
    """
    from scipy import sparse

    degree = np.asarray(graph.sum(axis=1)).ravel()
    scale = sparse.diags(1.0 / np.sqrt(np.maximum(degree, 1e-12)).astype(np.float32))
    normal = (scale @ graph @ scale).astype(np.float32)
    answers = start
    for _ in range(settings.n_steps):
        answers = settings.alpha * (normal @ answers) + (1 - settings.alpha) * start
    answers = answers / np.maximum(answers.sum(axis=1, keepdims=True), 1e-12)
    size = answers.mean(axis=0)
    answers = answers * (prior / np.maximum(size, 1e-12)) ** settings.balance
    return np.asarray((answers / np.maximum(answers.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32))


@dataclass(frozen=True)
class Propagation:
    """A pool prepared for propagation: scaled embeddings (n, d), their graph, and where the labelled items lie."""

    x: np.ndarray
    graph: Any
    labelled: np.ndarray  # (l,) positions in x
    labels: np.ndarray  # (l,)
    n_classes: int
    settings: Spreading = Spreading()

    def fit(self, inside: np.ndarray, *, c: float, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias learnt from the labelled items numbered `inside`; the other labelled items leave the graph.

        `c` and `temperature` are the logistic head's.
        """
        positions, labels = self.labelled[inside], self.labels[inside]
        targets = one_hot(labels, self.n_classes)
        weight, bias = fit_logistic(self.x[positions], targets, c=c)
        outside = np.setdiff1d(self.labelled, positions)
        kept = np.setdiff1d(np.arange(len(self.x)), outside)
        graph = self.graph if not len(outside) else self.graph[kept][:, kept]
        x = self.x if not len(outside) else self.x[kept]
        teach = np.searchsorted(kept, positions)
        logits = (x @ weight + bias) / np.float32(temperature)
        shares = label_shares(labels, self.n_classes)
        shift = share_shift(logits, shares)
        start = softmax(logits + shift)
        start[teach] = targets
        answers = spread(graph, start, shares * np.exp(shift), self.settings)
        answers[teach] = targets
        weights = np.full(len(x), self.settings.pool_weight, np.float32)
        weights[teach] = 1.0
        begin = (weight / np.float32(temperature), bias / np.float32(temperature) + shift)
        weight, bias = fit_logistic(
            x, answers, c=c, weights=weights, start=begin, max_iterations=self.settings.max_iterations
        )
        return weight, bias - shift

    def cross_validate(self, logistic: CrossValidated, folds: np.ndarray) -> CrossValidated:
        """Out-of-fold logits of the distilled head, the held-out items being out of graph and distillation."""
        return cross_validate(
            "propagation",
            logistic.c,
            self.x[self.labelled],
            self.labels,
            folds,
            self.n_classes,
            lambda inside: self.fit(inside, c=logistic.c, temperature=logistic.temperature),
        )


# Shares of the measured matrix-product speed that the neighbour search and the distillation reach.
GRAPH_EFFICIENCY, DISTIL_EFFICIENCY = 0.3, 0.4


def propagation_s(
    flops_per_s: float, n_items: int, d: int, n_classes: int, n_fits: int, settings: Spreading = Spreading()
) -> float:
    """Seconds that `n_fits` propagations over two builds of one graph are expected to take."""
    graph = 2 * search_flops(n_items, d)
    distil = 1.25 * settings.max_iterations * 4.0 * n_items * d * n_classes
    sparse = 20.0 * settings.n_steps * 4.0 * settings.n_neighbours * n_items * n_classes  # memory-bound
    return (graph / GRAPH_EFFICIENCY + n_fits * (distil + sparse) / DISTIL_EFFICIENCY) / flops_per_s


def propagation_bytes(n_items: int, d: int, n_classes: int, settings: Spreading = Spreading()) -> int:
    """Memory of the heads that learn from the pool: embeddings and two forms of them, the graph, answers, residuals."""
    numbers = 3 * d + 8 * n_classes + 12 * settings.n_neighbours  # both directions of an edge, with its place, thrice
    return 4 * n_items * numbers
