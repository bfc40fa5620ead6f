"""The guard of a bundle whose answers are sets of classes: each class is said or not, by a probability of its own.

An answer's own probability is that of the whole set being right (`passmuster.runtime.answers`). Thresholds of the
guard, and abstaining, speak of that. Which classes remain possible is the set that holds *all*
of an item's classes at the policy's coverage (an outer set: Cauchois, Gupta and Duchi 2021, "Knowing what you know").
"""

from __future__ import annotations

import math

import numpy as np

from passmuster.core.config import GuardPolicy, Policy
from passmuster.core.errors import UsageError
from passmuster.metrics.novelty import AUTO, detectors, find_detector
from passmuster.runtime.answers import DECIDE_AT, answers_of, class_probabilities
from passmuster.runtime.guard import FIRST_METHOD, fit_novelty
from passmuster.runtime.risk import fit_risk


def refuse_detector(policy: GuardPolicy) -> None:
    """Refuse a detector that reads logits as those of classes that exclude each other.

    Raises
    ------
    UsageError
        ``guard.novelty``.
    """
    if policy.novelty != AUTO and find_detector(policy.novelty).needs_exclusive_classes:
        able = [name for name in detectors if not detectors[name].needs_exclusive_classes]
        raise UsageError(
            "guard.novelty", "this novelty detector is for single-label tasks: classes of a multi-label one do not "
            "exclude each other", value=policy.novelty, limit=", ".join(able), where="policy.guard.novelty",
            next=f'set policy.guard.novelty = "{able[0]}" in muster.toml',
        )  # fmt: skip


def refuse_single_label(policy: Policy) -> None:
    """Refuse what is made for answers of one class: a way to choose it by costs, adaptive sets around it.

    Raises
    ------
    UsageError
        ``costs.multi_label``, ``guard.sets``.
    """
    if policy.guard.sets != FIRST_METHOD:
        raise UsageError(
            "guard.sets", "this way to make prediction sets is for single-label tasks", value=policy.guard.sets,
            limit=FIRST_METHOD, where="policy.guard.sets", next=f'set policy.guard.sets = "{FIRST_METHOD}"',
        )  # fmt: skip
    if policy.costs.answer == "cheapest":
        raise UsageError(
            "costs.multi_label", "costs are of one class taken for another, and answers are sets of classes here",
            value=policy.costs.answer, limit="likeliest", where="policy.costs.answer",
            next='set policy.costs.answer = "likeliest" in muster.toml',
        )  # fmt: skip


def fit_label_sets_guard(
    *,
    fit_embeddings: np.ndarray,
    fit_logits: np.ndarray,
    held_embeddings: np.ndarray,
    held_logits: np.ndarray,
    oof_logits: np.ndarray,
    oof_targets: np.ndarray,
    decide_at: float,
    policy: GuardPolicy,
) -> dict[str, np.ndarray]:
    """Arrays of a guard, as `passmuster.runtime.guard.fit_guard`, with ``decide_at`` (c,) besides.

    Parameters
    ----------
    oof_logits, oof_targets : (k, c)
        Out-of-fold logits of labelled items, and which classes each carries; they set which classes remain possible.
    decide_at : probability from which a class is said
    """
    probabilities = class_probabilities(oof_logits)
    misfit = 1.0 - np.where(np.asarray(oof_targets) > 0, probabilities, 1.0).min(axis=1)  # of the least likely true one
    rank = math.ceil((len(misfit) + 1) * policy.set_coverage)
    set_threshold = float(np.sort(misfit)[rank - 1]) if 0 < rank <= len(misfit) else 1.0
    at = np.full(oof_logits.shape[1], decide_at)
    answers, held = answers_of(oof_logits, at), answers_of(np.asarray(held_logits), at)
    wrong = (answers.said != (np.asarray(oof_targets) > 0)).any(axis=1)  # the whole set
    return {
        **fit_risk(policy, held.sure, answers.sure, wrong),
        **fit_novelty(fit_embeddings, fit_logits, held_embeddings, held_logits, policy),
        "set_threshold": np.asarray(set_threshold),
        "n_oof": np.asarray(len(misfit)),
        DECIDE_AT: at,
    }
