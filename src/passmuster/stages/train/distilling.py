"""A rung whose head learns what another rung's model answers about the pool: judged, and fitted at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from passmuster.core.matrix import Matrix
from passmuster.learn.distilled import Teacher, cross_validate_distilled, fit_distilled
from passmuster.learn.heads import CrossValidated, Head, Scaling
from passmuster.learn.logistic import one_hot, softmax
from passmuster.modality.base import Rung
from passmuster.stages.train.choosing import standings_of
from passmuster.stages.train.step import Climbed, NotWorthError
from passmuster.stages.train.task import Task


def teacher_of(task: Task, rung: Rung, before: Sequence[Climbed]) -> Climbed:
    """The best bet of the fitted rungs that may teach `rung`: a student of the luckiest would inherit its luck.

    Raises
    ------
    NotWorthError
        When none of them was fitted, or their heads are of a kind that is not distilled.
    """
    able = [done for done in before if done.rung.name in rung.teachers]
    if not able:
        raise NotWorthError(f"left out: none of {', '.join(rung.teachers)} is there to learn from")
    if not isinstance(able[0].best, CrossValidated):
        raise NotWorthError("left out: answers of sets of classes are not distilled yet")
    if able[0].best.kind == "discriminant":
        raise NotWorthError("left out: so many classes are not distilled in the time there is")
    standings = standings_of(task, [(done.rung.name, done.best.losses) for done in before])
    expected = {standing.name: standing.expected_gain for standing in standings}
    return max(able, key=lambda done: expected[done.rung.name])


def judge_distilled(task: Task, pool: Matrix, seen: np.ndarray, teacher: Climbed, taught: Matrix) -> CrossValidated:
    """The student's head by cross-validated log-loss, on one repeat of the folds.

    `pool` are the student's embeddings of the items at the positions `seen`, `taught` the teacher's of those it saw.
    """
    labels, fold = task.labels[task.labelled], task.folds[0]
    if teacher.by_fold is None:
        others = _others(task, teacher)
        rows = [taught[teacher.rows(np.concatenate([task.labelled, others]))]] * (int(fold.max()) + 1)
    else:
        others, rows = teacher.by_fold.others, list(teacher.by_fold.rows)
    student = pool[np.searchsorted(seen, np.concatenate([task.labelled, others]))]
    heads = [head for head in teacher.tried if isinstance(head, CrossValidated)]
    x = Scaling.of(pool).apply(student)
    return cross_validate_distilled(x, labels, fold, len(task.classes), Teacher(rows, heads))


def fit_student(task: Task, chosen: Climbed, pool: Matrix, teacher: Head, taught: Matrix) -> Head:
    """The student's head on all labels and its teacher's answers about what the teacher saw of the pool."""
    assert chosen.teacher is not None
    others = _others(task, chosen.teacher)
    answers = softmax(teacher.logits(taught[chosen.teacher.rows(others)]))
    scaling, targets = Scaling.of(pool), one_hot(task.labels[task.labelled], len(task.classes))
    x = scaling.apply(pool[chosen.rows(np.concatenate([task.labelled, others]))])
    assert isinstance(chosen.best, CrossValidated)
    weight, bias = fit_distilled(x, targets, answers, c=chosen.best.c)
    return scaling.fold(weight, bias, chosen.best.temperature)


def _others(task: Task, teacher: Climbed) -> np.ndarray:
    """Positions of the unlabelled items that the teacher has embedded."""
    return np.asarray(teacher.seen[task.labels[teacher.seen] < 0])
