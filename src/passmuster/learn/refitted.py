"""Judging heads on embeddings that learnt from labels: each fold has embeddings of its own, that saw none of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from passmuster.learn.blend import in_order
from passmuster.learn.calibration import fit_temperature
from passmuster.learn.heads import PENALTIES, CrossValidated, Scaling, held_out
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.learn.pool_heads import POOL_HEADS

# Weight and bias from the number of the fold, its scaled rows, and the positions of the labels to learn from.
Fit = Callable[[int, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def cross_validate_refitted(
    rows: Sequence[np.ndarray], labels: np.ndarray, fold: np.ndarray, n_classes: int
) -> tuple[CrossValidated, ...]:
    """The logistic head and, where there are unlabelled rows, those that learn from them; the one to serve first.

    Parameters
    ----------
    rows : per fold, embeddings (l + m, d) by an encoder that did not see that fold's labels: l labelled items, then m
        unlabelled ones
    labels : (l,) classes as numbers
    fold : (l,) the fold of each label, -1 when it is never held out

    Raises
    ------
    DataError
        ``data.too_few_labels``, as `learn.heads.held_out`.
    """
    items = held_out(fold[None, :], labels)
    scaled = [Scaling.of(x).apply(x) for x in rows]
    targets = one_hot(labels, n_classes)

    def judge(kind: str, c: float, fit: Fit) -> CrossValidated:
        logits = np.zeros((len(labels), n_classes), np.float32)
        for number, x in enumerate(scaled):
            inside = fold == number
            weight, bias = fit(number, x, np.flatnonzero(~inside))
            logits[inside] = x[: len(labels)][inside] @ weight + bias
        kept = logits[items]
        return CrossValidated(
            kind, c, fit_temperature(kept, labels[items], len(items)), items, labels[items], kept[None]
        )

    starts: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def logistic_at(c: float) -> CrossValidated:
        def fit(number: int, x: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            starts[number] = fit_logistic(x[inside], targets[inside], c=c, start=starts.get(number))
            return starts[number]

        return judge("logistic", c, fit)

    logistic = min((logistic_at(c) for c in PENALTIES), key=lambda result: result.log_loss)
    if len(rows[0]) == len(labels):
        return (logistic,)

    def with_pool(kind: str) -> CrossValidated:
        def fit(number: int, x: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            head = POOL_HEADS[kind](x, np.arange(len(labels)), labels, n_classes)
            return head.fit(inside, c=logistic.c, temperature=logistic.temperature)

        return judge(kind, logistic.c, fit)

    return in_order([logistic, *(with_pool(kind) for kind in POOL_HEADS)])
