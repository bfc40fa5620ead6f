"""Measures of certainty against references on a thousand random cases: ties, one class, classes without an item."""

from __future__ import annotations

import numpy as np
import pytest
from test_oracle_metrics import cases

from passmuster.metrics.accuracy import macro_accuracy, macro_f1
from passmuster.metrics.calibration import brier, classwise_error, ece, nll
from passmuster.metrics.costs import cheapest, cost_matrix, item_costs, mean_cost
from passmuster.metrics.selective import augrc

reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra `train`")
ONCE = {"n_resamples": 1}
N_CASES = 1_000
CLOSE = {"abs": 1e-9}


def test_macro_accuracy_and_f1() -> None:
    for rng, labels, p, weights, c in cases(N_CASES):
        said = p.argmax(axis=1)
        found = reference.precision_recall_fscore_support(
            labels, said, labels=range(c), sample_weight=weights, zero_division=0.0
        )
        present = np.bincount(labels, minlength=c) > 0
        seen = present | (np.bincount(said, minlength=c) > 0)
        how = {"rng": rng, "weights": weights, **ONCE}
        recall, f1 = found[1][present].mean(), found[2][seen].mean()
        assert macro_accuracy(labels, said, c, **how).value == pytest.approx(recall, **CLOSE)
        assert macro_f1(labels, said, c, **how).value == pytest.approx(f1, **CLOSE)


def test_proper_scores() -> None:
    for rng, labels, p, weights, c in cases(N_CASES):
        how = {"rng": rng, "weights": weights, **ONCE}
        loss = reference.log_loss(labels, p, labels=range(c), sample_weight=weights)
        assert nll(p, labels, **how).value == pytest.approx(loss, **CLOSE)
        squares = c * reference.mean_squared_error(np.eye(c)[labels], p, sample_weight=weights)
        assert brier(p, labels, **how).value == pytest.approx(squares, **CLOSE)


def test_undetected_errors_by_the_area_under_the_roc_curve() -> None:
    """AUGRC of n items is ``(1 - AUROC) a (1 - a) + (1 - a)^2 / 2``, with scikit-learn's AUROC."""
    for rng, labels, p, weights, _ in cases(N_CASES):
        confidence, wrong = p.max(axis=1), p.argmax(axis=1) != labels
        right = np.average(~wrong, weights=weights)
        auroc = reference.roc_auc_score(~wrong, confidence, sample_weight=weights) if 0 < wrong.mean() < 1 else 0.0
        expected = (1 - auroc) * right * (1 - right) + (1 - right) ** 2 / 2
        found = augrc(confidence, wrong, rng=rng, weights=weights, **ONCE).value
        assert found == pytest.approx(expected, abs=1e-7)  # their curve drops points on a line, which rounds


def test_a_weight_of_two_is_an_item_met_twice() -> None:
    for rng, labels, p, weights, _ in cases(N_CASES):
        confidence, wrong, whole = p.max(axis=1), (p.argmax(axis=1) != labels).astype(float), np.ceil(weights)
        twice = [np.repeat(values, whole.astype(int)) for values in (confidence, wrong)]
        found = augrc(confidence, wrong, rng=rng, weights=whole, **ONCE).value
        assert found == pytest.approx(augrc(*twice, rng=rng, **ONCE).value, **CLOSE)


def slow_ece(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, bins: list[list[int]]) -> float:
    total = 0.0
    for members in bins:
        if members:
            mass = sum(weights[i] for i in members)
            gap = sum(weights[i] * (right[i] - confidence[i]) for i in members) / mass
            total += mass * abs(gap)
    return total / sum(weights)


def test_calibration_error_of_equal_mass() -> None:
    """Written out: an item lies in the bin in which the middle of its tie lies."""
    for rng, labels, p, weights, _ in cases(N_CASES):
        confidence, right = p.max(axis=1), (p.argmax(axis=1) == labels).astype(float)
        bins: list[list[int]] = [[] for _ in range(15)]
        for i, own in enumerate(confidence):
            below = weights[confidence < own].sum()
            tied = weights[confidence == own].sum()
            bins[min(14, int(15 * (below + tied / 2) / weights.sum() + 1e-12))].append(i)
        found = ece(p, labels, rng=rng, weights=weights, equal_mass=True, **ONCE).value
        assert found == pytest.approx(slow_ece(confidence, right, weights, bins), abs=1e-6)


def test_equal_mass_without_ties_cuts_the_sorted_items_into_equal_parts() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        p = rng.dirichlet(np.ones(4), 150)
        labels = rng.integers(0, 4, 150)
        confidence, right = p.max(axis=1), (p.argmax(axis=1) == labels).astype(float)
        parts = [list(part) for part in np.array_split(np.argsort(confidence), 15)]
        expected = slow_ece(confidence, right, np.ones(150), parts)
        assert ece(p, labels, rng=rng, equal_mass=True, **ONCE).value == pytest.approx(expected, **CLOSE)


def test_classwise_calibration_error() -> None:
    """Each class against the rest, as a binary task whose confidence is the class's own probability."""
    for rng, labels, p, weights, c in cases(N_CASES):
        expected = 0.0
        for k in range(c):
            bins: list[list[int]] = [[] for _ in range(15)]
            for i, own in enumerate(p[:, k]):
                bins[max(0, int(np.ceil(own * 15 - 1e-12)) - 1)].append(i)
            expected += slow_ece(p[:, k], (labels == k).astype(float), weights, bins) / c
        found = classwise_error(p, np.eye(c)[labels], rng=rng, weights=weights, **ONCE).value
        assert found == pytest.approx(expected, abs=1e-6)


def test_mean_cost_by_the_table_of_mistakes() -> None:
    """scikit-learn counts which class is taken for which; what that costs is the sum of the counts times the prices."""
    for rng, labels, p, weights, c in cases(N_CASES):
        matrix = rng.random((c, c)) * 10
        said = cheapest(matrix, p)
        counts = reference.confusion_matrix(labels, said, labels=range(c), sample_weight=weights)
        found = mean_cost(item_costs(matrix, labels, said), float(matrix.max()), weights=weights)
        assert found.value == pytest.approx((counts * matrix).sum() / weights.sum(), **CLOSE)
        assert found.low <= found.value <= found.high
        plain = item_costs(cost_matrix([str(k) for k in range(c)], {}), labels, p.argmax(axis=1))
        wrong = 1 - reference.accuracy_score(labels, p.argmax(axis=1), sample_weight=weights)
        assert mean_cost(plain, 1.0, weights=weights).value == pytest.approx(wrong, **CLOSE)
