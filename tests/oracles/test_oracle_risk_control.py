"""The promised risk: exact bounds against scipy, and by simulation the promise is broken no more often than stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from oracle_case import counted, oracle
from passmuster.metrics import risk_control
from passmuster.metrics.risk_control import NOTHING, allowed, begin_at, choose_threshold, grid_of, upper

N_CASES = 1_000


@oracle("scipy")
def test_how_many_may_be_wrong_by_scipy() -> None:
    """A thousand random cases against scipy's binomial, and the bound against its beta (Clopper and Pearson's end)."""
    rng = np.random.default_rng(0)
    n = rng.integers(1, 400, N_CASES)
    risk, tail = rng.uniform(0.005, 0.6, N_CASES), rng.choice([0.01, 0.05, 0.1], N_CASES)
    k = np.array([allowed(*case) for case in counted(zip(n.tolist(), risk.tolist(), tail.tolist(), strict=True))])
    some = k >= 0
    assert 0.1 < some.mean() < 1
    assert (k < n).all()
    assert (stats.binom.cdf(k, n, risk)[some] <= tail[some] + 1e-12).all()
    more = k + 1 < n
    assert (stats.binom.cdf(k + 1, n, risk)[more] > tail[more] - 1e-12).all()
    wrong = np.where(rng.random(N_CASES) < 0.1, n * rng.integers(0, 2, N_CASES), rng.integers(0, n + 1))  # none, all
    for seen in (wrong, np.maximum(k, 0)):
        ends = np.array([upper(*case) for case in zip(seen.tolist(), n.tolist(), tail.tolist(), strict=True)])
        exact = np.where(seen < n, stats.beta.isf(tail, seen + 1, n - seen), 1.0)
        np.testing.assert_allclose(ends, exact, rtol=0, atol=1e-9)
    assert (ends[some] <= risk[some] + 1e-9).all()


def test_the_grid_and_where_to_begin_by_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few items, of none, and of tied ones: quantiles by hand, then the likeliest of the tests to pass."""
    monkeypatch.setattr(risk_control, "N_LEVELS", 6)
    for number in range(N_CASES):
        rng = np.random.default_rng(number)
        sure = np.sort(rng.beta(4, 1, int(rng.integers(0, 15))))[::-1]
        sure = np.round(sure, 1) if number % 3 == 0 else sure
        grid = grid_of(sure)
        shares = [(i + 1) / 6 for i in range(6)]
        if len(sure):
            places = [(len(sure) - 1) * share for share in shares[:-1]]
            thresholds = [*(np.interp(place, np.arange(len(sure)), sure) for place in places), 0.0]
            foretold = [1 - np.mean([v for v in sure if v >= t]) for t in grid.thresholds]
        else:
            thresholds, foretold = [1 - share for share in shares], [share / 2 for share in shares]
        np.testing.assert_allclose(grid.thresholds, thresholds, rtol=0, atol=1e-9)
        np.testing.assert_allclose(grid.foretold, foretold, rtol=0, atol=1e-9)
        np.testing.assert_allclose(grid.shares, shares)

        n_labels, max_risk, tail = int(rng.integers(0, 200)), float(rng.choice([0.02, 0.1, 0.3])), 0.05
        chances = []
        for share, risk in zip(shares, foretold):
            scarce = n_labels * share - 1.5 * math.sqrt(n_labels * share * (1 - min(share, 1.0)))
            n = max(1, math.floor(scarce + 1e-12))
            most = int((special.bdtr(np.arange(n), n, max_risk) <= tail).sum()) - 1
            chances.append(float(special.bdtr(most, n, min(max(risk, 1e-6), 1 - 1e-9))) if most >= 0 else 0.0)
        start = begin_at(grid, n_labels, max_risk, tail)
        assert start == 5 if max(chances) == 0 else chances[start] == pytest.approx(max(chances), abs=1e-9), number


@pytest.fixture
def without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads how many labels would help where nothing was promised, which takes the most time."""
    monkeypatch.setattr(risk_control, "more_labels", lambda *_: None)


@pytest.mark.usefixtures("without_asking")
def test_the_sequence_ends_where_the_first_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand random cases by scipy's binomial: no label, ties, nothing wrong and everything wrong among them."""
    monkeypatch.setattr(risk_control, "N_LEVELS", 8)
    promised = 0
    for number in range(N_CASES):
        rng = np.random.default_rng(number)
        n, max_risk, level = int(rng.integers(0, 90)), float(rng.choice([0.1, 0.3])), float(rng.choice([0.8, 0.95]))
        sure, others = rng.beta(4, 1, n), rng.beta(4, 1, 30)
        if number % 3 == 0:
            sure, others = np.round(sure, 1), np.round(others, 1)
        wrong = rng.random(n) > sure ** rng.choice([0.0, 0.3, 1.0, 50.0])
        grid = grid_of(others)
        found = choose_threshold(sure, wrong, grid, max_risk, level)
        threshold = NOTHING
        for t in grid.thresholds[begin_at(grid, n, max_risk, 1 - level) :].tolist():
            above = sure >= t
            if not above.any() or special.bdtr(int(wrong[above].sum()), int(above.sum()), max_risk) > 1 - level:
                break
            threshold = t
        assert found.threshold == threshold, number
        assert found.n_labels == n
        if found.reached:
            promised += 1
            assert (found.n, found.n_wrong) == ((sure >= threshold).sum(), wrong[sure >= threshold].sum())
    assert N_CASES / 10 < promised < 9 * N_CASES / 10


def broken_and_reached(n: int, max_risk: float, level: float, honesty: float, n_runs: int) -> tuple[float, float]:
    """Shares of runs in which the promise was false, and in which one was made; chance of being right: sure^honesty."""
    rng = np.random.default_rng(n)
    x = (np.arange(20_000) + 0.5) / 20_000
    weight = 4 * x**3  # of beta(4, 1)
    above = np.cumsum((weight * (1 - x**honesty))[::-1])[::-1] / np.cumsum(weight[::-1])[::-1]  # true selective risk
    broken = reached = 0
    for _ in range(n_runs):
        sure = rng.beta(4, 1, n)
        wrong = rng.random(n) > sure**honesty
        found = choose_threshold(sure, wrong, grid_of(rng.beta(4, 1, 300)), max_risk, level)
        if found.reached:
            reached += 1
            broken += float(np.interp(found.threshold, x, above)) > max_risk
            assert found.n == int((sure >= found.threshold).sum())
            assert found.bound <= max_risk + 1e-9
    return broken / n_runs, reached / n_runs


@pytest.mark.usefixtures("without_asking")
@pytest.mark.parametrize("honesty", [0.5, 1.0, 1.5])  # less sure than right, as sure, and surer than right
@pytest.mark.parametrize(("n", "max_risk"), [(120, 0.1), (600, 0.06)])
def test_the_promise_is_broken_no_more_often_than_stated(n: int, max_risk: float, honesty: float) -> None:
    level, n_runs = 0.9, 200
    broken, reached = broken_and_reached(n, max_risk, level, honesty, n_runs)
    assert broken <= 1 - level + 3 * math.sqrt(level * (1 - level) / n_runs)
    assert reached > 0.1


@pytest.mark.usefixtures("without_asking")
def test_a_useless_model_is_promised_nothing() -> None:
    """Confidence that says nothing, errors at exactly the bound: a promise would be false."""
    rng = np.random.default_rng(3)
    made = [
        choose_threshold(rng.random(300), rng.random(300) < 0.1, grid_of(rng.random(200)), 0.1, 0.9).reached
        for _ in range(300)
    ]
    assert np.mean(made) <= 0.1 + 3 * math.sqrt(0.09 / 300)


def test_what_would_help_is_about_right() -> None:
    """So many more labels as it asks for, of the same kind: a promise is then made more often than not."""
    rng = np.random.default_rng(8)
    sure = rng.beta(8, 1, 60)
    found = choose_threshold(sure, rng.random(60) > sure, grid_of(rng.beta(8, 1, 300)), 0.05, 0.95)
    assert found.threshold == NOTHING
    assert found.n_more
    made = 0
    for _ in range(40):
        more = rng.beta(8, 1, 60 + found.n_more)
        again = choose_threshold(more, rng.random(len(more)) > more, grid_of(rng.beta(8, 1, 300)), 0.05, 0.95)
        made += again.reached
    assert made >= 16


def test_no_labels_one_class_or_ties() -> None:
    none = choose_threshold(np.zeros(0), np.zeros(0), grid_of(np.zeros(0)), 0.05, 0.95)
    assert (none.threshold, none.n_labels, none.bound) == (NOTHING, 0, 1.0)
    tied = choose_threshold(np.ones(100), np.zeros(100), grid_of(np.ones(50)), 0.05, 0.95)
    assert tied.reached
    assert tied.n == 100
    always_wrong = choose_threshold(np.ones(500), np.ones(500), grid_of(np.ones(50)), 0.05, 0.95)
    assert not always_wrong.reached
    assert always_wrong.n_more is None
