"""The bootstrapped interval of every metric, on 1,000 random cases each: ties, one class, few items, weights, clusters.

Its ends lie where the references of the metrics' own values, here with each item counted as often as it was drawn, say.
Those are asked once a draw, of all cases together; `test_oracle_bootstrap` has the drawing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import test_oracle_certainty as certainty
import test_oracle_label_sets as sets
import test_oracle_metrics as one_label
from scipy import stats
from test_oracle_bootstrap import draws, ends, seen
from test_oracle_faults import answers

from oracle_case import Case, cases, pool
from passmuster.core.bootstrap import bootstrap_sums
from passmuster.core.paired import paired_bootstrap
from passmuster.core.statistics import Interval
from passmuster.metrics import label_sets, robustness
from passmuster.metrics.accuracy import macro_accuracy, macro_f1
from passmuster.metrics.calibration import brier, classwise_error, ece, nll
from passmuster.metrics.selective import augrc, aurc
from passmuster.stages.evaluate.novelty import mean_over_classes, separation, student

N_DRAWS, N_BINS = 4, 15
Metric = Callable[..., Interval]  # of a case and options
Reference = Callable[[np.ndarray], np.ndarray | list[float]]  # from weights of all items (N,) to values of the cases


@dataclass(frozen=True)
class Drawn:
    """Who is drawn together in each case, and all items' weights: as they are, and in each draw, (1 + draws, N)."""

    clusters: list[np.ndarray | None]
    weights: np.ndarray


@cache
def drawn(which: Any) -> Drawn:
    """Clusters in every second case, weighted or not: some cases have one cluster alone."""
    clusters: list[np.ndarray | None] = []
    weights = []
    for number, case in enumerate(which()):
        n = len(case.weights)
        clusters.append(np.random.default_rng(number).integers(0, max(1, n // 2), n) if number % 4 > 1 else None)
        times = draws(n, number, clusters[-1], N_DRAWS)
        weights.append(case.weights * np.concatenate([np.ones((1, n)), times]))
    return Drawn(clusters, np.concatenate(weights, axis=1))


def in_bins(p: np.ndarray, truth: np.ndarray, where: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each case the mass-weighted mean gap of its bins; `where` is the bin of each item."""
    case = pool().case
    gaps = np.bincount(case * N_BINS + where, weights * (truth - p), N_BINS * (case[-1] + 1))
    return np.asarray(np.abs(gaps).reshape(-1, N_BINS).sum(axis=1) / np.bincount(case, weights))


def of_equal_width(p: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return in_bins(p, truth, np.clip(np.ceil(p * N_BINS - 1e-9) - 1, 0, None).astype(int), weights)


def class_by_class(weights: np.ndarray) -> np.ndarray:
    items = pool()
    total = sum(of_equal_width(p, items.labels == c, weights) for c, p in enumerate(items.p.T))
    return np.asarray(total / [case.n_classes for case in cases()])


@cache
def where_as_they_are() -> np.ndarray:
    """Bins of equal mass are those of the items as they are, whatever is drawn."""
    return np.concatenate([certainty.equal_mass(case.sure.tolist(), case.weights.tolist()) for case in cases()])


def areas(weights: np.ndarray) -> list[float]:
    """Under the risk-coverage curve, answer by answer."""
    found = []
    for case, w in zip(cases(), np.split(weights, np.flatnonzero(np.diff(pool().case)) + 1), strict=True):
        lists = [values.astype(float).tolist() for values in (case.sure, case.wrong, w)]
        steps, risks = one_label.slow_risks(*lists)
        found.append(sum(step * risk for step, risk in zip(steps, risks, strict=True)) / sum(steps))
    return found


@cache
def of_each_class(weights: bytes) -> np.ndarray:
    """scikit-learn's answer about classes, asked once for all that reads it."""
    return one_label.of_each_class(np.frombuffer(weights))


def sure_and_right() -> tuple[np.ndarray, np.ndarray]:
    return pool().p.max(axis=1), pool().said == pool().labels


ONE_LABEL: dict[str, tuple[Metric, Reference]] = {
    "macro_accuracy": (
        lambda case, **how: macro_accuracy(case.labels, case.said, case.n_classes, **how),
        lambda w: np.nanmean(of_each_class(w.tobytes())[1], axis=1),
    ),
    "macro_f1": (
        lambda case, **how: macro_f1(case.labels, case.said, case.n_classes, **how),
        lambda w: np.nanmean(of_each_class(w.tobytes())[2], axis=1),
    ),
    "macro_f1_but_of_no_class": (
        lambda case, **how: macro_f1(case.labels, case.said, case.n_classes, no_class=0, **how),
        lambda w: [np.mean(row[~np.isnan(row)]) if not np.isnan(row).all() else np.nan
                   for row in of_each_class(w.tobytes())[2][:, 1:]],
    ),
    "nll": (
        lambda case, **how: nll(case.p, case.labels, **how),
        lambda w: pool().mean(one_label.losses_of_items(), w),
    ),
    "brier": (
        lambda case, **how: brier(case.p, case.labels, **how),
        lambda w: pool().mean(one_label.squares_of_items(), w),
    ),
    "ece": (
        lambda case, **how: ece(case.p, case.labels, **how),
        lambda w: of_equal_width(*sure_and_right(), w),
    ),
    "ece_equal_mass": (
        lambda case, **how: ece(case.p, case.labels, equal_mass=True, **how),
        lambda w: in_bins(*sure_and_right(), where_as_they_are(), w),
    ),
    "classwise_error": (
        lambda case, **how: classwise_error(case.p, np.eye(case.n_classes)[case.labels], **how),
        class_by_class,
    ),
    "aurc": (lambda case, **how: aurc(case.sure, case.wrong, **how), areas),
    "augrc": (lambda case, **how: augrc(case.sure, case.wrong, **how), certainty.undetected_errors),
    "paired_bootstrap": (
        lambda case, **how: paired_bootstrap(~case.wrong, case.labels == 0, **how),
        lambda w: pool().mean(sure_and_right()[1] - 1.0 * (pool().labels == 0), w),
    ),
}  # fmt: skip
SETS: dict[str, tuple[Metric, Reference]] = {
    "set_micro_f1": (
        lambda case, **how: label_sets.f1(case.targets, case.said, "micro", **how),
        partial(sets.f1_by_counts, "micro"),
    ),
    "set_macro_f1": (
        lambda case, **how: label_sets.f1(case.targets, case.said, "macro", **how),
        partial(sets.f1_by_counts, "macro"),
    ),
    "hamming_loss": (
        lambda case, **how: label_sets.hamming_loss(case.targets, case.said, **how),
        sets.wrong_decisions,
    ),
    "ranking_precision": (
        lambda case, **how: label_sets.ranking_precision(case.targets, case.p, **how),
        lambda w: sets.mean(sets.ranking_of_items(), w),
    ),
    "set_log_loss": (
        lambda case, **how: label_sets.set_log_loss(case.targets, case.p, **how),
        lambda w: sets.mean(sets.losses_of_items(), w),
    ),
    "set_brier": (
        lambda case, **how: label_sets.set_brier(case.targets, case.p, **how),
        lambda w: sets.mean(sets.squares_of_items(), w),
    ),
}  # fmt: skip


def holds(which: Any, metric: Metric, reference: Reference) -> None:
    of, found = drawn(which), []
    for number, (case, clusters) in enumerate(zip(which(), of.clusters, strict=True)):
        rng = np.random.default_rng(number)
        interval = metric(case, weights=case.weights, rng=rng, clusters=clusters, n_resamples=N_DRAWS)
        assert interval.n == len(case.weights)
        found.append(seen(interval))
    values = np.array([reference(w) for w in of.weights])
    expected = [ends(first, rest) for first, *rest in values.T.tolist()]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ONE_LABEL)
def test_of_one_label(name: str) -> None:
    holds(cases, *ONE_LABEL[name])


@pytest.mark.parametrize("name", SETS)
def test_of_sets(name: str) -> None:
    holds(sets.cases, *SETS[name])


@pytest.mark.parametrize("name", [*ONE_LABEL, *SETS])
def test_of_no_item(name: str) -> None:
    """It says nothing, and no warning."""
    none = np.zeros(0)
    case = Case(none.astype(int), np.zeros((0, 3)), none)
    of_sets = sets.Case(np.zeros((0, 3), bool), np.zeros((0, 3)), none)
    metric, _ = (ONE_LABEL | SETS)[name]
    found = metric(case if name in ONE_LABEL else of_sets, rng=np.random.default_rng(0))
    assert np.isnan(found.value)
    assert (found.low, found.high, found.n) == (0.0, 1.0, 0)


def test_under_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items are drawn with all that was asked of them and of both models; of some faults a draw may hold no item.

    Such a fault is as it was in the mean accuracy, and adds nothing to either sum of errors.
    """
    monkeypatch.setattr(robustness, "bootstrap_sums", partial(bootstrap_sums, n_resamples=N_DRAWS))
    found, expected = [], []
    for number in range(len(cases())):
        ours, theirs = answers(np.random.default_rng(number))
        n = len(next(iter(ours.values())))
        one = robustness.robustness(np.ones(n), ours, rng=np.random.default_rng(number)).mean
        two = robustness.corruption_error(ours, theirs, rng=np.random.default_rng(number)).mean
        found += [seen(one), seen(two)]
        times = np.concatenate([np.ones((1, n)), draws(n, number, None, N_DRAWS)])  # the first: as they are
        of = {fault: (times @ ~np.isnan(rows)).tolist() for fault, rows in ours.items()}
        right = {fault: (times @ (rows == 1.0)).tolist() for fault, rows in ours.items()}
        theirs_wrong = {fault: (times @ (rows == 0.0)).tolist() for fault, rows in theirs.items()}
        accuracies, errors = [], []
        for i in range(len(times)):
            each, sums = [], {}
            for fault in ours:
                seen_as = i if of[fault][i] else 0
                each.append(right[fault][seen_as] / of[fault][seen_as])
                a, b, half = sums.get(fault[0], (0.0, 0.0, np.inf))
                if of[fault][i]:
                    a, b = a + 1 - each[-1], b + theirs_wrong[fault][i] / of[fault][i]
                    half = min(half, 0.5 / of[fault][i])
                sums[fault[0]] = a, b, half
            accuracies.append(sum(each) / len(each))
            ratios = [a / b if b else a / half if a else 1.0 for a, b, half in sums.values()]
            errors.append(sum(ratios) / len(ratios))
        expected += [ends(rest[0], rest[1:]) for rest in (accuracies, errors)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_of_the_mean_over_classes_by_scipy() -> None:
    """Student's, within 0 and 1; some classes all alike."""
    found, expected = [], []
    for number in range(len(cases())):
        rng = np.random.default_rng(number)
        values = rng.beta(*rng.uniform(0.2, 5, 2), int(rng.integers(2, 12)))
        values = np.full(len(values), values[0]) if number % 10 == 0 else values
        found.append(seen(student(values, 7)))
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        expected.append((values.mean(), max(values.mean() - half, 0.0), min(values.mean() + half, 1.0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    trials = [(rng.normal(size=30), np.arange(30) < k) for k in (5, 10, 15)]
    each = [separation(scores[strange], scores[~strange]) for scores, strange in trials]
    for of, *own in zip(mean_over_classes(trials), *each, strict=True):
        assert of == student(np.array([one.value for one in own]), 30)
    assert mean_over_classes(trials[:1]) == each[0]
