"""The promised risk of a guard: fitted on held-out labels, kept as arrays, obeyed in serving, said in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from passmuster.core.config import GuardPolicy
from passmuster.metrics.risk_control import RiskThreshold, choose_threshold, grid_of

PREFIX = "risk."
THRESHOLD = f"{PREFIX}threshold"
UNKNOWN = -1  # instead of None, which an array does not hold


def fit_risk(policy: GuardPolicy, held_sure: np.ndarray, sure: np.ndarray, wrong: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a guard that bound the risk of its answers; none where the policy asks for nothing.

    Parameters
    ----------
    held_sure : (m,) probability of the answers to unlabelled items; they fix which thresholds are tried
    sure, wrong : (n,) of labelled items, answered by heads that did not learn from them
    """
    if not policy.max_risk:
        return {}
    found = choose_threshold(sure, wrong, grid_of(held_sure), policy.max_risk, policy.risk_confidence)
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    values["n_more"] = UNKNOWN if found.n_more is None else found.n_more
    return {f"{PREFIX}{name}": np.asarray(value) for name, value in values.items()}


def risk_of(guard: Mapping[str, np.ndarray]) -> RiskThreshold | None:
    """What a guard promises; None where it promises nothing."""
    if THRESHOLD not in guard:
        return None
    value = {f.name: guard[f"{PREFIX}{f.name}"] for f in fields(RiskThreshold)}
    n_more = int(value["n_more"])
    return RiskThreshold(
        threshold=float(value["threshold"]),
        max_risk=float(value["max_risk"]),
        confidence=float(value["confidence"]),
        n_labels=int(value["n_labels"]),
        n=int(value["n"]),
        n_wrong=int(value["n_wrong"]),
        bound=float(value["bound"]),
        n_more=None if n_more == UNKNOWN else n_more,
    )


def too_risky(guard: Mapping[str, np.ndarray], sure: np.ndarray) -> np.ndarray:
    """Which answers (n,) lie below the threshold that keeps the promised risk."""
    return sure < float(guard[THRESHOLD]) if THRESHOLD in guard else np.zeros(len(sure), bool)


def risk_in_words(found: RiskThreshold) -> str:
    """What was promised, or why nothing could be, and what would help.

    >>> risk_in_words(RiskThreshold(0.8, 0.05, 0.95, 200, 120, 1, 0.04, 0)).partition(":")[2]
    ' 1 of 120 held-out labels was wrong there'
    >>> risk_in_words(RiskThreshold(0.0, 0.05, 0.95, 200, 200, 0, 0.02, 0)).partition(" wrong")[0]
    'answers, however unsure, are'
    """
    asked = f"at most {100 * found.max_risk:g}\u00a0% of the time, with {100 * found.confidence:g}\u00a0% confidence"
    if found.reached:
        were = "was" if found.n_wrong == 1 else "were"
        seen = f"{found.n_wrong:,} of {found.n:,} held-out labels {were} wrong there"
        sure = f"{100 * found.threshold:.1f}"
        which = "answers, however unsure," if sure == "0.0" else f"answers that are at least {sure}\u00a0% sure"
        return f"{which} are wrong {asked}: {seen}"
    if not found.n_labels:
        why = "no label was held out to show it on, so every answer is withheld"
        return f"that answers are wrong {asked}, is not shown: {why}; label items, and muster import --calibrate"
    help_ = (
        f"about {found.n_more:,} more training labels would probably show it"
        if found.n_more
        else "no number of labels would, because even its surest answers are wrong too often: raise "
        "policy.guard.max_risk, or make a better model"
    )
    shown = f"could not be shown from {found.n_labels:,} labels"
    return f"that answers are wrong {asked}, {shown}, so every answer is withheld; {help_}"
