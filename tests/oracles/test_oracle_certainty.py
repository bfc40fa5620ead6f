"""Measures of certainty against references on 1,000 random cases: ties, one class, classes without an item."""

from __future__ import annotations

import numpy as np
import pytest

from oracle_case import MOST_CLASSES, agree, cases, counted, oracle, pool, roc_curves, tables
from passmuster.metrics.calibration import classwise_error, ece, reliability
from passmuster.metrics.costs import WITHHELD, cheapest, cost_matrix, item_costs, mean_cost
from passmuster.metrics.selective import augrc


def undetected_errors(weights: np.ndarray) -> list[float]:
    """AUGRC of each case is ``(1 - AUROC) a (1 - a) + (1 - a)^2 / 2``, with scikit-learn's curve."""
    items, found = pool(), []
    sure, right = items.p.max(axis=1), items.said == items.labels
    for false, true in roc_curves(right, sure, items.case, weights):
        accuracy = true[-1] / (true[-1] + false[-1])
        auroc = np.trapezoid(true / true[-1], false / false[-1]) if 0 < accuracy < 1 else 0.0
        found.append((1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2)
    return found


@oracle("scikit-learn")
def test_undetected_errors_by_the_area_under_the_roc_curve() -> None:
    expected = np.array(undetected_errors(pool().weights))
    agree([augrc(case.sure, case.wrong, **case.options()).value for case in counted(cases())], expected)


def test_a_weight_of_two_is_an_item_met_twice() -> None:
    once, again = [], []
    for case in cases():
        whole = np.ceil(case.weights)
        twice = [np.repeat(values, whole.astype(int)) for values in (case.sure, case.wrong)]
        once.append(augrc(case.sure, case.wrong, **case.options(weighted=False), weights=whole).value)
        again.append(augrc(*twice, **case.options(weighted=False)).value)
    agree(once, np.array(again))


def slow_ece(confidence: list[float], right: list[float], weights: list[float], bins: list[int]) -> float:
    """The mass-weighted mean gap of each bin, `bins` being where each item lies."""
    gaps: dict[int, float] = {}
    for sure, hit, weight, b in zip(confidence, right, weights, bins, strict=True):
        gaps[b] = gaps.get(b, 0.0) + weight * (hit - sure)
    return sum(map(abs, gaps.values())) / sum(weights)


def equal_width(confidence: list[float], n_bins: int = 15) -> list[int]:
    """The bin ((b / n, (b + 1) / n] of each; 0 lies in the first."""
    return [next(b for b in range(n_bins) if own <= (b + 1) / n_bins + 1e-12) for own in confidence]


@oracle("its definition")
def test_calibration_error() -> None:
    found, expected = [], []
    for case in counted(cases()):
        sure, right = case.sure.tolist(), (~case.wrong).astype(float).tolist()
        where = equal_width(sure)
        found.append(ece(case.p, case.labels, **case.options()).value)
        expected.append(slow_ece(sure, right, case.weights.tolist(), where))
        bins = reliability(case.p, case.labels)
        ends = {i: (b.low, b.high) for b in bins for i in b.members}
        assert ends == {i: (b / 15, (b + 1) / 15) for i, b in enumerate(where)}
        plain = slow_ece(sure, right, [1.0] * len(sure), where)
        gaps = sum(len(b.members) * abs(b.accuracy.value - b.confidence) for b in bins)
        assert gaps / len(sure) == pytest.approx(plain, abs=1e-9)
    agree(found, np.array(expected))


def test_what_rounding_lifts_above_one_is_in_the_last_bin() -> None:
    p, labels = np.array([[1 + 1e-12, 0.0], [0.99, 0.01]]), np.array([1, 0])
    assert ece(p, labels, rng=np.random.default_rng(0), n_resamples=0).value == pytest.approx(0.495)
    assert [b.members for b in reliability(p, labels)] == [(0, 1)]


def equal_mass(confidence: list[float], weights: list[float]) -> list[int]:
    """The bin in which the middle of each item's tie lies."""
    where, total = {}, sum(weights)
    for own in set(confidence):
        below = sum(w for w, other in zip(weights, confidence, strict=True) if other < own)
        tied = sum(w for w, other in zip(weights, confidence, strict=True) if other == own)
        where[own] = min(14, int(15 * (below + tied / 2) / total + 1e-12))
    return [where[own] for own in confidence]


@oracle("its definition")
def test_calibration_error_of_equal_mass() -> None:
    found, expected = [], []
    for case in counted(cases()):
        sure, weights = case.sure.tolist(), case.weights.tolist()
        found.append(ece(case.p, case.labels, equal_mass=True, **case.options()).value)
        expected.append(slow_ece(sure, (~case.wrong).tolist(), weights, equal_mass(sure, weights)))
    agree(found, np.array(expected))


def test_equal_mass_without_ties_cuts_the_sorted_items_into_equal_parts() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        p = rng.dirichlet(np.ones(4), 150)
        labels = rng.integers(0, 4, 150)
        confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
        where = np.empty(150, int)
        where[np.argsort(confidence)] = np.repeat(np.arange(15), 10)
        expected = slow_ece(confidence.tolist(), right.tolist(), [1.0] * 150, where.tolist())
        assert ece(p, labels, rng=rng, equal_mass=True, n_resamples=0).value == pytest.approx(expected, abs=1e-9)


@oracle("its definition")
def test_classwise_calibration_error() -> None:
    """Each class against the rest, as a binary task whose confidence is the class's own probability."""
    found, expected = [], []
    for case in counted(cases()):
        truth, total = np.eye(case.n_classes)[case.labels], 0.0
        for k in range(case.n_classes):
            own = case.p[:, k].tolist()
            total += slow_ece(own, truth[:, k].tolist(), case.weights.tolist(), equal_width(own))
        expected.append(total / case.n_classes)
        found.append(classwise_error(case.p, truth, **case.options()).value)
    agree(found, np.array(expected))


@oracle("scikit-learn")
def test_mean_cost_by_the_table_of_mistakes() -> None:
    """scikit-learn counts which class is taken for which; what that costs is the sum of the counts times the prices."""
    rng = np.random.default_rng(0)
    prices = np.round(rng.random((len(cases()), MOST_CLASSES, MOST_CLASSES)) * 10, 1)
    said, found = [], []
    for case, matrix in zip(counted(cases()), prices, strict=True):
        of_case = matrix[: case.n_classes, : case.n_classes]
        said.append(cheapest(of_case, case.p))
        found.append(mean_cost(item_costs(of_case, case.labels, said[-1]), float(matrix.max()), weights=case.weights))
        assert found[-1].low <= found[-1].value <= found[-1].high
    counts = tables(np.concatenate(said), weighted=True)
    agree([one.value for one in found], (counts * prices).sum(axis=(1, 2)) / counts.sum(axis=(1, 2)))


def test_every_mistake_at_one_price_is_the_share_of_mistakes() -> None:
    counts = tables(pool().said, weighted=True)
    wrong = 1 - np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
    found = []
    for case in cases():
        matrix = cost_matrix([str(k) for k in range(case.n_classes)], {})
        found.append(mean_cost(item_costs(matrix, case.labels, case.said), 1.0, weights=case.weights).value)
    agree(found, wrong)


def test_the_cheapest_answer_is_the_cheapest_by_hand() -> None:
    """Elkan's equation 1 with plain sums; of equally cheap answers the likeliest, withheld where that is cheaper."""
    rng = np.random.default_rng(1)
    for number, case in enumerate(cases()):
        c = case.n_classes
        matrix = np.round(rng.random((c, c)) * 4) if number % 2 else rng.random((c, c))
        abstain = float(rng.choice([0.0, 0.3, 1.0]))
        chosen, prices = cheapest(matrix, case.p, abstain).tolist(), matrix.tolist()
        for p, one in zip(case.p.tolist(), chosen, strict=True):
            costs = [sum(p[i] * prices[i][j] for i in range(c)) for j in range(c)]
            least = min(costs)
            if one == WITHHELD:
                assert 0 < abstain < least + 1e-9
            else:
                assert costs[one] == pytest.approx(least, abs=1e-9)
                assert not 0 < abstain < least - 1e-9
                assert p[one] >= max(p[j] for j in range(c) if costs[j] == costs[one]) - 1e-9
