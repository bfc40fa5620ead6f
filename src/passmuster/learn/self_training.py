"""Self-training: the head's own surest answers become labels, as many of each class as the pool is thought to hold.

Pseudo-labels (Lee 2013) taken by confidence alone are mostly of the classes that the head finds easy, and each round
makes that worse. Here each class gives its share (`learn/shares.py`) of a part of the pool that grows from round to
round, the surest first: a threshold of its own for each class, as in class-balanced self-training (Zou et al. 2018) and
FlexMatch (Zhang et al. 2021), with shares of the pool instead of those of the labels, as in CReST (Wei et al. 2021).
What is served is the linear head of the last round.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from passmuster.learn.heads import CrossValidated, cross_validate
from passmuster.learn.logistic import fit_logistic, one_hot, softmax
from passmuster.learn.shares import label_shares, share_shift


@dataclass(frozen=True)
class Rounds:
    """How self-training goes on. Chosen on training halves of AG News and Fashion-MNIST; see docs/log.md."""

    n_rounds: int = 5
    last_part: float = 0.8  # of the pool that has pseudo-labels in the last round; they grow evenly to it
    pool_weight: float = 0.2  # of a pseudo-label, a label counts 1
    max_iterations: int = 12  # a round begins where the one before ended


@dataclass(frozen=True)
class SelfTraining:
    """A pool prepared for self-training: scaled embeddings (n, d), and where the labelled items lie."""

    x: np.ndarray
    labelled: np.ndarray  # (l,) positions in x
    labels: np.ndarray  # (l,)
    n_classes: int
    rounds: Rounds = Rounds()

    @cached_property
    def pool(self) -> np.ndarray:
        """Embeddings of the items without a label (m, d)."""
        return np.delete(self.x, self.labelled, axis=0)

    def fit(self, inside: np.ndarray, *, c: float, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias learnt from the labelled items numbered `inside`; the other labelled items are left out.

        `c` and `temperature` are the logistic head's. The head expects classes at the labels' shares, where it is
        judged beside other heads.
        """
        x, labels = self.x[self.labelled[inside]], self.labels[inside]
        targets = one_hot(labels, self.n_classes)
        weight, bias = fit_logistic(x, targets, c=c)
        if not len(self.pool):
            return weight, bias
        shares = label_shares(labels, self.n_classes)
        logits = (self.pool @ weight + bias) / np.float32(temperature)
        shift = share_shift(logits, shares)
        logits += shift
        in_pool = shares * np.exp(shift)
        in_pool /= in_pool.sum()
        for number in range(1, self.rounds.n_rounds + 1):
            part = self.rounds.last_part * number / self.rounds.n_rounds
            chosen, answers = surest(softmax(logits), np.rint(part * len(self.pool) * in_pool).astype(np.int64))
            weights = np.full(len(labels) + len(chosen), self.rounds.pool_weight, np.float32)
            weights[: len(labels)] = 1.0
            weight, bias = fit_logistic(
                np.concatenate([x, self.pool[chosen]]),
                np.concatenate([targets, one_hot(answers, self.n_classes)]),
                c=c, weights=weights, start=(weight, bias), max_iterations=self.rounds.max_iterations,
            )  # fmt: skip
            logits = self.pool @ weight + bias
        return weight, bias - shift

    def cross_validate(self, logistic: CrossValidated, folds: np.ndarray) -> CrossValidated:
        """Out-of-fold logits of the self-trained head, the held-out items being no part of its pool."""
        return cross_validate(
            "self-training",
            logistic.c,
            self.x[self.labelled],
            self.labels,
            folds,
            self.n_classes,
            lambda inside: self.fit(inside, c=logistic.c, temperature=logistic.temperature),
        )


def surest(probabilities: np.ndarray, n_wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items (m,) taken as examples of the class they are answered with, and those classes (m,).

    Parameters
    ----------
    probabilities : (n, k)
    n_wanted : (k,) of each class at most; the most probable are taken

    Examples
    --------
    >>> surest(np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]), np.array([1, 5]))
    (array([0, 2]), array([0, 1]))
    """
    answers = probabilities.argmax(axis=1)
    order = np.lexsort((-probabilities.max(axis=1), answers))  # by class, the surest first
    grouped = answers[order]
    sizes = np.bincount(grouped, minlength=len(n_wanted))
    place = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[grouped]
    chosen = np.sort(order[place < n_wanted[grouped]])
    return chosen, answers[chosen]


FIT_EFFICIENCY = 0.4  # share of the measured matrix-product speed that its products reach


def self_training_s(
    flops_per_s: float, n_items: int, d: int, n_classes: int, n_fits: int, rounds: Rounds = Rounds()
) -> float:
    """Seconds that `n_fits` self-trainings are expected to take: in each round, half of the pool at the mean."""
    taught = 0.5 * (1 + 1 / rounds.n_rounds) * rounds.last_part * n_items
    flops = 1.25 * rounds.n_rounds * rounds.max_iterations * 4.0 * taught * d * n_classes
    return n_fits * flops / FIT_EFFICIENCY / flops_per_s
