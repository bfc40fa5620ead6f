"""Two detectors as one: the first tells what lies near the known classes, the second what lies far from all of them.

A detector that reads a model's doubt is the best at near things, and blind to far ones: noise and flat colours may get
larger logits than any photo (Hein et al. 2019, Why ReLU networks yield high-confidence predictions far away from the
training data, CVPR). So it is backed by a distance. Each score is told as a rarity, minus the logarithm of the share
of ordinary items at least as strange; beyond the rarest tenth of those known, scores in excess are taken to be
exponential. The rarer of the two counts, the second after a handicap, so that it takes a quarter of the false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from passmuster.metrics.novelty.base import Arrays, Detector

BACKING = "mahalanobis.v1"
JOINED = "+"
HANDICAP = math.log(3.0)  # nats: the far one flags once where the near one flags three times
TAIL = 0.1  # share of ordinary items whose excess says how the tail falls
MAX_KNOWN = 1_000  # scores that are kept of ordinary items
EVERY = 4  # one ordinary item of so many is not learnt from, and says what scores unseen ones get
FEWEST = 40  # ordinary items; of fewer none is spared
ROUNDING = 1e-6  # of a score: excess that is rounding is none


def backed(near: Detector, far: Detector) -> Detector:
    """One detector of two; its score is a rarity in nats, and grows beyond what was ever seen.

    >>> from passmuster.metrics.novelty import detectors
    >>> rng = np.random.default_rng(0)
    >>> ordinary, logits = rng.normal(3.0, 1.0, (400, 2)), rng.normal(0.0, 1.0, (400, 3))
    >>> both = backed(detectors["max_logit.v1"], detectors["mahalanobis.v1"])
    >>> arrays = both.fit(ordinary, logits)
    >>> sure = np.array([[9.0, 0.0, 0.0]])
    >>> usual, far_off = both.score(arrays, np.array([[3.0, 3.0], [90.0, 3.0]]), np.repeat(sure, 2, axis=0))
    >>> bool(usual < 1.0), bool(far_off > 100.0)
    (True, True)
    """

    def fit(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
        spared = np.arange(len(embeddings)) % EVERY == EVERY - 1 if len(embeddings) >= FEWEST else None
        learnt, asked = (slice(None), slice(None)) if spared is None else (~spared, spared)
        found: Arrays = {}
        for side, detector in (("near", near), ("far", far)):
            arrays = detector.fit(embeddings[learnt], logits[learnt])
            known = fit_rarity(detector.score(arrays, embeddings[asked], logits[asked]))
            found |= {f"{side}.{name}": array for name, array in (arrays | known).items()}
        return found

    def score(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        sides = {side: part(arrays, side) for side in ("near", "far")}
        of = {"near": near, "far": far}
        return rarer(*(rarity(sides[side], of[side].score(sides[side], embeddings, logits)) for side in sides))

    return Detector(
        fit,
        score,
        "both" if near.uses != far.uses else near.uses,
        f"the rarer of two: {near.summary}; and {far.summary}",
        lambda arrays, d, c: near.work(part(arrays, "near"), d, c) + far.work(part(arrays, "far"), d, c),
    )


def part(arrays: Mapping[str, np.ndarray], side: str) -> Arrays:
    """The arrays of one side, by the names that it gave them."""
    return {name.removeprefix(f"{side}."): array for name, array in arrays.items() if name.startswith(f"{side}.")}


def fit_rarity(scores: np.ndarray) -> Arrays:
    """What is kept of the scores (n,) of ordinary items: their order, and how the largest exceed their bound."""
    known = np.sort(np.asarray(scores, dtype=np.float64))
    bound = known[max(0, math.ceil(len(known) * (1.0 - TAIL)) - 1)]
    above = known[known >= bound] - bound
    fall = max(float(above.mean()), ROUNDING * (1.0 + abs(float(bound))))
    if len(known) > MAX_KNOWN:
        known = known[np.linspace(0, len(known) - 1, MAX_KNOWN).round().astype(np.int64)]
    return {"known": known, "bound": np.asarray(bound), "fall": np.asarray(fall)}


def rarity(arrays: Mapping[str, np.ndarray], scores: np.ndarray) -> np.ndarray:
    """How rare scores (m,) are among ordinary items, in nats, at least 0; infinity stays.

    >>> arrays = fit_rarity(np.arange(100.0))
    >>> rarity(arrays, np.array([0.0, 49.5, 89.0, 93.5, 98.0])).round(1).tolist()
    [0.0, 0.7, 2.2, 3.2, 4.1]
    """
    known, bound, fall = arrays["known"], float(arrays["bound"]), float(arrays["fall"])
    scores = np.asarray(scores, dtype=np.float64)
    values, first = np.unique(known, return_index=True)
    below = np.interp(scores, values, -np.log1p(-np.minimum(first / len(known), 1.0 - TAIL)))
    excess = scores - bound
    beyond = excess > ROUNDING * (1.0 + abs(bound))
    return np.where(beyond, -math.log(TAIL) + np.where(beyond, excess, 0.0) / fall, below)


def rarer(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Of two rarities (m,) the one that counts."""
    return np.asarray(np.maximum(near, far - HANDICAP))


def scores_of_two(near: np.ndarray, far: np.ndarray, ordinary: np.ndarray) -> np.ndarray:
    """The score of two as one, from scores (m,) of each that are there already; `ordinary` (m,) says of whom to learn.

    NaN where there are no scores.

    >>> scores_of_two(np.arange(100.0), np.zeros(100), np.ones(100, dtype=bool))[[0, 50]].round(2).tolist()
    [0.0, 0.69]
    """
    if np.isnan(near).all():
        return near
    return rarer(*(rarity(fit_rarity(side[ordinary]), side) for side in (near, far)))
