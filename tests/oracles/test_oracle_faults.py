"""Accuracy and errors under faults, and paired differences, against definitions written out; 1,000 cases each."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats
from test_oracle_gates import score

from oracle_case import counted, oracle
from passmuster.core.bootstrap import bootstrap_sums
from passmuster.core.paired import paired_difference
from passmuster.core.statistics import wilson
from passmuster.metrics import robustness as under_faults
from passmuster.metrics.robustness import corruption_error, robustness

N_CASES = 1_000


@pytest.fixture(autouse=True)
def values_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_faults, "bootstrap_sums", partial(bootstrap_sums, n_resamples=0))


def answers(rng: np.random.Generator) -> tuple[dict[tuple[str, int], np.ndarray], dict[tuple[str, int], np.ndarray]]:
    """Two models under one to three faults: few items, faults that changed nothing in some, all right or all wrong."""
    n = int(rng.integers(1, 9))
    faults = [(f"f{i}", s) for i in range(int(rng.integers(1, 4))) for s in range(1, 1 + int(rng.integers(1, 4)))]
    chance = rng.choice([0.0, 0.5, 1.0], p=[0.2, 0.6, 0.2], size=2)
    first, second = {}, {}
    for fault in faults:
        there = rng.random(n) < 0.8
        there[rng.integers(n)] = True
        first[fault], second[fault] = (np.where(there, rng.random(n) < p, math.nan) for p in chance)
    return first, second


def share(rows: np.ndarray, value: float) -> float:
    there = [v for v in rows.tolist() if not math.isnan(v)]
    return sum(v == value for v in there) / len(there)


@oracle("its definition")
def test_accuracy_under_faults_is_the_mean_over_all() -> None:
    for seed in counted(range(N_CASES)):
        rng = np.random.default_rng(seed)
        of, _ = answers(rng)
        n = len(next(iter(of.values())))
        clean = np.round(rng.random(n))
        found = robustness(clean, of, rng=rng)
        each = {fault: share(rows, 1.0) for fault, rows in of.items()}
        assert found.mean.value == pytest.approx(sum(each.values()) / len(each), abs=1e-9)
        by_name = {name: np.mean([v for (other, _), v in each.items() if other == name]) for name, _ in each}
        assert by_name[found.worst] == pytest.approx(min(by_name.values()), abs=1e-9)
        of_worst = {severity: v for (name, severity), v in each.items() if name == found.worst}
        assert found.worst_severity == min(of_worst, key=lambda s: (round(of_worst[s], 9), s))
        for fault, rows in of.items():
            there = ~np.isnan(rows)
            assert found.accuracy[fault] == wilson(each[fault] * there.sum(), int(there.sum()))
            assert found.clean_of[fault] == pytest.approx(clean[there].mean())
        assert found.clean == wilson(clean.sum(), n)


@oracle("its definition")
def test_corruption_error_is_errors_over_errors() -> None:
    for seed in counted(range(N_CASES)):
        rng = np.random.default_rng(seed)
        ours, theirs = answers(rng)
        wanted = {}
        for name in {name for name, _ in ours}:
            rows = [fault for fault in ours if fault[0] == name]
            a, b = (sum(share(of[fault], 0.0) for fault in rows) for of in (ours, theirs))
            half = min(0.5 / int((~np.isnan(ours[fault])).sum()) for fault in rows)
            wanted[name] = a / b if b else a / half if a else 1.0
        found = corruption_error(ours, theirs, rng=rng)
        assert found.of == pytest.approx(wanted, abs=1e-6)
        assert found.mean.value == pytest.approx(np.mean(list(wanted.values())), abs=1e-6)


@oracle("scipy")
def test_at_the_ends_of_tangos_interval_the_score_is_the_normal_quantile() -> None:
    """By the slow score, which climbs the likelihood; no disagreement and nothing but disagreement among the cases."""
    z, rng = stats.norm.ppf(0.975), np.random.default_rng(0)
    drawn: dict[tuple[int, int, int], None] = {}
    while len(drawn) < N_CASES:
        n = int(rng.choice([1, 2, 3, 5, 8, 13, rng.integers(20, 60)]))
        better, worse, _ = (int(k) for k in rng.multinomial(n, rng.choice([[0.1, 0.2, 0.7], [0, 0, 1], [0.5, 0.5, 0]])))
        drawn[n, better, worse] = None
    for n, better, worse in counted(drawn):
        found = paired_difference(better, worse, n)
        assert found.value == pytest.approx((better - worse) / n)
        for end, sign in ((found.low, 1), (found.high, -1)):
            if abs(end) < 1 - 1e-9:
                assert score(better, worse, n, end) == pytest.approx(sign * z, abs=1e-3)
