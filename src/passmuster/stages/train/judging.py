"""Which head over a rung's embeddings: cross-validated log-loss on labels that it did not see, in the time there is."""

from __future__ import annotations

from typing import Any

import numpy as np

from passmuster.core.matrix import Matrix
from passmuster.learn.discriminant import cross_validate_discriminant
from passmuster.learn.heads import CrossValidated, Scaling, cross_validate_logistic
from passmuster.learn.label_set_heads import cross_validate_label_sets
from passmuster.learn.pool_heads import judge_pool_heads
from passmuster.learn.propagation import propagation_bytes
from passmuster.modality.base import Rung
from passmuster.stages.train.head_price import MIN_SPREAD_ITEMS, QUICK_WORK, pool_heads_flops, pool_heads_s
from passmuster.stages.train.plan import FINISH_S
from passmuster.stages.train.step import Climb, Judged
from passmuster.stages.train.task import Task


def judge_heads(
    step: Climb,
    rung: Rung,
    pool: Matrix,
    seen: np.ndarray,
    later_s: float,
    judged: tuple[CrossValidated, ...] | None = None,
) -> tuple[tuple[Judged, ...], np.ndarray | None, float]:
    """Heads on these embeddings by cross-validated log-loss, the best first; over what labels spread; the last fit.

    `pool` are embeddings of the items at the positions `seen` of the pool. `judged` are heads that were judged
    elsewhere, because these embeddings have seen the labels.
    """
    task = step.task
    if judged is not None and judged[0].kind == "logistic":
        return judged, None, 0.0
    scaling = Scaling.of(pool)
    labelled = scaling.apply(pool[np.searchsorted(seen, task.labelled)])
    if task.targets is not None:  # labels are not spread: what that is worth for sets of classes was not measured
        decide_at = step.store.config.train.decide_at
        return (cross_validate_label_sets(labelled, task.targets, task.folds, decide_at),), None, 0.0
    labels = task.labels[task.labelled]
    n_classes = len(task.classes)
    if step.head_kind == "discriminant":
        return (cross_validate_discriminant(labelled, labels, task.folds, n_classes),), None, 0.0
    if judged is None:
        logistic = cross_validate_logistic(labelled, labels, task.folds, n_classes)
    else:
        logistic = next(head for head in judged if head.kind == "logistic")
    decision = step.run.decide(f"spread-{rung.name}", lambda: _how_to_spread(step, len(seen), pool.shape[1], later_s))
    if not decision["n_items"]:
        return (logistic,), None, 0.0
    chosen = spread_positions(task, seen, int(decision["n_items"]), step.rng("spread"))
    last_s = pool_heads_s(step.machine.matmul_gflops * 1e9, len(chosen), pool.shape[1], n_classes, 1)
    if judged is not None:
        return judged, chosen, last_s
    x, folds = scaling.apply(pool[np.searchsorted(seen, chosen)]), task.folds[: int(decision["n_repeats"])]
    place = np.searchsorted(chosen, task.labelled)
    return judge_pool_heads(x, place, labels, n_classes, logistic, folds), chosen, last_s


def _how_to_spread(step: Climb, n_pool: int, d: int, later_s: float) -> dict[str, Any]:
    """Over how many of `n_pool` items labels spread, on how many repeats that is judged: by time and memory left."""
    task = step.task
    n_labels, n_classes = len(task.labelled), len(task.classes)
    n_folds = int(task.folds.max()) + 1
    room_s = step.deadline.left_s - later_s - step.pace * FINISH_S
    speed = step.machine.matmul_gflops * 1e9
    fewest = n_labels + MIN_SPREAD_ITEMS
    if n_pool < fewest:
        return {"n_items": 0, "why": "hardly any unlabelled items"}
    wanted = min(n_pool, step.store.config.train.spread_items + n_labels)
    in_memory = int(step.memory_room_bytes() / propagation_bytes(1, d, n_classes))
    n_items = min(wanted, in_memory)
    if n_items < fewest:
        return {"n_items": 0, "why": f"no memory for it: room for {max(0, in_memory):,} items"}
    while True:
        once = pool_heads_s(speed, n_items, d, n_classes, n_folds + 1)
        if once <= room_s:
            break
        n_items = int(n_items * 0.8)
        if n_items < fewest:
            return {"n_items": 0, "why": f"no time: {max(0.0, room_s):.1f} s left for it"}
    shape, n_fits = (n_items, d, n_classes), n_folds * len(task.folds) + 1
    quick = pool_heads_s(speed, *shape, n_fits) <= room_s and pool_heads_flops(*shape, n_fits) <= QUICK_WORK
    n_repeats = len(task.folds) if quick else 1
    return {"n_items": n_items, "n_repeats": n_repeats, "of": n_pool, "expected_s": round(once, 2)}


def spread_positions(task: Task, seen: np.ndarray, n_items: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of the pool that labels spread over: every labelled item, and a sample of the others that were seen."""
    unlabelled = seen[task.labels[seen] < 0]
    n_sampled = min(len(unlabelled), n_items - len(task.labelled))
    return np.sort(np.concatenate([task.labelled, rng.choice(unlabelled, n_sampled, replace=False)]))
