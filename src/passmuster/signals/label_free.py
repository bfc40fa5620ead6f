"""How accurate a model is on a batch without labels: the estimate and its interval, as a report keeps them.

Published estimators read one number off the probabilities (how sure the model is on average, or how often it is surer
than a threshold), and none says how far off it may be. Here several numbers are read off each answer
(`passmuster.signals.label_free_seen`), and natural faults of the labelled test teach what a fall of each is worth and
how far off that is (`passmuster.signals.label_free_taught`). None of this sees concept drift: where the inputs stay
and their meaning changes, only labels tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import normal_isf, student_isf
from passmuster.core.statistics import Interval

METHOD = "label-free.v1"
# Beliefs before any bank, from the sets that the estimator was developed on (docs/log.md): how far off an estimate is
# beside chance, of accuracy; of the fall; of familiarity's change.
OFF_AT_HOME, OFF_PER_FALL, OFF_PER_STRANGENESS = 0.01, 0.2, 0.3


@dataclass(frozen=True)
class AccuracyEstimator:
    """What was learnt; JSON holds all of it. A batch is read off the means of its features alone.

    `weights` (f,) are points of accuracy for a point of each feature in `names`, `home` (f,) the features at the
    reference, `mean_error` how far off it was, in the mean, on faults held out; `threshold` is that of `Reference`,
    `novelty` its quantiles (empty without). `factor` times the believed error is one standard error, with `freedom`
    degrees; `chance` is the share of the binomial variance that the features leave.
    """

    names: tuple[str, ...]
    accuracy: float
    n_reference: int
    n_families: int
    mean_error: float
    threshold: float
    novelty: tuple[float, ...]
    home: tuple[float, ...]
    weights: tuple[float, ...]
    factor: float
    freedom: float
    chance: float
    floor: float

    def estimate(self, means: Sequence[float], n: int, *, level: float = 0.9) -> Interval:
        """Accuracy of `n` answers whose features have these `means` (f,), with an interval of `level`.

        >>> home = AccuracyEstimator(("confidence",), 0.9, 400, 8, 0.02, 0.5, (), (0.92,), (1.5,), 1.0, 12.0, 1.0, 0.05)
        >>> found = home.estimate([0.82], 500)
        >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
        (0.75, 0.68, 0.82)
        """
        falls = np.subtract(self.home, means)
        fall = float(falls @ self.weights)
        value = min(1.0, max(self.floor, self.accuracy - fall))
        seen = value * (1 - value) / n + self.accuracy * (1 - self.accuracy) / self.n_reference
        tail = (1 - level) / 2
        systematic = (
            student_isf(tail, self.freedom) * self.factor * float(believed_error(fall, strangeness(self.names, falls)))
        )
        half = math.hypot(systematic, normal_isf(tail) * math.sqrt(self.chance * seen))
        return Interval(value, max(0.0, value - half), min(1.0, value + half), n, METHOD, level)


def believed_error(fall: np.ndarray | float, strange: np.ndarray | float) -> np.ndarray:
    """Standard error of an estimated `fall` of accuracy, beside chance, before any bank was seen.

    It grows with the fall, and with how much less (or more) familiar the items are (`strangeness`).
    """
    far = np.hypot(OFF_PER_FALL * np.asarray(fall), OFF_PER_STRANGENESS * np.asarray(strange))
    return np.asarray(np.hypot(OFF_AT_HOME, far))


def strangeness(names: Sequence[str], falls: np.ndarray) -> np.ndarray:
    """The fall of familiarity among `falls` (..., f); 0 where it is not looked at."""
    return falls[..., list(names).index("familiarity")] if "familiarity" in names else np.zeros(falls.shape[:-1])
