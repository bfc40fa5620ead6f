"""How accurate a model is on a batch without labels: the estimate and its interval, as a report keeps them.

Published estimators read one number off the probabilities (how sure the model is on average, or how often it is surer
than a threshold), and none says how far off it may be. Here several numbers are read off each answer
(`passmuster.signals.label_free_seen`). Each alone says how much accuracy fell; what a fall of each is worth, how far
each is off and how far all are off together is learnt from natural faults of the labelled test
(`passmuster.signals.label_free_taught`). None of this sees concept drift: where the inputs stay and their meaning
changes, only labels tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import normal_isf, student_isf
from passmuster.core.statistics import Interval

METHOD = "label-free.v2"
# Beliefs before any bank, from the sets that the estimator was developed on (docs/log.md). What a large fall of each
# feature is worth, in points of accuracy for a point; a small one is worth LEAST_SHARE of it, and all of it where
# LARGE points of accuracy are expected to be lost.
WORTH: Mapping[str, float] = {"confidence": 2.0, "above": 1.2, "familiarity": 0.5, "agreement": 1.6, "votes": 1.5}
LARGE, LEAST_SHARE = 0.2, 0.5
# How firmly: as that many faults with falls like the batch's own, and one with a fall of TYPICAL.
FIRMNESS, TYPICAL = 4.0, 0.05
# How far off an estimate is beside chance, of accuracy; of the fall; of familiarity's change; of how features disagree.
OFF_AT_HOME, OFF_PER_FALL, OFF_PER_STRANGENESS, OFF_PER_SPREAD = 0.005, 0.15, 0.1, 0.8


@dataclass(frozen=True)
class AccuracyEstimator:
    """What was learnt; JSON holds all of it. A batch is read off the means of its features alone.

    `worth` (f,) is what a large fall of each feature in `names` is believed to be worth, `squares` (f,) and `products`
    (f,) what faults said of that (see `falls_of_accuracy`), `shares` (f,) how much each counts. `home` (f,) are the
    features at the reference, `mean_error` how far off the estimate was, in the mean, on faults held out; `threshold`
    is that of the reference, `novelty` its quantiles (empty without). `factor` times the believed error is one standard
    error, with `freedom` degrees; `chance` is the share of the binomial variance that the features leave.
    """

    names: tuple[str, ...]
    accuracy: float
    n_reference: int
    n_families: int
    mean_error: float
    threshold: float
    novelty: tuple[float, ...]
    home: tuple[float, ...]
    worth: tuple[float, ...]
    squares: tuple[float, ...]
    products: tuple[float, ...]
    shares: tuple[float, ...]
    factor: float
    freedom: float
    chance: float
    floor: float

    def estimate(self, means: Sequence[float], n: int, *, level: float = 0.9) -> Interval:
        """Accuracy of `n` answers whose features have these `means` (f,), with an interval of `level`.

        >>> home = AccuracyEstimator(("confidence",), 0.9, 400, 8, 0.02, 0.5, (), (0.92,), (2.0,), (0.1,), (0.08,),
        ...     (1.0,), 1.0, 12.0, 1.0, 0.05)
        >>> found = home.estimate([0.82], 500)
        >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
        (0.72, 0.65, 0.78)
        """
        falls = np.subtract(self.home, means)
        believed = believed_falls(np.array(self.worth), falls)
        told = falls_of_accuracy(believed, np.array(self.squares), np.array(self.products))
        fall = float(told @ self.shares)
        value = min(1.0, max(self.floor, self.accuracy - fall))
        seen = value * (1 - value) / n + self.accuracy * (1 - self.accuracy) / self.n_reference
        tail = (1 - level) / 2
        off = float(believed_error(told, np.array(self.shares), strangeness(self.names, falls)))
        systematic = student_isf(tail, self.freedom) * self.factor * off
        half = math.hypot(systematic, normal_isf(tail) * math.sqrt(self.chance * seen))
        return Interval(value, max(0.0, value - half), min(1.0, value + half), n, METHOD, level)


def believed_falls(worth: np.ndarray, falls: np.ndarray) -> np.ndarray:
    """Fall of accuracy that each feature's fall (..., f) stands for before any fault was seen.

    Large falls cost more than their share: a model's doubt grows too little where inputs get far from what it knows.

    >>> believed_falls(np.array([2.0]), np.array([[0.0], [0.01], [0.2], [-0.2]])).round(4).ravel().tolist()
    [0.0, 0.011, 0.4, -0.4]
    """
    whole = worth * falls
    return np.asarray(whole * (LEAST_SHARE + (1 - LEAST_SHARE) * np.minimum(1, np.abs(whole) / LARGE)))


def falls_of_accuracy(believed: np.ndarray, squares: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Fall of accuracy as each feature alone tells it (..., f).

    A multiple of what is believed, learnt by least squares without a constant: over faults, `squares` (f,) sums the
    mean square of what was believed, `products` (f,) its mean product with what was lost. The belief itself counts as
    `FIRMNESS` faults more whose falls are the batch's own, so that far beyond what faults showed it is the belief that
    speaks. A multiple is never negative.
    """
    own = FIRMNESS * believed**2 + TYPICAL**2
    return np.asarray(believed * np.maximum(0, (products + own) / (squares + own)))


def believed_error(told: np.ndarray, shares: np.ndarray, strange: np.ndarray | float) -> np.ndarray:
    """Standard error of the fall of accuracy, beside chance, before any bank was seen.

    It grows with the fall, with how far the features disagree about it (`told` (..., f), counted by `shares` (f,)), and
    with how much less (or more) familiar the items are (`strange` (...)).
    """
    fall = told @ shares
    spread = np.sqrt((told - fall[..., None]) ** 2 @ shares)
    parts = (OFF_PER_FALL * fall, OFF_PER_STRANGENESS * np.asarray(strange), OFF_PER_SPREAD * spread)
    return np.asarray(np.sqrt(OFF_AT_HOME**2 + sum(part**2 for part in parts)))


def strangeness(names: Sequence[str], falls: np.ndarray) -> np.ndarray:
    """The fall of familiarity among `falls` (..., f); 0 where it is not looked at."""
    return falls[..., list(names).index("familiarity")] if "familiarity" in names else np.zeros(falls.shape[:-1])
