"""Distillation: a head over light embeddings learns the answers of a heavier model about the pool.

As in Hinton et al. 2015, "Distilling the knowledge in a neural network": the pool's soft answers are targets beside the
labels. With a few labels this brings most of what a transformer knows about the task to vectors that are looked up,
which answer tens of times as fast (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.learn.calibration import fit_temperature
from passmuster.learn.heads import PENALTIES, CrossValidated, Scaling, held_out
from passmuster.learn.logistic import fit_logistic, one_hot, softmax
from passmuster.learn.pool_heads import fit_judged

KIND = "distilled"
MAX_ITERATIONS = 30
EFFICIENCY = 0.4  # share of the measured matrix-product speed that its products reach


@dataclass(frozen=True)
class Teacher:
    """A judged model. `rows` are embeddings (l + m, d) by fold: l labelled items, then m others, by an encoder that saw
    no label of that fold; `tried` are its heads, what it serves first.
    """  # fmt: skip

    rows: Sequence[np.ndarray]
    tried: Sequence[CrossValidated]

    def answers(self, number: int, labels: np.ndarray, n_classes: int, inside: np.ndarray | None = None) -> np.ndarray:
        """Probabilities (m, k) about the others, by a head that learnt the labels numbered `inside` (all when None)."""
        x = Scaling.of(self.rows[number]).apply(self.rows[number])
        weight, bias = fit_judged(self.tried, x, np.arange(len(labels)), labels, n_classes, inside)
        return softmax((x[len(labels) :] @ weight + bias) / np.float32(self.tried[0].temperature))


def fit_distilled(
    x: np.ndarray,
    targets: np.ndarray,
    answers: np.ndarray,
    *,
    c: float,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (d, k) and bias (k,) from l labelled rows, then m others: `targets` (l, k) and the teacher's `answers`.

    >>> x = np.array([[1.0], [-1.0], [2.0], [-2.0]], dtype=np.float32)
    >>> answers = np.array([[0.1, 0.9], [0.9, 0.1]], dtype=np.float32)
    >>> weight, bias = fit_distilled(x, np.eye(2, dtype=np.float32)[[1, 0]], answers, c=10.0)
    >>> (x @ weight + bias).argmax(axis=1)
    array([1, 0, 1, 0])
    """
    return fit_logistic(x, np.concatenate([targets, answers]), c=c, start=start, max_iterations=MAX_ITERATIONS)


def cross_validate_distilled(
    x: np.ndarray, labels: np.ndarray, fold: np.ndarray, n_classes: int, teacher: Teacher
) -> CrossValidated:
    """The student's best penalty by cross-validated log-loss; neither it nor its teacher saw what it is judged by.

    Parameters
    ----------
    x : scaled embeddings (l + m, d) of the items that the teacher's rows are of
    labels, fold : (l,) classes as numbers, and their folds (-1: never held out)
    """
    items, targets = held_out(fold[None, :], labels), one_hot(labels, n_classes)
    n, others = len(labels), np.arange(len(labels), len(x))
    taught = []
    for number in range(int(fold.max()) + 1):
        inside = np.flatnonzero(fold != number)
        taught.append((inside, teacher.answers(number, labels, n_classes, inside)))
    starts: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def judge(c: float) -> CrossValidated:
        logits = np.zeros((n, n_classes), np.float32)
        for number, (inside, answers) in enumerate(taught):
            rows = np.concatenate([inside, others])
            starts[number] = fit_distilled(x[rows], targets[inside], answers, c=c, start=starts.get(number))
            outside = np.flatnonzero(fold == number)
            logits[outside] = x[outside] @ starts[number][0] + starts[number][1]
        kept = logits[items]
        return CrossValidated(
            KIND, c, fit_temperature(kept, labels[items], len(items)), items, labels[items], kept[None]
        )

    return min((judge(c) for c in PENALTIES), key=lambda result: result.log_loss)


def distilled_s(flops_per_s: float, n_items: int, d: float, n_classes: int, n_folds: int) -> float:
    """Seconds that cross-validating and fitting a student are expected to take, its teachers' heads included."""
    n_fits = n_folds * len(PENALTIES) + 1
    flops = 1.25 * n_fits * MAX_ITERATIONS * 4.0 * n_items * d * n_classes
    return 1.5 * flops / EFFICIENCY / flops_per_s
