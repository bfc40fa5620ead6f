"""How accurate a model is on a batch without labels, taught by natural faults; and three published estimators.

Published: average confidence; difference of confidences (Guillory et al. 2021, "Predicting with confidence on unseen
distributions"); average thresholded confidence (Garg et al. 2022, "Leveraging unlabeled data to predict
out-of-distribution performance"). Each reads one number off the probabilities, and none says how far off it may be.

`teach` learns from a bank: labelled test items under natural faults (Deng and Zheng 2021, "Are labels always necessary
for classifier accuracy evaluation?", learn from transformed sets too). A model that is surer than right away from home
loses some 1.5 to 2 points of accuracy for a point of confidence; how many is learnt from the same items before and
after. The interval's systematic part comes from faults held out one after the other; the chance in drawing the batch
and the reference is added. None of this sees concept drift: where the inputs stay and their meaning changes, only
labels tell.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import normal_isf, student_isf
from passmuster.core.statistics import Interval

METHOD = "label-free.v1"
N_NEIGHBOURS = 5
FEWEST_FAMILIES = 3
BLOCK = 1_024
N_QUANTILES = 100
# Beliefs before any bank, from the sets that the estimator was developed on (docs/log.md): what a point of each feature
# is worth (0: it only widens the interval), how firmly (in families of faults with falls of TYPICAL), and how far
# off an estimate is beside chance.
WORTH: Mapping[str, float] = {"confidence": 0.75, "above": 0.75, "familiarity": 0.0, "agreement": 0.25}
FIRMNESS, TYPICAL = 1.0, 0.05
OFF_AT_HOME, OFF_PER_FALL, OFF_PER_STRANGENESS = 0.01, 0.2, 0.3  # accuracy; of the fall; of familiarity's change
PRIOR_FAMILIES = 4.0  # families of faults that this belief counts as
LEAST_FACTOR = 0.5


@dataclass(frozen=True)
class Reference:
    """A labelled test as the model answers it: how sure it is (n,), and which answers are right (n,).

    `novelty` (n,) is the guard's score, where it has one; `weights` (n,) say how much an item counts, if unlike.
    Where the items are at hand, `probabilities` (n, k) and `embeddings` (n, d) tell what neighbours are taken for.
    """

    sure: np.ndarray
    right: np.ndarray
    novelty: np.ndarray | None = None
    weights: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    embeddings: np.ndarray | None = None

    @property
    def accuracy(self) -> float:
        return float(np.average(self.right, weights=self.weights))

    @property
    def n(self) -> int:
        """Items that would say as much if each weighed the same (Kish 1965)."""
        w = np.ones(len(self.right)) if self.weights is None else self.weights
        return max(1, round(float(w.sum() ** 2 / (w**2).sum())))

    @property
    def novelty_quantiles(self) -> tuple[float, ...]:
        """A hundred quantiles of novelty; empty without a score."""
        if self.novelty is None:
            return ()
        found = np.quantile(self.novelty, (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES)
        return tuple(float(value) for value in found)

    @property
    def threshold(self) -> float:
        """As many of the reference are surer than this as are right (Garg et al. 2022, equation 1)."""
        order = np.argsort(self.sure, kind="stable")
        w = np.ones(len(order)) if self.weights is None else self.weights[order]
        n_below = int((np.cumsum(w) <= w.sum() * (1 - self.accuracy) + w.mean() / 2).sum())
        return float(self.sure[order][n_below - 1]) if n_below else -math.inf


@dataclass(frozen=True)
class Spoilt:
    """Reference items under a fault: its `family`, which items (m,), what can be seen of each (m, f), and who is right.

    Batches of one family are held out together.
    """

    family: str
    places: np.ndarray
    features: np.ndarray
    right: np.ndarray


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


def features_of(
    reference: Reference, names: Sequence[str], sure: np.ndarray, *, novelty: np.ndarray | None = None,
    said: np.ndarray | None = None, embeddings: np.ndarray | None = None,
    copies_of: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """What can be seen of each answer (m, f): each falls, in the mean, when accuracy does.

    ``confidence``: how sure (m,) the model is. ``above``: whether surer than `Reference.threshold`. ``familiarity``:
    the share of the reference that is as novel or more. ``agreement``: the mean probability that the nearest reference
    items give to the answer `said` (m,), by cosine of `embeddings` (m, d).
    `copies_of` (m,) are the reference items that were spoilt: an item's own original is not its neighbour.
    """
    columns = {"confidence": np.asarray(sure, dtype=np.float64), "above": above(sure, reference.threshold)}
    if "familiarity" in names:
        columns["familiarity"] = familiarity(reference.novelty_quantiles, novelty)
    if "agreement" in names:
        if said is None or embeddings is None:
            raise ValueError("agreement needs the answers and their embeddings")
        columns["agreement"] = _agreement(reference, said, embeddings, copies_of)
    return np.column_stack([columns[name] for name in names])


def features_of_answer(estimator: AccuracyEstimator, sure: float, novelty: float) -> tuple[float, ...]:
    """What `features_of` says of one answer, as far as the answer alone tells; for streams.

    Raises
    ------
    ValueError
        When the estimator looks at more.
    """
    found = []
    for name in estimator.names:
        if name == "confidence":
            found.append(sure)
        elif name == "above":
            found.append(float(sure > estimator.threshold))
        elif name == "familiarity":
            both = bisect_left(estimator.novelty, novelty) + bisect_right(estimator.novelty, novelty)
            found.append(1 - both / 2 / len(estimator.novelty))
        else:
            raise ValueError(f"{name} cannot be seen of one answer alone")
    return tuple(found)


def above(sure: np.ndarray, threshold: float) -> np.ndarray:
    """1 where an answer is surer than `threshold`, else 0 ``(n,)``."""
    return (np.asarray(sure) > threshold).astype(np.float64)


def familiarity(quantiles: Sequence[float], novelty: np.ndarray | None) -> np.ndarray:
    """The share of the reference, by the `quantiles` of its scores, that is as novel as each item (n,) or more.

    >>> familiarity([0.0, 1.0, 2.0, 3.0], np.array([-1.0, 1.0, 9.0])).tolist()
    [1.0, 0.625, 0.0]
    """
    if novelty is None or not len(quantiles):
        raise ValueError("familiarity needs novelty scores, of the items and of the reference")
    low, high = (np.searchsorted(quantiles, novelty, side=side) for side in ("left", "right"))
    return np.asarray(1 - (low + high) / 2 / len(quantiles))


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


def average_confidence(sure: np.ndarray) -> float:
    """Mean of how sure the model is (n,).

    >>> average_confidence(np.array([0.9, 0.7]))
    0.8
    """
    return float(np.mean(sure))


def difference_of_confidences(reference: Reference, sure: np.ndarray) -> float:
    """The reference's accuracy, less by how much confidence fell (Guillory et al. 2021, equation 4)."""
    fall = average_confidence(reference.sure) - average_confidence(sure)
    return float(np.clip(reference.accuracy - fall, 0, 1))


def average_thresholded_confidence(reference: Reference, sure: np.ndarray) -> float:
    """Share surer than as many of the reference are as are right (Garg et al. 2022, equation 1).

    `sure` may be any score that is higher where the model is surer, in both: they prefer the negative entropy.
    """
    return float(np.mean(above(sure, reference.threshold)))


def negative_entropy(p: np.ndarray) -> np.ndarray:
    """``sum p log p`` of each row, in nats."""
    return np.asarray((p * np.log(np.maximum(p, 1e-12))).sum(axis=1))


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


def _agreement(
    reference: Reference, said: np.ndarray, embeddings: np.ndarray, copies_of: np.ndarray | None
) -> np.ndarray:
    if reference.embeddings is None or reference.probabilities is None:
        raise ValueError("agreement needs the reference's probabilities and embeddings")
    known, new = _units(reference.embeddings), _units(embeddings)
    k = min(N_NEIGHBOURS, len(known) - 1)
    agree = np.empty(len(new))
    for start in range(0, len(new), BLOCK):
        cosine = new[start : start + BLOCK] @ known.T
        rows = np.arange(len(cosine))
        if copies_of is not None:
            cosine[rows, copies_of[start + rows]] = -np.inf
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        agree[start + rows] = reference.probabilities[nearest, said[start + rows][:, None]].mean(axis=1)
    return agree


def _units(x: np.ndarray) -> np.ndarray:
    y = np.asarray(x, dtype=np.float32)
    return np.asarray(y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12))
