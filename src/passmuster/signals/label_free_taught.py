"""Learning from natural faults of the labelled test how a batch's accuracy can be told without labels.

`teach` learns from a bank: labelled test items under natural faults (Deng and Zheng 2021, "Are labels always necessary
for classifier accuracy evaluation?", learn from transformed sets too). A model that is surer than right away from home
loses some 1.5 to 2 points of accuracy for a point of confidence; how many is learnt from the same items before and
after. The interval's systematic part comes from faults held out one after the other; the chance in drawing the batch
and the reference is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.signals.label_free import AccuracyEstimator, believed_error, strangeness
from passmuster.signals.label_free_seen import Reference

FEWEST_FAMILIES = 3
# Beliefs before any bank, from the sets that the estimator was developed on (docs/log.md): what a point of each feature
# is worth (0: it only widens the interval), and how firmly (in families of faults with falls of TYPICAL).
WORTH: Mapping[str, float] = {"confidence": 0.75, "above": 0.75, "familiarity": 0.0, "agreement": 0.25}
FIRMNESS, TYPICAL = 1.0, 0.05
PRIOR_FAMILIES = 4.0  # families of faults that this belief counts as
LEAST_FACTOR = 0.5


@dataclass(frozen=True)
class Spoilt:
    """Reference items under a fault: its `family`, which items (m,), what can be seen of each (m, f), and who is right.

    Batches of one family are held out together.
    """

    family: str
    places: np.ndarray
    features: np.ndarray
    right: np.ndarray


def teach(
    reference: Reference, names: Sequence[str], home: np.ndarray, bank: Sequence[Spoilt], *, n_classes: int
) -> AccuracyEstimator:
    """Learn what a fall of each feature is worth, and how far off that is on faults it was not taught by.

    The same items before (`home`, (n, f), the features of the reference) and after are compared, so that the luck of
    the draw falls out. Ridge regression towards `WORTH`, without a constant (no fall of what is seen, no fall of
    accuracy), with weights that are not negative. Each fault in turn is held out with all of its
    severities; its squared error, less what chance explains, over the error believed, is averaged over faults, with the
    belief as `PRIOR_FAMILIES` more.

    Raises
    ------
    ValueError
        With fewer than three faults there is nothing to hold out.
    """
    families = np.array([seen.family for seen in bank])
    kinds = sorted(set(families.tolist()))
    if len(kinds) < FEWEST_FAMILIES:
        raise ValueError(f"{len(kinds)} faults in the bank; at least {FEWEST_FAMILIES} are needed")
    believed = np.array([WORTH[name] for name in names])
    falls = [home[seen.places] - seen.features for seen in bank]
    lost = [reference.right[seen.places].astype(np.float64) - seen.right for seen in bank]
    x, y = np.stack([fall.mean(axis=0) for fall in falls]), np.array([each.mean() for each in lost])
    weight = np.array([1 / (families == family).sum() for family in families])
    ratios, off = [], []
    for family in kinds:
        out = families == family
        w = _fit(x[~out], y[~out], weight[~out], believed)
        luck = [float(np.var(lost[i] - falls[i] @ w)) / len(lost[i]) for i in np.flatnonzero(out)]
        off.append(float(np.mean(np.abs(y[out] - x[out] @ w))))
        error = (y[out] - x[out] @ w) ** 2 - luck
        ratios.append(float(np.mean(error / believed_error(x[out] @ w, strangeness(names, x[out])) ** 2)))
    freedom = PRIOR_FAMILIES + len(kinds)
    factor = math.sqrt(max((PRIOR_FAMILIES + sum(ratios)) / freedom, LEAST_FACTOR**2))
    return AccuracyEstimator(
        names=tuple(names), accuracy=reference.accuracy, n_reference=reference.n, n_families=len(kinds),
        mean_error=float(np.mean(off)), threshold=max(reference.threshold, -1.0), novelty=reference.novelty_quantiles,
        home=tuple(np.average(home, axis=0, weights=reference.weights).tolist()),
        weights=tuple(_fit(x, y, weight, believed).tolist()), factor=factor, freedom=freedom,
        chance=_left_to_chance(reference), floor=0.5 / n_classes,
    )  # fmt: skip


def _fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray, believed: np.ndarray) -> np.ndarray:
    from scipy.optimize import nnls  # slow to import

    used, root = believed > 0, np.sqrt(weight)
    firm = math.sqrt(FIRMNESS) * TYPICAL
    rows = np.vstack([x[:, used] * root[:, None], firm * np.eye(int(used.sum()))])
    found = np.zeros(x.shape[1])
    found[used] = nnls(rows, np.concatenate([y * root, firm * believed[used]]))[0]
    return found


def _left_to_chance(reference: Reference, n_groups: int = 10) -> float:
    """Share of the variance of being right that being sure leaves unexplained: groups of ten by how sure."""
    right = reference.right[np.argsort(reference.sure, kind="stable")].astype(np.float64)
    total = float(right.var())
    groups = np.array_split(right, min(n_groups, len(right)))
    within = sum(len(group) * float(group.var()) for group in groups) / len(right)
    return min(1.0, within / total) if total > 0 else 1.0
