"""How accurate a model is on a batch without labels: three published estimators, and one taught by natural faults.

Published: average confidence; difference of confidences (Guillory et al. 2021, "Predicting with confidence on unseen
distributions"); average thresholded confidence (Garg et al. 2022, "Leveraging unlabeled data to predict
out-of-distribution performance"). Each reads one number off the probabilities, and none says how far off it may be.

`BankEstimator` is taught by a bank: batches of the labelled test under natural faults, whose accuracy is known. It
learns how several such numbers fall together with accuracy, and takes its interval from how wrong it is on faults
that it was not taught by. None of them sees concept drift: where the inputs stay and their meaning changes, only labels
tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import normal_isf
from passmuster.core.statistics import Interval

N_NEIGHBOURS = 5
RIDGES = (1.0, 3.0, 10.0, 30.0)
FEWEST_FAMILIES = 3
BLOCK = 1_024


@dataclass(frozen=True)
class Reference:
    """A labelled test as the model answers it: probabilities (n, k), embeddings (n, d), and which are right (n,)."""

    probabilities: np.ndarray
    embeddings: np.ndarray
    right: np.ndarray

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.right))


@dataclass(frozen=True)
class Observation:
    """What can be seen of a batch of n items (`observe`); `family` names its fault, `accuracy` where it is known."""

    features: np.ndarray  # (6,)
    n: int
    n_classes: int
    family: str = ""
    accuracy: float = math.nan


def average_confidence(probabilities: np.ndarray) -> float:
    """Mean of the largest probability (n, k).

    >>> average_confidence(np.array([[0.9, 0.1], [0.3, 0.7]]))
    0.8
    """
    return float(np.mean(probabilities.max(axis=1)))


def difference_of_confidences(reference: Reference, probabilities: np.ndarray) -> float:
    """The reference's accuracy, less by how much confidence fell (Guillory et al. 2021, equation 4)."""
    fall = average_confidence(reference.probabilities) - average_confidence(probabilities)
    return float(np.clip(reference.accuracy - fall, 0, 1))


def average_thresholded_confidence(reference: Reference, probabilities: np.ndarray, *, entropy: bool = True) -> float:
    """Share above the score that as many of the reference lie above as are right (Garg et al. 2022, equation 1).

    The score is the negative entropy, or the largest probability.
    """
    score = negative_entropy if entropy else _largest
    known = np.sort(score(reference.probabilities))
    n_wrong = round(len(known) * (1 - reference.accuracy))
    threshold = -math.inf if n_wrong == 0 else known[n_wrong - 1]
    return float(np.mean(score(probabilities) > threshold))


def negative_entropy(p: np.ndarray) -> np.ndarray:
    """``sum p log p`` of each row, in nats."""
    return np.asarray((p * np.log(np.maximum(p, 1e-12))).sum(axis=1))


def _largest(p: np.ndarray) -> np.ndarray:
    return np.asarray(p.max(axis=1))


def observe(
    reference: Reference, probabilities: np.ndarray, embeddings: np.ndarray, *, family: str = "",
    accuracy: float = math.nan, copies_of: np.ndarray | None = None,
) -> Observation:  # fmt: skip
    """What falls when accuracy does: confidence three ways, agreement with neighbours, nearness, and usual classes.

    `probabilities` (m, k) and `embeddings` (m, d) are the model's answers to a batch. The six are average confidence,
    thresholded confidence by negative entropy and by the largest probability, the mean probability that the nearest
    reference items give to an item's class, their mean cosine, and how alike the shares of classes are. For a bank,
    `copies_of` (m,) are the reference items that were spoilt: an item's own original is not its neighbour.
    """
    said, near = _neighbours(reference, probabilities, embeddings, copies_of)
    shares, usual = probabilities.mean(axis=0), reference.probabilities.mean(axis=0)
    seen = [
        average_confidence(probabilities),
        average_thresholded_confidence(reference, probabilities, entropy=True),
        average_thresholded_confidence(reference, probabilities, entropy=False),
        said,
        near,
        -0.5 * float(np.abs(shares - usual).sum()),
    ]
    return Observation(np.array(seen), len(probabilities), probabilities.shape[1], family, accuracy)


@dataclass(frozen=True)
class BankEstimator:
    """What was learnt of a reference and a bank; `estimate` reads a batch.

    `weights` (f,) turn falls of the features, each divided by its `spread`, into a fall of accuracy. `factor` times the
    scale of a batch is the half-width that covers as many held-out faults as the level says.
    """

    accuracy: float
    n_reference: int
    weights: np.ndarray
    spread: np.ndarray
    at_reference: np.ndarray
    factor: float
    level: float

    def estimate(self, seen: Observation) -> Interval:
        """Accuracy of a batch of the same model's answers, with an interval of `level`."""
        falls = self.at_reference - seen.features
        value = _bounded(self.accuracy - float(falls / self.spread @ self.weights), seen.n_classes)
        chance = math.sqrt(value * (1 - value) / seen.n + self.accuracy * (1 - self.accuracy) / self.n_reference)
        half = math.hypot(self.factor * scale(falls, self.accuracy - value), normal_isf((1 - self.level) / 2) * chance)
        low, high = max(0.0, value - half), min(1.0, value + half)
        return Interval(value, low, high, seen.n, "label-free, faults held out", self.level)


def teach(reference: Reference, bank: Sequence[Observation], *, level: float = 0.9) -> BankEstimator:
    """Learn from batches of known accuracy how accuracy falls with what can be seen.

    Ridge regression without a constant (no fall of what is seen, no fall of accuracy) and with weights that are not
    negative (it extrapolates more soberly: docs/log.md). Its strength, and the interval's
    factor, come from leaving one fault out after the other, all of its severities together; the factor is the
    conformal quantile over faults (Vovk et al. 2005), each fault weighing the same. A bank spoils the reference's own
    items, so it does not show the chance in drawing others: that is added when a batch is read.

    Raises
    ------
    ValueError
        With fewer than three faults there is nothing to hold out.
    """
    families = np.array([seen.family for seen in bank])
    names = sorted(set(families.tolist()))
    if len(names) < FEWEST_FAMILIES:
        raise ValueError(f"{len(names)} faults in the bank; at least {FEWEST_FAMILIES} are needed")
    n = len(reference.right)
    itself = observe(reference, reference.probabilities, reference.embeddings, copies_of=np.arange(n))
    at_reference = itself.features
    falls = np.stack([at_reference - seen.features for seen in bank])
    spread = np.maximum(np.sqrt((falls**2).mean(axis=0)), 1e-6)
    x, y = falls / spread, reference.accuracy - np.array([seen.accuracy for seen in bank])
    held_out = {ridge: _left_out(x, y, families, ridge) for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda r: float(np.mean(np.abs(held_out[r] - y))))
    values = [_bounded(reference.accuracy - fall, seen.n_classes) for fall, seen in zip(held_out[ridge], bank)]
    ratios = np.array(
        [
            abs(value - seen.accuracy) / scale(fall, reference.accuracy - value)
            for value, seen, fall in zip(values, bank, falls)
        ]
    )
    weight = np.array([1 / (families == family).sum() for family in families])
    order = np.argsort(ratios)
    reached = np.cumsum(weight[order]) / (len(names) + 1)  # one more fault is to come
    factor = float(ratios[order][min(int(np.searchsorted(reached, level)), len(order) - 1)])
    return BankEstimator(reference.accuracy, n, _ridge(x, y, ridge), spread, at_reference, factor, level)


def scale(falls: np.ndarray, fall: float) -> float:
    """How uncertain an estimated `fall` is, up to a factor: how far it is, and how disunited what it rests on."""
    return float(0.01 + 0.25 * abs(fall) + 0.5 * np.std([*falls[:3], fall]))


def _neighbours(
    reference: Reference, probabilities: np.ndarray, embeddings: np.ndarray, copies_of: np.ndarray | None
) -> tuple[float, float]:
    """Mean probability that an item's nearest reference items give to its class, and their mean cosine."""
    known, new = _units(reference.embeddings), _units(embeddings)
    said = probabilities.argmax(axis=1)
    k = min(N_NEIGHBOURS, len(known) - 1)
    agree, near = np.empty(len(new)), np.empty(len(new))
    for start in range(0, len(new), BLOCK):
        cosine = new[start : start + BLOCK] @ known.T
        rows = np.arange(len(cosine))
        if copies_of is not None:
            cosine[rows, copies_of[start + rows]] = -np.inf
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        agree[start + rows] = reference.probabilities[nearest, said[start + rows][:, None]].mean(axis=1)
        near[start + rows] = np.take_along_axis(cosine, nearest, axis=1).mean(axis=1)
    return float(agree.mean()), float(near.mean())


def _units(x: np.ndarray) -> np.ndarray:
    y = np.asarray(x, dtype=np.float32)
    return np.asarray(y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12))


def _left_out(x: np.ndarray, y: np.ndarray, families: np.ndarray, ridge: float) -> np.ndarray:
    found = np.empty(len(y))
    for family in set(families.tolist()):
        out = families == family
        found[out] = x[out] @ _ridge(x[~out], y[~out], ridge)
    return found


def _ridge(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Ridge regression whose weights are not negative: where what is seen falls, accuracy is not taken to rise."""
    n = x.shape[1]
    rows, values = np.vstack([x, math.sqrt(ridge) * np.eye(n)]), np.concatenate([y, np.zeros(n)])
    from scipy.optimize import nnls  # slow to import

    return np.asarray(nnls(rows, values)[0])


def _bounded(value: float, n_classes: int) -> float:
    """No worse than half of guessing, no better than 1."""
    return min(1.0, max(0.5 / n_classes, value))
