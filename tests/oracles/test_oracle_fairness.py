"""Gaps between groups as fairlearn defines them, the largest group's rate less the smallest's; scikit-learn counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from test_oracle_proportions import Case as Weighed
from test_oracle_proportions import by_hand

from oracle_case import counted, oracle
from passmuster.core.statistics import wilson
from passmuster.metrics.fairness import (
    ACCURACY,
    FEWEST,
    ODDS,
    OPPORTUNITY,
    PRECISION,
    SELECTION,
    difference,
    group_accuracy,
    group_gaps,
)

reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra `train`")
N_CASES, MOST_CLASSES, NAMES = 1_000, 3, np.array(list("abc"))


@dataclass(frozen=True)
class Case:
    """True and said classes, group and weight of a few items (n,)."""

    y: np.ndarray
    said: np.ndarray
    group: np.ndarray
    weights: np.ndarray
    n_classes: int


def made() -> list[Case]:
    """One class or more, groups without an item or with too few, all right or all wrong, and everything equal."""
    rng, found = np.random.default_rng(0), []
    for number in range(N_CASES):
        n, c = int(rng.integers(1, 90)), int(rng.choice([1, 2, MOST_CLASSES], p=[0.4, 0.4, 0.2]))
        y = rng.integers(0, c, n)
        said = np.where(rng.random(n) < rng.choice([0.0, 0.7, 1.0], p=[0.1, 0.8, 0.1]), y, rng.integers(0, c, n))
        group = rng.choice(
            3, n, p=[[0.6, 0.3, 0.1], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]][int(rng.choice(3, p=[0.8, 0.1, 0.1]))]
        )
        if number % 12 == 3 and c > 1:
            said = np.where(group == 0, y, (y + 1) % c)  # the gap is as wide as can be
        weights = rng.choice([1.0, 3.5], n) if number % 4 == 1 else np.ones(n)
        found.append(Case(y, said, group, weights, c))
    return found


def counts_of(cases: list[Case], *, weighted: bool) -> dict[str, np.ndarray]:
    """scikit-learn's mistakes of each case, group and class; each has numbers of its own, so that one call counts all.

    By name of the gap the numerator and the denominator of its rate, (cases, groups, classes) each.
    """
    place = np.concatenate([i * 3 + case.group for i, case in enumerate(cases)])
    w = np.concatenate([case.weights for case in cases]) if weighted else np.ones(len(place))
    y, said = (np.concatenate([getattr(case, name) for case in cases]) for name in ("y", "said"))
    table = reference.multilabel_confusion_matrix(
        place * MOST_CLASSES + y, place * MOST_CLASSES + said, sample_weight=w,
        labels=np.arange(N_CASES * 3 * MOST_CLASSES),
    ).reshape(N_CASES, 3, MOST_CLASSES, 2, 2)  # fmt: skip
    true, false, missed = table[..., 1, 1], table[..., 0, 1], table[..., 1, 0]
    everyone = np.bincount(place, w, N_CASES * 3).reshape(N_CASES, 3, 1) + np.zeros(MOST_CLASSES)
    return {
        ACCURACY: np.stack([true.sum(axis=2, keepdims=True) + 0 * true, everyone]),
        SELECTION: np.stack([true + false, everyone]),
        OPPORTUNITY: np.stack([true, true + missed]),
        ODDS: np.stack([false, everyone - true - missed]),  # with the one before
        PRECISION: np.stack([true, true + false]),
    }


def widest(rates: list[float], n: list[float]) -> float:
    """Of groups with enough items, as fairlearn's `difference` with `between_groups`."""
    told = [rate for rate, items in zip(rates, n) if items >= FEWEST]
    return max(told) - min(told) if len(told) > 1 else math.nan


Ends = tuple[float, float, float]  # of a rate: its value, and from where to where


def ends_of(rates: list[Ends]) -> tuple[float, float]:
    """Newcombe's method 10 for every two: the least that the widest gap must be, and the most that it may be."""
    low, high = 0.0, 0.0
    for (p, below, above), (q, under, over) in permutations(rates, 2):
        low = max(low, p - q - math.sqrt((p - below) ** 2 + (over - q) ** 2))
        high = max(high, p - q + math.sqrt((above - p) ** 2 + (q - under) ** 2))
    return low, min(1.0, high)


@cache
def by_score(k: int, n: int, level: float) -> Ends:
    found = stats.binomtest(k, n).proportion_ci(level, "wilson")
    return k / n, found.low, found.high


def rate_of(true: np.ndarray, weights: np.ndarray, clusters: np.ndarray, level: float) -> Ends:
    if len(set(weights.tolist())) == 1 and len(set(clusters.tolist())) == len(true):
        return by_score(int(true.sum()), len(true), level)
    return by_hand(Weighed(1.0 * true, weights, clusters, level))


def parts_of(kind: str, number: int, case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    """What is to be true, and among which items; by group these are the rates of a gap."""
    is_c, said_c, everyone = case.y == number, case.said == number, np.ones(len(case.y), bool)
    return {
        ACCURACY: [(case.y == case.said, everyone)],
        SELECTION: [(said_c, everyone)],
        OPPORTUNITY: [(said_c, is_c)],
        ODDS: [(said_c, is_c), (said_c, ~is_c)],
        PRECISION: [(is_c, said_c)],
    }[kind]


def test_ends_of_gaps() -> None:
    """Each rate at 95 % shared by pairs of groups, classes and rates of a gap; weighted ones by the slow proportion."""
    found, expected = [], []
    for i, case in list(enumerate(made()))[::6]:
        n = len(case.y)
        weights = case.weights if i % 4 == 1 else np.ones(n)
        clusters = (np.arange(n) // (2 if i % 9 == 0 else 1)).astype(str)
        there = sorted(set(case.group.tolist()))
        n_pairs, every = max(1, len(there) * (len(there) - 1) // 2), np.arange(case.n_classes)
        facts = (case.y == case.said, case.y[:, None] == every, case.said[:, None] == every)
        gaps = group_gaps(*facts, NAMES[case.group], weights=weights, clusters=clusters)
        of_class = [(kind, c) for c in every for kind in (SELECTION, OPPORTUNITY, ODDS, PRECISION)]
        assert [(gap.kind, gap.number) for gap in gaps] == [(ACCURACY, -1), *of_class]
        for gap in gaps:
            parts = parts_of(gap.kind, gap.number, case)
            level = 1 - 0.05 / (n_pairs * len(parts) * (case.n_classes if gap.number >= 0 else 1))
            ends = []
            for true, among in parts:
                of = [among & (case.group == group) for group in there]
                told = [
                    rate_of(true[mask], weights[mask], clusters[mask], level) for mask in of if mask.sum() >= FEWEST
                ]
                ends += [ends_of(told)] if len(told) > 1 else []
            assert bool(gap.found.n) == bool(ends)
            found.append((gap.found.low, gap.found.high))
            expected.append([max(own) for own in zip(*ends)] or [0.0, 1.0])
    assert len(found) > N_CASES
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@oracle("scikit-learn")
def test_gaps_as_defined() -> None:
    cases = made()
    with np.errstate(invalid="ignore"):  # by kind, then case, class and group
        rates = {
            kind: (hits / of).swapaxes(1, 2).tolist() for kind, (hits, of) in counts_of(cases, weighted=True).items()
        }
    sizes = {kind: of.swapaxes(1, 2).tolist() for kind, (_, of) in counts_of(cases, weighted=False).items()}
    found, expected = [], []
    for i, case in enumerate(counted(cases)):
        every, there = np.arange(case.n_classes), sorted(set(case.group.tolist()))
        options = {"weights": case.weights} if i % 4 == 1 else {}
        gaps = group_gaps(
            case.y == case.said, case.y[:, None] == every, case.said[:, None] == every, NAMES[case.group], **options
        )
        assert len(gaps) == 1 + 4 * case.n_classes
        for gap in gaps:
            parts = [OPPORTUNITY, ODDS] if gap.kind == ODDS else [gap.kind]
            told = [(rates[kind][i][max(gap.number, 0)], sizes[kind][i][max(gap.number, 0)]) for kind in parts]
            expected.append(max((one for one in (widest(*of) for of in told) if one >= 0), default=math.nan))
            found.append(gap.found.value)
            assert set(gap.untold) == {NAMES[g] for _, n in told for g in there if n[g] < FEWEST}
            if gap.found.n:
                assert 0 <= gap.found.low <= gap.found.value <= gap.found.high <= 1
                most, least = ("abc".index(name) for name in (gap.most, gap.least))
                assert most != least
                assert any(abs(of[most] - of[least] - gap.found.value) < 1e-9 for of, _ in told)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert 0.1 < np.isnan(found).mean() < 0.9


@oracle("scikit-learn")
def test_accuracy_of_each_group() -> None:
    cases = made()
    with np.errstate(invalid="ignore"):
        hits, of = counts_of(cases, weighted=True)[ACCURACY][..., 0]
        rates = hits / of
    for case, expected in counted(zip(cases, rates, strict=True)):
        alone = np.arange(len(case.y))
        found = group_accuracy(case.y == case.said, NAMES[case.group], weights=case.weights, clusters=alone)
        assert list(found) == [NAMES[g] for g in range(3) if g in case.group]
        for name, rate in found.items():
            assert abs(rate.value - expected["abc".index(name)]) < 1e-12
            mask = NAMES[case.group] == name
            of = rate_of((case.y == case.said)[mask], case.weights[mask], alone[mask].astype(str), 0.95)
            assert (rate.low, rate.high) == pytest.approx(of[1:], abs=1e-6)


def test_newcombe_examples_as_published() -> None:
    """Newcombe 1998 (Statistics in Medicine 17: 873), table II, method 10."""
    cases = {(56, 70, 48, 80): (0.0524, 0.3339), (9, 10, 3, 10): (0.1705, 0.8090), (10, 10, 0, 20): (0.6791, 1.0)}
    for (a, m, b, n), expected in cases.items():
        assert difference(wilson(a, m), wilson(b, n))[1:] == pytest.approx(expected, abs=6e-5)


def test_small_groups_are_named_and_not_compared() -> None:
    right = np.ones(25, bool)
    groups = np.array(["a"] * 12 + ["b"] * 12 + ["tiny"])
    right[-1] = False
    accuracy = group_accuracy(right, groups)
    assert (accuracy["tiny"].value, accuracy["tiny"].n) == (0.0, 1)
    first, *_ = group_gaps(right, right[:, None], right[:, None], groups)
    assert (first.found.value, first.untold) == (0.0, ("tiny",))
    alone, *_ = group_gaps(right[:13], right[:13, None], right[:13, None], groups[:13])
    assert math.isnan(alone.found.value)
    assert (alone.found.low, alone.found.high, alone.untold) == (0.0, 1.0, ("b",))


def test_intervals_cover_for_all_groups_together() -> None:
    """Four groups served alike: the true gap of 0 is inside 95 times of 100 at least, with every class and pair."""
    rng = np.random.default_rng(7)
    inside = []
    for _ in range(200):
        y = rng.integers(0, 2, 400)
        said = np.where(rng.random(400) < 0.8, y, 1 - y)
        groups = rng.choice(["a", "b", "c", "d"], 400)
        gaps = group_gaps(y == said, y[:, None] == [0, 1], said[:, None] == [0, 1], groups)
        inside.append(all(gap.found.low == 0.0 for gap in gaps if gap.kind == SELECTION))
    assert np.mean(inside) >= 0.95
