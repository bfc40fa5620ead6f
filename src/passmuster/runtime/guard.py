"""The guard: when an answer is withheld, and which labels remain possible. Thresholds come from data, at given rates.

Novelty: an item is novel when its score lies above the conformal quantile of held-out unlabelled items (Bates et al.
2023, "Testing for outliers with conformal p-values"). Prediction sets: least ambiguous set-valued classifiers on
out-of-fold probabilities (Sadinle, Lei and Wasserman 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from passmuster.core.config import GuardPolicy
from passmuster.metrics.novelty import AUTO, FALLBACK, detectors
from passmuster.runtime.answers import DECIDE_AT, answers_of, softmax

DETECTOR_PREFIX = "detector."
GUARD_ARRAYS = ("detector_name", "novelty_threshold", "set_threshold")  # without these nothing can be judged
LARGEST = float(np.finfo(np.float32).max)  # instead of infinity, which JSON does not have


@dataclass(frozen=True)
class Guarded:
    """What the guard found, per item. `reasons` is empty where the answer stands."""

    probabilities: np.ndarray  # (n, c) float
    said: np.ndarray  # (n, c) bool: the answer, one class or a set of them
    sure: np.ndarray  # (n,) probability that the answer is right
    novelty: np.ndarray  # (n,) float, higher = more novel
    novel: np.ndarray  # (n,) bool
    sets: np.ndarray  # (n, c) bool
    reasons: tuple[tuple[str, ...], ...]


def fit_guard(
    *,
    fit_embeddings: np.ndarray,
    fit_logits: np.ndarray,
    held_embeddings: np.ndarray,
    held_logits: np.ndarray,
    oof_logits: np.ndarray,
    oof_labels: np.ndarray,
    policy: GuardPolicy,
) -> dict[str, np.ndarray]:
    """Arrays of a guard.

    Parameters
    ----------
    fit_embeddings, fit_logits : (n, d), (n, c)
        Items that the novelty detector learns as ordinary.
    held_embeddings, held_logits : (m, d), (m, c)
        Held-out unlabelled items; they set the novelty threshold. With fewer than ``1 / novelty_rate - 1`` of them the
        rate cannot be kept; the threshold is then their maximum, and `novelty_rate` says what is expected of it.
    oof_logits, oof_labels : (k, c), (k,) int
        Out-of-fold logits of labelled items; they set the prediction sets.

    Returns
    -------
    dict
        ``detector.*`` arrays, ``detector_name``, ``novelty_threshold``, ``novelty_rate`` (expected share of ordinary
        items above it), ``set_threshold`` (largest 1 - p that stays in a set), ``n_held``, ``n_oof``.
    """
    oof = softmax(np.asarray(oof_logits))
    misfit = 1.0 - oof[np.arange(len(oof)), np.asarray(oof_labels, dtype=int)] if len(oof) else np.zeros(0)
    rank = math.ceil((len(misfit) + 1) * policy.set_coverage)
    set_threshold = float(np.sort(misfit)[rank - 1]) if 0 < rank <= len(misfit) else 1.0
    return {
        **fit_novelty(fit_embeddings, fit_logits, held_embeddings, held_logits, policy),
        "set_threshold": np.asarray(set_threshold),
        "n_oof": np.asarray(len(misfit)),
    }


def fit_novelty(
    fit_embeddings: np.ndarray,
    fit_logits: np.ndarray,
    held_embeddings: np.ndarray,
    held_logits: np.ndarray,
    policy: GuardPolicy,
) -> dict[str, np.ndarray]:
    """The arrays of a guard that tell strange items from ordinary ones; see `fit_guard`.

    Where the policy says "auto" and whoever calls has not chosen, the detector is the one that needs no choice.
    """
    name = FALLBACK if policy.novelty == AUTO else policy.novelty
    detector = detectors[name]
    fitted = detector.fit(np.asarray(fit_embeddings), np.asarray(fit_logits))
    held = np.asarray(detector.score(fitted, np.asarray(held_embeddings), np.asarray(held_logits)))
    novelty_threshold, rate = upper_quantile(held, policy.novelty_rate)
    return {
        **{f"{DETECTOR_PREFIX}{name}": np.asarray(array) for name, array in fitted.items()},
        "detector_name": np.asarray(name),
        "novelty_threshold": np.asarray(novelty_threshold),
        "novelty_rate": np.asarray(rate),
        "n_held": np.asarray(len(held)),
    }


def apply_guard(
    guard: Mapping[str, np.ndarray],
    embeddings: np.ndarray,
    logits: np.ndarray,
    policy: GuardPolicy,
    *,
    degraded: bool = False,
) -> Guarded:
    """Judge answers: probabilities, novelty, prediction sets and the reasons to withhold.

    Reasons are ``"novel"``, ``"low_confidence"`` (below ``policy.min_confidence``) and, while `degraded`,
    ``"degraded"`` (below ``policy.degraded_min_confidence``); both thresholds are of the whole answer being right. A
    set always holds what is answered: the most probable label, or, of a guard with ``decide_at``, every class said.
    """
    broken = ~np.isfinite(logits).all(axis=1)
    answers = answers_of(np.where(broken[:, None], 0.0, logits), guard.get(DECIDE_AT))
    probabilities, said, best = answers.probabilities, answers.said, answers.sure
    if not len(probabilities):
        return Guarded(probabilities, said, best, np.zeros(0), np.zeros(0, bool), said, ())
    if DECIDE_AT in guard:
        said = said & ~broken[:, None]
    detector = detectors[str(guard["detector_name"])]
    arrays = {k.removeprefix(DETECTOR_PREFIX): v for k, v in guard.items() if k.startswith(DETECTOR_PREFIX)}
    novelty = np.asarray(detector.score(arrays, embeddings, logits), dtype=float)
    novelty = np.where(broken | ~np.isfinite(novelty), LARGEST, novelty)  # what is not finite is novel
    novel = novelty > float(guard["novelty_threshold"])
    novel |= novelty == LARGEST
    low = best < policy.min_confidence
    unsure = best < policy.degraded_min_confidence if degraded else np.zeros(len(best), bool)
    sets = (1.0 - probabilities <= float(guard["set_threshold"]) + 1e-12) | said
    if DECIDE_AT not in guard:
        sets |= probabilities == best[:, None]
    named = (("novel", novel), ("low_confidence", low), ("degraded", unsure))
    reasons = tuple(tuple(name for name, mask in named if mask[i]) for i in range(len(best)))
    return Guarded(probabilities, said, best, novelty, novel, sets, reasons)


def upper_quantile(scores: np.ndarray, rate: float) -> tuple[float, float]:
    """The threshold that a new exchangeable score exceeds with probability at most `rate`, and that probability.

    With too few scores for the rate the threshold is their maximum; without any it is `LARGEST`.

    >>> upper_quantile(np.arange(199.0), 0.01)
    (197.0, 0.01)
    >>> upper_quantile(np.arange(9.0), 0.01)
    (8.0, 0.1)
    """
    n = len(scores)
    if n == 0:
        return LARGEST, 0.0
    rank = min(n, math.ceil((n + 1) * (1.0 - rate) - 1e-9))
    return float(np.sort(scores)[rank - 1]), (n + 1 - rank) / (n + 1)
