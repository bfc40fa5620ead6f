"""A rung whose encoder reads labels: judged before it is fitted, on encoders that saw no label they are judged by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from passmuster.core.budget import Deadline
from passmuster.learn.heads import CrossValidated
from passmuster.learn.refitted import cross_validate_refitted
from passmuster.modality.base import N_JUDGED_BESIDE, FitView, Rung
from passmuster.stages.train.choosing import standings_of
from passmuster.stages.train.run_folder import RunFolder
from passmuster.stages.train.step import ByFold, NotWorthError
from passmuster.stages.train.task import Task


def judge_taught(
    run: RunFolder,
    task: Task,
    rung: Rung,
    view: FitView,
    stop: Deadline,
    rng: np.random.Generator,
    before: Sequence[tuple[str, np.ndarray]],
    head_kind: str,
) -> tuple[tuple[CrossValidated, ...], ByFold] | None:
    """Heads by cross-validated log-loss, the best first, and what they were judged on; None when time is up.

    One repeat of the folds. `before` are names and held-out losses of the rungs fitted already, in their order.

    Raises
    ------
    NotWorthError
        When one of them is the better bet: neither the last fit nor a second embedding of the pool is then paid for.
    """
    assert rung.held_out is not None
    if head_kind != "logistic":
        raise NotWorthError("left out: so many classes are not taught in the time there is")
    if task.targets is not None:
        raise NotWorthError("left out: encoders are not taught by sets of classes yet")
    fold = np.full(len(task.pool), -1)
    fold[task.labelled] = task.folds[0]
    unlabelled = np.flatnonzero(task.labels < 0)
    beside = np.sort(rng.choice(unlabelled, min(N_JUDGED_BESIDE, len(unlabelled)), replace=False))
    items = np.concatenate([task.labelled, beside])
    rows = list(rung.held_out(view, items, fold, stop, run.rung(rung.name), rng))
    if len(rows) <= task.folds[0].max():
        return None
    tried = cross_validate_refitted(rows, task.labels[task.labelled], task.folds[0], len(task.classes))
    _compare(task, rung.name, tried[0], before)
    return tried, ByFold(beside, tuple(rows))


def _compare(task: Task, name: str, best: CrossValidated, before: Sequence[tuple[str, np.ndarray]]) -> None:
    standings = standings_of(task, [*before, (name, best.losses)])
    chosen = next(standing for standing in standings if standing.chosen)
    if chosen.name != name:
        own = standings[-1]
        raise NotWorthError(
            f"judged, and not the best bet: gain over {standings[0].name} {own.gain:+.3f} ± {own.gain_se:.3f} nats "
            f"(expected {own.expected_gain:+.3f}), {chosen.name} {chosen.gain:+.3f} "
            f"(expected {chosen.expected_gain:+.3f})"
        )
