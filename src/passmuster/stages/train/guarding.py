"""Which novelty detector guards the bundle, where the policy says "auto": classes left out play the unknown.

In each trial a draw of classes is left out of everything: a head learns the others from three quarters of their
labels, the detectors learn what is ordinary from the pool without what the final head takes for those classes, and each
must tell the labelled items of the classes left out from the last quarter of the others. An encoder that has read
labels has read those of the classes left out too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from passmuster.core.budget import Machine
from passmuster.core.label_sets import MULTI
from passmuster.core.matrix import Matrix
from passmuster.core.threads import one_thread
from passmuster.learn.heads import PENALTIES, Head, Scaling
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.metrics.novelty import detectors, with_backing
from passmuster.metrics.novelty.backed import BACKING
from passmuster.metrics.novelty.choose import AUTO, FALLBACK, Standing, Trial, rank_detectors, try_detectors
from passmuster.stages.train.head_price import HEAD_EFFICIENCY, HEAD_EVALUATIONS
from passmuster.stages.train.pace import parity_s
from passmuster.stages.train.plan import FINISH_S
from passmuster.stages.train.step import Climb, Climbed

N_TRIALS = 5
FEWEST_FOR_NEIGHBOURHOODS = 10  # classes
LEAST_AREA = 0.65  # of the best detector, below which its lead over the others is chance, and distance is the safer bet
FEWEST_CLASSES = 3  # one to leave out, and two for a head
FEWEST_ITEMS = 8  # strange, and ordinary, in a trial
MAX_LABELLED = 4_000  # that the heads of the trials learn from, and are judged on
STEPS_OF_A_TRIAL, SPARE = 12.0, 1.5  # the larger ones: covariances and subspaces; and what must be left besides
MAX_ORDINARY = 2_000  # that the detectors of a trial learn from


@dataclass(frozen=True)
class Labelled:
    """Labelled items: embeddings (n, d), class numbers (n,), folds (n,) that keep twins together (-1: never held)."""

    embeddings: np.ndarray
    labels: np.ndarray
    folds: np.ndarray


@dataclass(frozen=True)
class Ordinary:
    """Items that the detectors learn from: embeddings (m, d), what the final head says of them (m,).

    `labelled` says which of the labelled items each is, -1 where it is none.
    """

    embeddings: np.ndarray
    said: np.ndarray
    labelled: np.ndarray


@dataclass(frozen=True)
class Chosen:
    """The detector, why in words, and how each stood (none where nothing could be left out)."""

    name: str
    why: str
    standings: tuple[Standing, ...] = ()
    n_trials: int = 0

    def backed(self) -> Chosen:
        """With a detector beside it for what is far from every class, where it is not that one itself."""
        name = with_backing(self.name)
        if name == self.name:
            return self
        return replace(self, name=name, why=f"{self.why}; what is far from every class, {BACKING} tells besides")

    def facts(self) -> dict[str, Any]:
        """For the run folder and the report."""
        return {
            "detector": self.name,
            "why": self.why,
            "n_trials": self.n_trials,
            "detectors": [
                {"detector": s.name, "auroc": round(s.area, 4), "multiplications": round(s.work),
                 "behind": round(s.behind, 4), "behind_se": round(s.behind_se, 4)}
                for s in self.standings
            ],
        }  # fmt: skip


def choose_guard(
    step: Climb, chosen: Climbed, head: Head, pool: Matrix, ordinary: np.ndarray, ordinary_rows: np.ndarray
) -> dict[str, Any]:
    """The facts of a choice, ``detector`` among them; one choice in a run, whatever interrupts it.

    Parameters
    ----------
    pool : embeddings of what the rung has seen
    ordinary, ordinary_rows : rows of `pool` that the detector is to learn from, and their embeddings
    """
    task, stated = step.task, step.store.config.policy.guard.novelty
    if stated != AUTO:
        return Chosen(stated, "named in the policy").facts()
    if step.store.config.project.task == MULTI or task.targets is not None:
        why = "an item that carries a class left out carries others too, so that no class can play the unknown"
        return Chosen(FALLBACK, why).backed().facts()

    def choose() -> dict[str, Any]:
        known = chosen.rows(task.labelled)
        place = np.full(len(pool), -1)
        place[known] = np.arange(len(known))
        labelled = Labelled(np.asarray(pool[known]), task.labels[task.labelled], task.folds[0])
        rows = Ordinary(ordinary_rows, head.logits(ordinary_rows).argmax(axis=1), place[ordinary])
        penalties = [tried.c for tried in chosen.tried if tried.kind == "logistic"]
        needed = trial_s(step.machine, len(known), pool.shape[1], len(task.classes))
        return choose_detector(
            labelled, rows, penalties[0] if penalties else PENALTIES[1], step.rng("guard detector"),
            room_s=lambda: step.deadline.left_s - step.pace * FINISH_S - parity_s(chosen), needed_s=needed,
        ).backed().facts()  # fmt: skip

    return dict(step.run.decide("guard", choose))


def choosing_s(step: Climb, d: int) -> float:
    """Seconds that choosing is expected to take, where the policy leaves the choice."""
    task = step.task
    if step.store.config.policy.guard.novelty != AUTO or task.targets is not None:
        return 0.0
    return N_TRIALS * trial_s(step.machine, len(task.labelled), d, len(task.classes))


def trial_s(machine: Machine, n_labels: int, d: int, n_classes: int) -> float:
    """Seconds of one trial: the head, and the covariances, subspaces and neighbours of the detectors."""
    n = min(n_labels, MAX_LABELLED)
    of_head = HEAD_EVALUATIONS * 4.0 * n * min(n, d) * n_classes
    of_detectors = 8.0 * MAX_ORDINARY * d * d + 60.0 * d**3 + 2.0 * n * MAX_ORDINARY * d
    return 0.05 + (of_head + of_detectors) / (machine.matmul_gflops * 1e9 * HEAD_EFFICIENCY)


def choose_detector(
    labelled: Labelled,
    ordinary: Ordinary,
    c: float,
    rng: np.random.Generator,
    *,
    room_s: Callable[[], float] = lambda: math.inf,
    needed_s: float = 0.0,
) -> Chosen:
    """The detector that told classes left out best, for its cost; `FALLBACK` where that cannot be tried.

    Parameters
    ----------
    c : penalty of the logistic heads
    room_s, needed_s : seconds that are left, asked before each trial, and seconds that a trial is expected to take;
        a machine that others use too is slower than it was measured, and what one step takes now is believed
    """
    present = np.unique(labelled.labels)
    if len(present) < FEWEST_CLASSES:
        return Chosen(FALLBACK, f"leaving a class out needs {FEWEST_CLASSES} classes, and {len(present)} have labels")
    with one_thread():  # small products: threads would wait for each other
        return _by_trials(labelled, ordinary, c, rng, present, room_s, max(needed_s, probed_s(labelled)))


def probed_s(labelled: Labelled) -> float:
    """Seconds of a trial by what one of its larger steps takes now."""
    some = labelled.embeddings[:MAX_ORDINARY].astype(np.float64)
    began = time.monotonic()
    np.linalg.eigh(some.T @ some)
    return STEPS_OF_A_TRIAL * (time.monotonic() - began)


def _by_trials(
    labelled: Labelled, ordinary: Ordinary, c: float, rng: np.random.Generator, present: np.ndarray,
    room_s: Callable[[], float], needed_s: float,
) -> Chosen:  # fmt: skip
    some = rng.permutation(len(labelled.labels))[:MAX_LABELLED]
    trials: list[Trial] = []
    for number, unknown in enumerate(draws_of_classes(labelled, present, rng)):
        if room_s() < SPARE * needed_s:
            break
        began = time.monotonic()
        trial = try_without(labelled, some, ordinary, unknown, number, c)
        if trial is not None:
            trials.append(trial)
        needed_s = max(needed_s, time.monotonic() - began)
    if not trials:
        return Chosen(FALLBACK, "there are too few labels, or there was no time, to leave classes out and see")
    standings = rank_detectors(trials)
    if standings[0].area < LEAST_AREA:
        why = f"no detector told classes left out better than {standings[0].area:.3f}: a choice would be by chance"
        return Chosen(FALLBACK, why, tuple(standings), len(trials))
    return Chosen(standings[0].name, in_words(standings, len(trials)), tuple(standings), len(trials))


def draws_of_classes(labelled: Labelled, present: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Which classes to leave out together: any, and, where there are many, whole neighbourhoods of like classes.

    Single classes among many like ones are the nearest kind of strange item there is, and say little of the others: a
    neighbourhood without any known class in it is further off.
    """
    if len(present) < FEWEST_FOR_NEIGHBOURHOODS:
        return np.array_split(rng.permutation(present), min(N_TRIALS, len(present)))
    size = len(present) // N_TRIALS
    means = np.stack([labelled.embeddings[labelled.labels == k].mean(axis=0) for k in present]).astype(np.float64)
    means -= means.mean(axis=0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    alike = means @ means.T  # (k, k)
    centres = [int(rng.integers(len(present)))]
    while len(centres) < N_TRIALS // 2 + 1:
        centres.append(int(alike[centres].max(axis=0).argmin()))  # the class least like those before
    near = [present[np.argsort(-alike[centre], kind="stable")[:size]] for centre in centres]
    return [*near, *np.array_split(rng.permutation(present), N_TRIALS)[: N_TRIALS // 2]]


def try_without(
    labelled: Labelled, some: np.ndarray, ordinary: Ordinary, unknown: np.ndarray, number: int, c: float
) -> Trial | None:
    """One trial on `some` of the labelled items; None where too few are left on a side."""
    left_out = np.isin(labelled.labels, unknown)
    held = (labelled.folds == number % max(1, int(labelled.folds.max(initial=0)) + 1)) & ~left_out
    teach = some[~left_out[some] & ~held[some]]
    known, places = np.unique(labelled.labels[teach], return_inverse=True)
    held_some, strange = some[held[some] & np.isin(labelled.labels[some], known)], some[left_out[some]]
    away = left_out | held
    keep = ~np.isin(ordinary.said, unknown) & ~((ordinary.labelled >= 0) & away[ordinary.labelled])
    keep = np.flatnonzero(keep)[:MAX_ORDINARY]
    if len(known) < FEWEST_CLASSES - 1 or min(len(held_some), len(strange), len(keep)) < FEWEST_ITEMS:
        return None
    scaling = Scaling.of(ordinary.embeddings[keep])
    head = fit_known(scaling, labelled.embeddings[teach], places, len(known), c)

    def sides(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return rows, head.logits(rows)

    return try_detectors(
        list(detectors),
        sides(ordinary.embeddings[keep]),
        sides(labelled.embeddings[held_some]),
        sides(labelled.embeddings[strange]),
    )


def fit_known(scaling: Scaling, embeddings: np.ndarray, labels: np.ndarray, n_classes: int, c: float) -> Head:
    """A logistic head of the classes left in."""
    weight, bias = fit_logistic(scaling.apply(embeddings), one_hot(labels, n_classes), c=c)
    return scaling.fold(weight, bias, 1.0)


def in_words(standings: Sequence[Standing], n_trials: int) -> str:
    """Why the first was chosen."""
    best = standings[0]
    draws = f"{n_trials} draws of classes left out" if n_trials > 1 else "one draw of classes left out"
    said = f"{best.name} told the unknown best for its cost: AUROC {best.area:.3f} over {draws} of the training part"
    return said + (f"; next {standings[1].name} at {standings[1].area:.3f}" if len(standings) > 1 else "")
