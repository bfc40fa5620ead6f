"""Which novelty detector guards the bundle, where the policy says "auto": classes of the training part play the unknown.

In each trial a draw of classes is left out of everything: a head learns the others from three quarters of their labels,
the detectors learn what is ordinary from the pool without what the final head takes for those classes, and each must
tell the labelled items of the classes left out from the last quarter of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.learn.heads import Head, Scaling
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.metrics.novelty import detectors
from passmuster.metrics.novelty.choose import FALLBACK, Standing, Trial, rank_detectors, try_detectors

N_TRIALS = 5
FEWEST_CLASSES = 3  # one to leave out, and two for a head
FEWEST_ITEMS = 8  # strange, and ordinary, in a trial
MAX_LABELLED = 4_000  # that the heads of the trials learn from, and are judged on
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


def choose_detector(
    labelled: Labelled,
    ordinary: Ordinary,
    c: float,
    rng: np.random.Generator,
    *,
    in_time: Callable[[], bool] = lambda: True,
) -> Chosen:
    """The detector that told classes left out best, for its cost; `FALLBACK` where that cannot be tried.

    Parameters
    ----------
    c : penalty of the logistic heads
    in_time : asked before each trial whether there is time for it
    """
    present = np.unique(labelled.labels)
    if len(present) < FEWEST_CLASSES:
        return Chosen(FALLBACK, f"leaving a class out needs {FEWEST_CLASSES} classes, and {len(present)} have labels")
    some = rng.permutation(len(labelled.labels))[:MAX_LABELLED]
    trials: list[Trial] = []
    n_trials = min(N_TRIALS, len(present))
    for number, unknown in enumerate(np.array_split(rng.permutation(present), n_trials)):
        if not in_time():
            break
        trial = try_without(labelled, some, ordinary, unknown, number, c)
        if trial is not None:
            trials.append(trial)
    if not trials:
        return Chosen(FALLBACK, "there are too few labels, or there was no time, to leave classes out and see")
    standings = rank_detectors(trials)
    return Chosen(standings[0].name, in_words(standings, len(trials)), tuple(standings), len(trials))


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
