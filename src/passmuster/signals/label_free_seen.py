"""What can be seen of an answer without its label, beside a labelled test: how sure, how familiar, who is near."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from passmuster.core.budget import count_cores
from passmuster.core.largest import largest
from passmuster.signals.label_free import AccuracyEstimator

N_NEIGHBOURS = 5
BLOCK, MOST_THREADS = 256, 4  # items whose cosines one thread holds; both bound the memory
N_QUANTILES = 100


@dataclass(frozen=True)
class Reference:
    """A labelled test as the model answers it: how sure it is (n,), and which answers are right (n,).

    `novelty` (n,) is the guard's score, where it has one; `weights` (n,) say how much an item counts, if unlike.
    Where the items are at hand, `probabilities` (n, k), `embeddings` (n, d) and `classes` (n,), the numbers of their
    labels, tell what neighbours are taken for, and what they are.
    """

    sure: np.ndarray
    right: np.ndarray
    novelty: np.ndarray | None = None
    weights: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    embeddings: np.ndarray | None = None
    classes: np.ndarray | None = None

    @property
    def accuracy(self) -> float:
        return float(np.average(self.right, weights=self.weights))

    @property
    def n(self) -> int:
        """Items that would say as much if each weighed the same (Kish 1965)."""
        w = np.ones(len(self.right)) if self.weights is None else self.weights
        return max(1, round(float(w.sum() ** 2 / (w**2).sum())))

    @cached_property
    def novelty_quantiles(self) -> tuple[float, ...]:
        """A hundred quantiles of novelty; empty without a score."""
        if self.novelty is None:
            return ()
        found = np.quantile(self.novelty, (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES)
        return tuple(float(value) for value in found)

    @cached_property
    def threshold(self) -> float:
        """As many of the reference are surer than this as are right (Garg et al. 2022, equation 1)."""
        order = np.argsort(self.sure, kind="stable")
        w = np.ones(len(order)) if self.weights is None else self.weights[order]
        n_below = int((np.cumsum(w) <= w.sum() * (1 - self.accuracy) + w.mean() / 2).sum())
        return float(self.sure[order][n_below - 1]) if n_below else -math.inf

    @cached_property
    def units(self) -> np.ndarray | None:
        """The embeddings at length 1 (n, d), float32."""
        return None if self.embeddings is None else _units(self.embeddings)


def features_of(
    reference: Reference, names: Sequence[str], sure: np.ndarray, *, novelty: np.ndarray | None = None,
    said: np.ndarray | None = None, embeddings: np.ndarray | None = None,
    copies_of: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """What can be seen of each answer (m, f): each falls, in the mean, when accuracy does.

    ``confidence``: how sure (m,) the model is. ``above``: whether surer than `Reference.threshold`. ``familiarity``:
    the share of the reference that is as novel or more. ``agreement``: the mean probability that the nearest reference
    items give to the answer `said` (m,), by cosine of `embeddings` (m, d). ``votes``: how many of them have
    it as their label.
    `copies_of` (m,) are the reference items that were spoilt: an item's own original is not its neighbour.
    """
    columns = {"confidence": np.asarray(sure, dtype=np.float64), "above": above(sure, reference.threshold)}
    if "familiarity" in names:
        columns["familiarity"] = familiarity(reference.novelty_quantiles, novelty)
    if "agreement" in names or "votes" in names:
        if said is None or embeddings is None:
            raise ValueError("agreement and votes need the answers and their embeddings")
        columns["agreement"], columns["votes"] = _neighbours(reference, said, embeddings, copies_of)
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


def _neighbours(
    reference: Reference, said: np.ndarray, embeddings: np.ndarray, copies_of: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """``agreement`` and ``votes`` (m,)."""
    known, new = reference.units, _units(embeddings)
    probabilities, classes = reference.probabilities, reference.classes
    if known is None or probabilities is None or classes is None:
        raise ValueError("agreement and votes need the reference's probabilities, embeddings and classes")
    k = min(N_NEIGHBOURS, len(known) - 1)
    agree, votes = np.empty(len(new)), np.empty(len(new))

    def look(start: int) -> None:
        cosine = new[start : start + BLOCK] @ known.T
        rows = np.arange(len(cosine))
        if copies_of is not None:
            cosine[rows, copies_of[start + rows]] = -np.inf
        nearest = largest(cosine, k)
        answers = said[start + rows][:, None]
        agree[start + rows] = probabilities[nearest, answers].mean(axis=1)
        votes[start + rows] = (classes[nearest] == answers).mean(axis=1)

    with ThreadPoolExecutor(
        min(count_cores(), MOST_THREADS)
    ) as pool:  # each product takes one thread, and no thread waits for another
        list(pool.map(look, range(0, len(new), BLOCK)))
    return agree, votes


def _units(x: np.ndarray) -> np.ndarray:
    y = np.asarray(x, dtype=np.float32)
    return np.asarray(y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12))
