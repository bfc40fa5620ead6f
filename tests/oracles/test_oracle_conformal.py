"""Prediction sets against slow references, and their coverage by simulation within a hundredth of what theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from oracle_case import agree, counted, oracle
from passmuster.metrics.conformal import (
    EVERY_CLASS,
    FREE_RANKS,
    PENALTY,
    SLACK,
    calibrate_sets,
    conformal_threshold,
    set_methods,
    sets_of,
    uniform_of,
)

every_method = pytest.mark.parametrize("name", set_methods.names())


def slow_score(name: str, p: list[float], u: float, c: int) -> float:
    """The score of class `c`, from the published definitions, one class at a time."""
    if name == "lac.v1":
        return 1 - p[c]
    before = [k for k in range(len(p)) if p[k] > p[c] or (p[k] == p[c] and k < c)]
    score = sum(p[k] for k in before) + u * p[c]
    return score + (PENALTY * max(0, len(before) + 1 - FREE_RANKS) if name == "raps.v1" else 0)


@oracle("its definition")
@every_method
def test_scores_and_thresholds_by_hand(name: str) -> None:
    """A thousand random cases: few items, ties, a class that is never true, one class alone."""
    for seed in counted(range(1_000)):
        rng = np.random.default_rng(seed)
        n, c = int(rng.integers(1, 25)), int(rng.integers(1, 6))
        p = rng.dirichlet(np.full(c, rng.choice([0.2, 1.0, 20.0])), n)
        if seed % 3 == 0:
            p = np.round(p, 1)
        u, labels, coverage = rng.random(n), rng.integers(0, rng.integers(1, c + 1), n), rng.choice([0.5, 0.8, 0.9])
        scores = set_methods[name].scores(p, u)
        slow = [[slow_score(name, row, x, k) for k in range(c)] for row, x in zip(p.tolist(), u, strict=True)]
        agree(scores, np.array(slow))
        own = sorted(slow[i][labels[i]] for i in range(n))
        rank = math.ceil(round((n + 1) * coverage, 9))
        found = calibrate_sets(name, p, u, labels, coverage)
        assert found == EVERY_CLASS if rank > n else abs(found - own[rank - 1]) < 1e-9
        near, sets = np.array(slow) - found, sets_of(name, p, u, found)
        assert sets[near < SLACK / 2].all()  # a score on the threshold stays in, however the sums were rounded
        assert not sets[near > 2 * SLACK].any()
    assert calibrate_sets(name, p[:0], u[:0], labels[:0], 0.9) == EVERY_CLASS


def world(rng: np.random.Generator, n: int, c: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure of themselves, and labels."""
    logits = rng.normal(0, 1.5, (n, c))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random(n)[:, None] > np.cumsum(true, axis=1)).sum(axis=1).clip(0, c - 1)
    sure = np.exp(2 * logits)
    return sure / sure.sum(axis=1, keepdims=True), labels


@every_method
@pytest.mark.parametrize(("n", "coverage"), [(39, 0.9), (199, 0.8)])
def test_coverage_has_the_moments_that_the_theory_says(name: str, n: int, coverage: float) -> None:
    """Coverage over calibration sets is beta-distributed (Vovk 2012): mean within 1 %, spread within a hundredth."""
    rng = np.random.default_rng(5)
    n_runs, n_test = 1_500, 400
    p, labels = world(rng, n_runs * (n + n_test))
    scores = set_methods[name].scores(p, rng.random(len(p)))[np.arange(len(p)), labels].reshape(n_runs, n + n_test)
    covered = [(row[n:] <= conformal_threshold(row[:n], coverage)).mean() for row in scores]
    rank = math.ceil((n + 1) * coverage - 1e-9)
    law = stats.beta(rank, n + 1 - rank)
    seen_spread = math.sqrt(law.var() * (1 - 1 / n_test) + law.mean() * (1 - law.mean()) / n_test)
    assert np.mean(covered) == pytest.approx(law.mean(), rel=0.01)
    assert np.mean(covered) >= coverage - 3 * seen_spread / math.sqrt(n_runs)
    assert np.std(covered) == pytest.approx(seen_spread, abs=0.01)


@every_method
def test_a_digest_in_place_of_chance_keeps_the_coverage(name: str) -> None:
    rng = np.random.default_rng(9)
    p, labels = world(rng, 12_000)
    uniform = uniform_of(np.log(p))
    found = calibrate_sets(name, p[:2_000], uniform[:2_000], labels[:2_000], 0.9)
    sets = sets_of(name, p[2_000:], uniform[2_000:], found)
    assert sets[np.arange(10_000), labels[2_000:]].mean() == pytest.approx(0.9, abs=0.02)
    assert stats.kstest(uniform, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(uniform, p.max(axis=1))[0, 1]) < 0.03


def test_adaptive_sets_serve_hard_items_better_than_the_least_ambiguous() -> None:
    """What APS is for: coverage among items in doubt is nearer to the target; LAC's sets are the shorter ones."""
    rng = np.random.default_rng(2)
    p, labels = world(rng, 30_000)
    hard = p.max(axis=1) < np.quantile(p.max(axis=1), 0.2)
    coverage, length = {}, {}
    for name in set_methods:
        u = rng.random(len(p))
        sets = sets_of(name, p, u, calibrate_sets(name, p[:5_000], u[:5_000], labels[:5_000], 0.9))
        coverage[name] = sets[np.arange(len(p)), labels][hard].mean()
        length[name] = sets.sum(axis=1).mean()
    assert abs(coverage["aps.v1"] - 0.9) < abs(coverage["lac.v1"] - 0.9)
    assert min(length, key=length.__getitem__) == "lac.v1"
