"""Percentile intervals as Efron (1979) has them: items are drawn again one after the other, and each draw is computed.

First the drawing itself on 1,000 small random cases, and against `scipy.stats.bootstrap`; then every metric that has
such an interval: its ends are those of its own value, which other oracles hold, with each item counted as often as it
was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse, stats
from test_oracle_certainty import equal_mass, slow_ece

from oracle_case import N_CASES, cases
from passmuster.core import bootstrap as core
from passmuster.core.bootstrap import bootstrap, bootstrap_rows, bootstrap_sums
from passmuster.core.paired import paired_bootstrap
from passmuster.core.statistics import Interval
from passmuster.metrics import label_sets, robustness
from passmuster.metrics.accuracy import macro_accuracy, macro_f1
from passmuster.metrics.calibration import brier, classwise_error, ece, nll
from passmuster.metrics.selective import augrc, aurc


def slow(
    statistic: Callable[[np.ndarray], float], n: int, seed: int, clusters: np.ndarray | None, n_resamples: int,
    level: float = 0.95,
) -> tuple[float, float, float]:  # fmt: skip
    """Value and ends of an interval; nothing is drawn for 0 items, and what is not a number does not count."""
    if not n:
        return np.nan, 0.0, 1.0
    rng = np.random.default_rng(seed)
    group = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    n_groups, drawn = int(group.max()) + 1, []
    for _ in range(n_resamples):
        times = [0.0] * n_groups
        for g in rng.integers(0, n_groups, n_groups).tolist():
            times[g] += 1
        drawn.append(statistic(np.array(times)[group]))
    value = statistic(np.ones(n))
    counted = sorted(x for x in drawn if np.isfinite(x))
    if not counted:
        return value, 0.0, 1.0
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):  # between two of them, as far as the share lies
        place = share * (len(counted) - 1)
        below, above = counted[int(place)], counted[min(int(place) + 1, len(counted) - 1)]
        ends.append(below + (above - below) * (place - int(place)))
    return value, min(ends[0], value), max(ends[1], value)


def seen(found: Interval) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def test_draws_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No item, one, all in one cluster, draws without a value, values outside all draws, several blocks of draws."""
    monkeypatch.setattr(core, "RESAMPLES_AT_ONCE", 4)
    monkeypatch.setattr(core, "NUMBERS_AT_ONCE", 10)  # fewer than some cases have items
    every, expected = [], []
    for number in range(N_CASES):
        rng = np.random.default_rng(number)
        n, n_resamples, level = int(rng.integers(0, 13)), int(rng.integers(1, 12)), float(rng.choice([0.5, 0.95]))
        values, order = rng.normal(size=n), rng.permutation(n)
        clusters = rng.integers(0, 4, n).astype(str) if number % 2 else None
        how: dict[str, Any] = {"clusters": clusters, "n_resamples": n_resamples, "level": level}

        def without(times: np.ndarray, values: np.ndarray = values, number: int = number) -> float:
            """The mean; every third case has none where the first item was not drawn, or, some, at all."""
            lost = number % 3 == 0 and (times[0] == 0 or number % 30 == 0)
            return np.nan if lost else float(times @ values / times.sum())

        def most(times: np.ndarray) -> float:  # 1 for the items as they are, more for nearly all draws
            return float(times.max())

        for statistic in (without, most):
            found = bootstrap(statistic, n, rng=np.random.default_rng(number), **how)
            every.append(seen(found))
            expected.append(slow(statistic, n, number, clusters, n_resamples, level))
            n_groups = n if clusters is None else len(set(clusters.tolist()))
            assert found.n == n
            assert found.method == ("cluster bootstrap" if 0 < n_groups < n else "bootstrap")

        rows = bootstrap_rows(
            lambda times, v=values[order]: times @ v, n, rng=np.random.default_rng(number), order=order, **how
        )
        columns: Any = np.column_stack([values, np.ones(n)])
        columns = sparse.csr_matrix(columns) if number % 4 > 1 else columns
        sums = bootstrap_sums(columns, lambda s: s[:, 0] / s[:, 1], rng=np.random.default_rng(number), **how)
        every += [seen(rows), seen(sums)]
        expected += [
            slow(lambda times, v=values: float(times @ v), n, number, clusters, n_resamples, level),
            slow(lambda times, v=values: float(times @ v / times.sum()), n, number, clusters, n_resamples, level),
        ]
    np.testing.assert_allclose(every, expected, rtol=0, atol=1e-9)


def test_ends_are_scipys_within_a_hundredth() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    columns = np.column_stack([values, np.ones(40)])
    ours = bootstrap_sums(columns, lambda s: s[:, 0] / s[:, 1], rng=np.random.default_rng(1), n_resamples=50_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(2), batch=5_000
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)
    assert ours.high - ours.low == pytest.approx(theirs.high - theirs.low, rel=0.01)


Metric = Callable[..., Interval]  # of weights (n,) and options


def single(name: str, number: int) -> tuple[int, Metric]:
    case = cases()[number]
    p, labels, truth = case.p, case.labels, np.eye(case.n_classes)[case.labels]
    return len(labels), {
        "macro_accuracy": lambda w, **how: macro_accuracy(labels, case.said, case.n_classes, weights=w, **how),
        "macro_f1": lambda w, **how: macro_f1(labels, case.said, case.n_classes, weights=w, **how),
        "nll": lambda w, **how: nll(p, labels, weights=w, **how),
        "brier": lambda w, **how: brier(p, labels, weights=w, **how),
        "ece": lambda w, **how: ece(p, labels, weights=w, **how),
        "classwise_error": lambda w, **how: classwise_error(p, truth, weights=w, **how),
        "aurc": lambda w, **how: aurc(case.sure, case.wrong, weights=w, **how),
        "augrc": lambda w, **how: augrc(case.sure, case.wrong, weights=w, **how),
        "paired_bootstrap": lambda w, **how: paired_bootstrap(~case.wrong, labels == 0, weights=w, **how),
    }[name]  # fmt: skip


def of_sets(name: str, number: int) -> tuple[int, Metric]:
    rng = np.random.default_rng(number)
    n, k = int(rng.integers(1, 20)), int(rng.integers(1, 5))
    targets, p = rng.random((n, k)) < rng.choice([0.1, 0.5]), np.round(rng.random((n, k)), 1)
    return n, {
        "micro": lambda w, **how: label_sets.f1(targets, p > 0.5, "micro", weights=w, **how),
        "macro": lambda w, **how: label_sets.f1(targets, p > 0.5, "macro", weights=w, **how),
        "hamming_loss": lambda w, **how: label_sets.hamming_loss(targets, p > 0.5, weights=w, **how),
        "ranking_precision": lambda w, **how: label_sets.ranking_precision(targets, p, weights=w, **how),
        "set_log_loss": lambda w, **how: label_sets.set_log_loss(targets, p, weights=w, **how),
        "set_brier": lambda w, **how: label_sets.set_brier(targets, p, weights=w, **how),
    }[name]  # fmt: skip


SINGLE = ("macro_accuracy", "macro_f1", "nll", "brier", "ece", "classwise_error", "aurc", "augrc", "paired_bootstrap")
SETS = ("micro", "macro", "hamming_loss", "ranking_precision", "set_log_loss", "set_brier")
N_EACH, N_RESAMPLES = 40, 6  # with the drawing itself held by a thousand


@pytest.mark.parametrize("name", SINGLE + SETS)
def test_the_interval_of_each_metric(name: str) -> None:
    for number in range(N_EACH):
        rng = np.random.default_rng(number)
        n, metric = (single if name in SINGLE else of_sets)(name, number)
        w = rng.choice([1.0, 2.0, 7.5], n) if number % 4 > 1 else np.ones(n)
        clusters = rng.integers(0, max(1, n // 2), n) if number % 2 else None
        found = metric(w, rng=np.random.default_rng(number), clusters=clusters, n_resamples=N_RESAMPLES)
        expected = slow(
            lambda times, metric=metric, w=w: metric(w * times, rng=np.random.default_rng(0), n_resamples=0).value,
            n, number, clusters, N_RESAMPLES,
        )  # fmt: skip
        np.testing.assert_allclose(seen(found), expected, rtol=0, atol=1e-9, err_msg=f"case {number}")
        assert found.n == n


def test_the_interval_of_equal_mass() -> None:
    """The bins are those of the items as they are, whatever is drawn."""
    for number, case in enumerate(cases()[: 2 * N_EACH]):
        sure, right, w = case.sure.tolist(), (~case.wrong).tolist(), case.weights
        where = equal_mass(sure, w.tolist())
        how = {"rng": np.random.default_rng(number), "n_resamples": N_RESAMPLES}
        found = ece(case.p, case.labels, weights=w, equal_mass=True, **how)
        expected = slow(
            lambda times, *held: slow_ece(sure, right, (w * times).tolist(), where),  # noqa: B023
            len(sure), number, None, N_RESAMPLES,
        )  # fmt: skip
        np.testing.assert_allclose(seen(found), expected, rtol=0, atol=1e-9)


def test_the_intervals_under_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items are drawn with all that was asked of them and of both models."""
    monkeypatch.setattr(core.bootstrap_sums, "__kwdefaults__", core.bootstrap_sums.__kwdefaults__ | {"n_resamples": 5})
    for number in range(2 * N_EACH):
        rng = np.random.default_rng(number)
        n = int(rng.integers(1, 12))
        faults = [("a", 1), ("a", 2), ("b", 1)]
        ours, theirs = ({fault: (rng.random(n) < 0.6).astype(float) for fault in faults} for _ in range(2))

        def again(times: np.ndarray, of: dict[Any, np.ndarray]) -> dict[Any, np.ndarray]:
            return {fault: np.repeat(rows, times.astype(int)) for fault, rows in of.items()}

        def mean(times: np.ndarray, ours: Any = ours) -> float:
            return robustness.robustness(np.ones(n), again(times, ours), rng=rng).mean.value  # noqa: B023

        def errors(times: np.ndarray, ours: Any = ours, theirs: Any = theirs) -> float:
            return robustness.corruption_error(again(times, ours), again(times, theirs), rng=rng).mean.value  # noqa: B023

        first = robustness.robustness(np.ones(n), ours, rng=np.random.default_rng(number))
        second = robustness.corruption_error(ours, theirs, rng=np.random.default_rng(number))
        np.testing.assert_allclose(seen(first.mean), slow(mean, n, number, None, 5), rtol=0, atol=1e-9)
        np.testing.assert_allclose(seen(second.mean), slow(errors, n, number, None, 5), rtol=0, atol=1e-9)
