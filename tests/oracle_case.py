"""A thousand random cases of one label an item, and the same end to end, so that a reference is asked once for all.

A reference library spends most of a call on checking what it is given. Where classes of different cases carry different
numbers, its answer class by class holds for each case alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from typing import Any, TypeVar

import numpy as np
import pytest

N_CASES = 1_000
MOST_CLASSES = 6
AT_ONCE = 25  # cases whose table of mistakes is made together


Test = TypeVar("Test", bound=Callable[..., Any])
Each = TypeVar("Each")
_tried = 0


def oracle(by: str) -> Callable[[Test], Test]:
    """Marks a test that holds a table's entry or a report's number against a reference, on `N_CASES` cases at least.

    `by` names the library, or says of what the reference is written out. The contract of oracles reads the mark; that
    the cases were really tried is seen each time the test runs, by `counted`.
    """

    def mark(test: Test) -> Test:
        @wraps(test)
        def tried(*args: Any, **options: Any) -> None:
            global _tried
            _tried = 0
            test(*args, **options)
            assert _tried >= N_CASES, f"{test.__name__} tried {_tried} cases, not {N_CASES}, against {by}"

        tried.reference = by  # type: ignore[attr-defined]
        return tried  # type: ignore[return-value]

    return mark


def counted(cases: Iterable[Each]) -> Iterator[Each]:
    """The cases, of which each that is tried counts for `oracle`."""
    global _tried
    for case in cases:
        _tried += 1
        yield case


@dataclass(frozen=True)
class Case:
    """Labels (n,), probabilities (n, c) and weights (n,) of a few items."""

    labels: np.ndarray
    p: np.ndarray
    weights: np.ndarray

    @property
    def n_classes(self) -> int:
        return self.p.shape[1]

    @cached_property
    def said(self) -> np.ndarray:
        return self.p.argmax(axis=1)

    @cached_property
    def sure(self) -> np.ndarray:
        return self.p.max(axis=1)

    @cached_property
    def wrong(self) -> np.ndarray:
        return self.said != self.labels

    def options(self, *, weighted: bool = True) -> dict[str, object]:
        """For a metric with an interval: without any draw, as only its value is looked at."""
        return {"rng": np.random.default_rng(0), "n_resamples": 0} | ({"weights": self.weights} if weighted else {})


@cache
def cases() -> list[Case]:
    """Few items, many ties, absent classes, one class only, probabilities of 0 and 1, weights in every second case."""
    return list(_made())


def _made() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for number in range(N_CASES):
        n, c = int(rng.integers(1, 31)), int(rng.integers(2, MOST_CLASSES + 1))
        used = int(rng.integers(1, c + 1))  # classes that occur
        logits = rng.normal(size=(n, c)) * rng.choice([0.1, 1.0, 5.0])
        if number % 3 == 0:
            logits = np.round(logits)  # ties
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        if number % 5 == 0:
            p = np.where(p < 0.5, 0.0, p)
        weights = rng.choice([1.0, 2.0, 7.5], n) if number % 2 else np.ones(n)
        yield Case(rng.integers(0, used, n), p / p.sum(axis=1, keepdims=True), weights)


@dataclass(frozen=True)
class Pool:
    """The items of all cases, end to end: (N,), and probabilities (N, most classes), 0 where a case has fewer."""

    labels: np.ndarray
    said: np.ndarray
    weights: np.ndarray
    p: np.ndarray
    case: np.ndarray

    def mean(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The mean of values (N,) in each case, by the items' own weights or by others."""
        w = self.weights if weights is None else weights
        return np.bincount(self.case, w * values) / np.bincount(self.case, w)

    def by_class(self, values: np.ndarray) -> np.ndarray:
        """The numbers that classes carry when each case has classes of its own."""
        return np.asarray(self.case * MOST_CLASSES + values)


@cache
def pool() -> Pool:
    every = cases()
    p = [np.pad(case.p, ((0, 0), (0, MOST_CLASSES - case.n_classes))) for case in every]
    case = np.repeat(np.arange(len(every)), [len(case.labels) for case in every])
    joined = [np.concatenate([getattr(case, name) for case in every]) for name in ("labels", "said", "weights")]
    return Pool(joined[0], joined[1], joined[2], np.concatenate(p), case)


def tables(said: np.ndarray, *, weighted: bool) -> np.ndarray:
    """scikit-learn's table of mistakes of each case: (cases, classes, classes), row the label."""
    reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra `train`")
    items, found = pool(), []
    labels, said = items.by_class(items.labels), items.by_class(said)
    for first in range(0, N_CASES, AT_ONCE):
        these = (items.case >= first) & (items.case < first + AT_ONCE)
        names = np.arange(first * MOST_CLASSES, (first + AT_ONCE) * MOST_CLASSES)
        table = reference.confusion_matrix(
            labels[these], said[these], labels=names, sample_weight=items.weights[these] if weighted else None
        )
        whole = table.reshape(AT_ONCE, MOST_CLASSES, AT_ONCE, MOST_CLASSES)
        found.append(whole[np.arange(AT_ONCE), :, np.arange(AT_ONCE)])
    return np.concatenate(found)


def roc_curves(truth: np.ndarray, scores: np.ndarray, case: np.ndarray, weights: np.ndarray | None = None) -> list[Any]:
    """scikit-learn's curve of each case: false and true positives (2, k) as the threshold falls, from none to all.

    The cases lie on one curve, one after the other, because the scores of a case are all above those of the next.
    """
    reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra `train`")
    w = np.ones(len(case)) if weights is None else weights
    place = np.unique(scores, return_inverse=True)[1]
    band = int(place.max()) + 1
    curve = reference.roc_curve(truth, place - band * case, sample_weight=w, drop_intermediate=False)
    counted = np.stack([curve[0] * w[~truth].sum(), curve[1] * w[truth].sum()])
    last = np.searchsorted(-curve[2], band * np.arange(N_CASES), side="right")  # the first point of the next case
    return [counted[:, a - 1 : b] - counted[:, a - 1, None] for a, b in zip([1, *last], last)]


def agree(found: Sequence[float] | np.ndarray, expected: np.ndarray, atol: float = 1e-9) -> None:
    """As many, and each the same to `atol`; what has no value in one has none in the other."""
    np.testing.assert_allclose(np.asarray(found, dtype=np.float64), expected, rtol=0, atol=atol)
