"""The guard: when an answer is withheld, and which labels remain possible. Thresholds come from data, at given rates.

Novelty: an item is novel when its score lies above the conformal quantile of held-out unlabelled items (Bates et al.
2023, "Testing for outliers with conformal p-values"). Prediction sets: split conformal (`passmuster.metrics.conformal`)
on out-of-fold logits, by heads that did not learn from the label in question.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from passmuster.core.config import GuardPolicy
from passmuster.core.errors import IntegrityError
from passmuster.metrics.conformal import calibrate_sets, set_methods, sets_of, uniform_of
from passmuster.metrics.novelty import AUTO, FALLBACK, find_detector, with_backing
from passmuster.runtime.answers import DECIDE_AT, Prices, answers_of, softmax
from passmuster.runtime.risk import fit_risk, too_risky

DETECTOR_PREFIX, SETS_PREFIX = "detector.", "sets."
SET_METHOD, FIRST_METHOD = "set_method", "lac.v1"  # bundles without the name of a method have the first there was
FITTED_ON = "fitted_on"  # numbers of an embedding, classes; guards from before it was kept are tried
GUARD_ARRAYS = ("detector_name", "novelty_threshold", "set_threshold")  # without these nothing can be judged
# Scores of one item differ by this much between batches and precisions; where many are tied (a model that names a class
# and no probability), rounding must not make half of them novel.
ROUNDING = 1e-6
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
    prices: Prices | None = None,
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
        Out-of-fold logits of labelled items; they set the prediction sets and the promised risk.
    prices
        Where the cheapest class is answered: then the promised risk is of those answers.

    Returns
    -------
    dict
        ``detector.*`` arrays, ``detector_name``, ``novelty_threshold``, ``novelty_rate`` (expected share of ordinary
        items above it), ``set_method`` and ``set_threshold`` (largest score that stays in a set), ``sets.*`` (threshold
        of every method, for reports), ``n_held``, ``n_oof``; ``risk.*`` where the policy bounds the risk.
    """
    logits, labels = np.asarray(oof_logits), np.asarray(oof_labels, dtype=int)
    oof, uniform = softmax(logits), uniform_of(logits)
    answers = answers_of(logits, None, prices)
    wrong = ~answers.said[np.arange(len(labels)), labels]
    thresholds = {name: calibrate_sets(name, oof, uniform, labels, policy.set_coverage) for name in set_methods}
    return {
        **fit_novelty(fit_embeddings, fit_logits, held_embeddings, held_logits, policy),
        SET_METHOD: np.asarray(policy.sets),
        "set_threshold": np.asarray(thresholds[policy.sets]),
        **fit_risk(policy, answers_of(np.asarray(held_logits), None, prices).sure, answers.sure, wrong),
        **{f"{SETS_PREFIX}{name}": np.asarray(threshold) for name, threshold in thresholds.items()},
        "n_oof": np.asarray(len(labels)),
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
    name = with_backing(FALLBACK) if policy.novelty == AUTO else policy.novelty
    detector = find_detector(name)
    fitted = detector.fit(np.asarray(fit_embeddings), np.asarray(fit_logits))
    held = np.asarray(detector.score(fitted, np.asarray(held_embeddings), np.asarray(held_logits)))
    novelty_threshold, rate = upper_quantile(held, policy.novelty_rate)
    return {
        **{f"{DETECTOR_PREFIX}{name}": np.asarray(array) for name, array in fitted.items()},
        "detector_name": np.asarray(name),
        FITTED_ON: np.array([np.shape(fit_embeddings)[1], np.shape(fit_logits)[1]], dtype=np.int64),
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
    prices: Prices | None = None,
) -> Guarded:
    """Judge answers: probabilities, novelty, prediction sets and the reasons to withhold.

    Reasons are ``"novel"``, ``"low_confidence"`` (below ``policy.min_confidence``) and, while `degraded`,
    ``"degraded"`` (below ``policy.degraded_min_confidence``); both thresholds are of the whole answer being right. With
    `prices` the cheapest class is answered, and ``"costly"`` says that withholding costs less than any. ``"risk"``:
    less sure than the promised risk allows, as the guard was fitted. A set always holds what is answered: the label,
    or, of a guard with ``decide_at``, every class said.

    Raises
    ------
    IntegrityError
        ``bundle.guard`` where the guard was fitted for embeddings or classes of another number.
    """
    broken = ~np.isfinite(logits).all(axis=1)
    answers = answers_of(np.where(broken[:, None], 0.0, logits), guard.get(DECIDE_AT), prices)
    probabilities, said, best = answers.probabilities, answers.said, answers.sure
    if not len(probabilities):
        return Guarded(probabilities, said, best, np.zeros(0), np.zeros(0, bool), said, ())
    if DECIDE_AT in guard:
        said = said & ~broken[:, None]
    novelty = novelty_of(guard, embeddings, logits)
    novelty = np.where(broken | ~np.isfinite(novelty), LARGEST, novelty)  # what is not finite is novel
    threshold = float(guard["novelty_threshold"])
    novel = novelty > threshold + ROUNDING * (1 + abs(threshold))
    novel |= novelty == LARGEST
    low = best < policy.min_confidence
    unsure = best < policy.degraded_min_confidence if degraded else np.zeros(len(best), bool)
    method = str(guard.get(SET_METHOD, FIRST_METHOD))
    uniform = uniform_of(logits) if set_methods[method].randomised else np.zeros(len(logits))
    sets = sets_of(method, probabilities, uniform, float(guard["set_threshold"])) | said
    if DECIDE_AT not in guard:
        sets |= probabilities == best[:, None]
    dear = np.zeros(len(best), bool) if prices is None else prices.too_dear(probabilities)
    risky = too_risky(guard, best)
    named = (("novel", novel), ("low_confidence", low), ("degraded", unsure), ("costly", dear), ("risk", risky))
    reasons = tuple(tuple(name for name, mask in named if mask[i]) for i in range(len(best)))
    return Guarded(probabilities, said, best, novelty, novel, sets, reasons)


def novelty_of(guard: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """How novel (n,) the guard's detector finds embeddings (n, d) with logits (n, c); higher = more novel.

    Raises
    ------
    IntegrityError
        ``bundle.guard`` where the detector was fitted for another d or c.

    >>> guard = fit_novelty(np.eye(3), np.eye(3), np.eye(3), np.eye(3), GuardPolicy(novelty="knn.v1"))
    >>> novelty_of(guard, np.eye(3), np.eye(3)).shape
    (3,)
    """
    name, given = str(guard["detector_name"]), (np.shape(embeddings)[1], np.shape(logits)[1])
    fitted = tuple(map(int, guard[FITTED_ON])) if FITTED_ON in guard else given
    arrays = {k.removeprefix(DETECTOR_PREFIX): v for k, v in guard.items() if k.startswith(DETECTOR_PREFIX)}
    try:
        if fitted != given:
            raise ValueError("numbers differ")
        return np.asarray(find_detector(name).score(arrays, embeddings, logits), dtype=float)
    except (ValueError, IndexError) as error:
        raise IntegrityError(
            "bundle.guard", "the guard was fitted for another model", value="{} numbers and {} classes".format(*given),
            limit="{} numbers and {} classes".format(*fitted) if fitted != given else f"what {name} was fitted on",
            where="guard.npz", next="muster train makes a guard that fits (of a model from elsewhere: muster import)",
        ) from error  # fmt: skip


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
