"""Every metric against a reference: scikit-learn, scipy, or the textbook formula; on 1,000 random cases each."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from scipy import stats

from oracle_case import MOST_CLASSES, N_CASES, agree, cases, counted, oracle, pool, roc_curves, tables
from passmuster.core.errors import DataError
from passmuster.core.paired import mcnemar_exact
from passmuster.core.statistics import benjamini_hochberg, clopper_pearson, wilson
from passmuster.metrics.accuracy import accuracy, macro_accuracy, macro_f1, per_class
from passmuster.metrics.calibration import SMALLEST, brier, nll
from passmuster.metrics.confusion import Mistake, confusion, confusion_cells, most_confused
from passmuster.metrics.novelty.gaussian import shrunk_covariance
from passmuster.metrics.ranking import auroc, fpr95
from passmuster.metrics.selective import aurc, risk_coverage

reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra `train`")


def of_each_class(weights: np.ndarray | None = None) -> np.ndarray:
    """scikit-learn's precision, recall and F1 of every class of every case: (3, cases, classes)."""
    items = pool()
    names, w = np.arange(N_CASES * MOST_CLASSES), items.weights if weights is None else weights
    found = reference.precision_recall_fscore_support(
        items.by_class(items.labels), items.by_class(items.said), labels=names, sample_weight=w, zero_division=np.nan
    )
    return np.stack(found[:3]).reshape(3, N_CASES, MOST_CLASSES)


@oracle("scikit-learn")
def test_accuracy_and_confusion() -> None:
    weighted, counts = (tables(pool().said, weighted=weighted) for weighted in (True, False))
    right = np.trace(weighted, axis1=1, axis2=2) / weighted.sum(axis=(1, 2))
    agree([accuracy(case.labels, case.said, weights=case.weights).value for case in counted(cases())], right)
    for case, table in zip(cases(), counts, strict=True):
        c = case.n_classes
        assert (confusion(case.labels, case.said, c) == table[:c, :c]).all()
        cells = confusion_cells(case.labels, case.said)
        assert (cells == np.column_stack([*table.nonzero(), table[table > 0]])).all()
        mistakes = [(-n, i, j) for i, j, n in cells.tolist() if i != j]
        wanted = [Mistake(i, j, -n, -n / table[i].sum()) for n, i, j in sorted(mistakes)[:3]]
        assert most_confused(cells, 3) == wanted


@oracle("scikit-learn")
def test_macro_accuracy_and_f1() -> None:
    _, recall, f1 = of_each_class()
    how = [(case.labels, case.said, case.n_classes, case.options()) for case in counted(cases())]
    agree([macro_accuracy(*what, **options).value for *what, options in how], np.nanmean(recall, axis=1))
    agree([macro_f1(*what, **options).value for *what, options in how], np.nanmean(f1, axis=1))


@oracle("scikit-learn")
def test_precision_and_recall() -> None:
    expected = of_each_class()
    found = np.full(expected.shape, np.nan)
    for i, case in enumerate(counted(cases())):
        for k, of in enumerate(per_class(case.labels, case.said, case.n_classes, weights=case.weights)):
            found[:, i, k] = of.precision.value, of.recall.value, of.f1
    agree(found, expected)


@cache
def losses_of_items() -> np.ndarray:
    """By scipy's multinomial, (N,)."""
    items = pool()
    with np.errstate(divide="ignore"):
        found = -stats.multinomial.logpmf(np.eye(MOST_CLASSES)[items.labels], 1, items.p)
    return np.asarray(np.minimum(found, -np.log(SMALLEST)))


@cache
def squares_of_items() -> np.ndarray:
    """By scikit-learn's distances, (N,)."""
    items = pool()
    truth = np.eye(MOST_CLASSES)[items.labels]
    return np.asarray(reference.pairwise.paired_euclidean_distances(truth, items.p) ** 2)


@oracle("scikit-learn")
def test_log_loss_and_brier() -> None:
    """Case by case, and all in one by scikit-learn's log loss."""
    items = pool()
    losses = [nll(case.p, case.labels, **case.options()).value for case in counted(cases())]
    agree(losses, items.mean(losses_of_items()))
    mass = np.bincount(items.case, items.weights)
    whole = reference.log_loss(items.labels, items.p, labels=range(MOST_CLASSES), sample_weight=items.weights)
    assert np.average(losses, weights=mass) == pytest.approx(whole, abs=1e-9)
    agree([brier(case.p, case.labels, **case.options()).value for case in cases()], items.mean(squares_of_items()))


def slow_risks(sure: list[float], wrong: list[float], weights: list[float]) -> tuple[list[float], list[float]]:
    """Weight and risk of each answer, the surest first; items of equal confidence share mean weight and mean error."""
    steps, risks, mass, failed = [], [], 0.0, 0.0
    for level in sorted(set(sure), reverse=True):
        tied = [i for i, own in enumerate(sure) if own == level]
        step = sum(weights[i] for i in tied) / len(tied)
        error = sum(weights[i] * wrong[i] for i in tied) / len(tied)
        for _ in tied:
            mass, failed = mass + step, failed + error
            steps.append(step)
            risks.append(failed / mass if mass else 0.0)
    return steps, risks


@oracle("its definition")
def test_area_under_risk_coverage() -> None:
    for i, case in enumerate(counted(cases())):
        lists = [values.astype(float).tolist() for values in (case.sure, case.wrong, case.weights)]
        steps, risks = slow_risks(*lists)
        found = aurc(case.sure, case.wrong, **case.options()).value
        assert found == pytest.approx(np.average(risks, weights=steps), abs=1e-9), i
        curve = risk_coverage(case.sure, case.wrong)
        n = len(risks)
        agree(curve.risk, np.array(slow_risks(lists[0], lists[1], [1.0] * n)[1]))
        agree(curve.coverage, np.arange(1, n + 1) / n)
        agree(curve.thresholds, np.sort(case.sure)[::-1], 0)


def test_area_under_risk_coverage_with_ties_is_the_mean_over_orders() -> None:
    """Items of equal confidence: the mean over random orders of them."""
    rng = np.random.default_rng(0)
    confidence, wrong = np.array([0.9, 0.9, 0.9, 0.5, 0.5]), np.array([1, 0, 0, 1, 0])
    areas = []
    for _ in range(4_000):
        order = np.lexsort((rng.random(5), -confidence))
        areas.append(np.mean(np.cumsum(wrong[order]) / np.arange(1, 6)))
    assert aurc(confidence, wrong, rng=rng, n_resamples=0).value == pytest.approx(np.mean(areas), abs=0.01)


def separations() -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores of strange and of ordinary items: one or a few, ties in every second case, all alike in some."""
    rng, found = np.random.default_rng(1), []
    for number in range(N_CASES):
        strange = rng.normal(rng.choice([0.0, 0.7, 4.0]), 1, rng.integers(1, 25))
        ordinary = rng.normal(0, 1, rng.integers(1, 25))
        if number % 2:
            strange, ordinary = np.round(strange), np.round(ordinary)
        found.append((np.zeros(len(strange)), ordinary * 0) if number % 50 == 0 else (strange, ordinary))
    return found


@oracle("scikit-learn")
def test_auroc_and_false_positives_by_the_roc_curve() -> None:
    """With items below a threshold accepted, a point of scikit-learn's curve says both conventions of the rate."""
    every = separations()
    truth = np.concatenate([np.r_[np.ones(len(a), bool), np.zeros(len(b), bool)] for a, b in every])
    case = np.repeat(np.arange(N_CASES), [len(a) + len(b) for a, b in every])
    expected = []
    for false, true in roc_curves(truth, np.concatenate([np.concatenate(pair) for pair in every]), case):
        flagged, caught = false / false[-1], true / true[-1]
        caught_all_but_5, accepts = np.argmax(caught >= 0.95 - 1e-9), np.flatnonzero(flagged <= 0.05 + 1e-9)[-1]
        expected.append([np.trapezoid(caught, flagged), flagged[caught_all_but_5], 1 - caught[accepts]])
    agree([(auroc(*pair).value, *fpr95(*pair)) for pair in counted(every)], np.array(expected))


def test_intervals_of_auroc_by_their_definitions() -> None:
    """DeLong's half width on the logit scale from every pair; without a variance, Newcombe's ends solve his."""
    z = stats.norm.ppf(0.975)
    for a, b in separations():
        found, m, n = auroc(a, b), len(a), len(b)
        kernel = (a[:, None] > b) + 0.5 * (a[:, None] == b)
        value = kernel.mean()
        assert 0 <= found.low <= found.value <= found.high <= 1
        variance = 0.0
        if min(m, n) > 1:
            variance = np.var(kernel.mean(axis=1), ddof=1) / m + np.var(kernel.mean(axis=0), ddof=1) / n
        if variance > 0 and 0 < value < 1:
            width = math.log(found.high / (1 - found.high)) - math.log(found.low / (1 - found.low))
            assert width == pytest.approx(2 * z * math.sqrt(variance) / (value * (1 - value)), rel=1e-6)
            continue
        assert (found.low > 0, found.high < 1) == (value > 0, value < 1)
        for end in {found.low, found.high} - {0.0, 1.0}:
            spread = end * (1 - end) * (1 + ((m + n) / 2 - 1) * ((1 - end) / (2 - end) + end / (1 + end))) / (m * n)
            assert abs(end - value) == pytest.approx(z * math.sqrt(spread), abs=1e-6)


@pytest.mark.parametrize(
    ("strange", "ordinary"), [([], [1.0]), ([1.0], []), ([1.0, math.nan], [1.0]), ([1.0], [math.nan, 1.0])]
)
def test_a_separation_needs_scores_of_both_kinds(strange: list[float], ordinary: list[float]) -> None:
    for of in (auroc, fpr95):
        with pytest.raises(DataError, match="both kinds"):
            of(np.array(strange), np.array(ordinary))


def test_auroc_interval_covers() -> None:
    rng = np.random.default_rng(4)
    truth = float(stats.norm.cdf(2.0 / math.sqrt(2)))
    found = [auroc(rng.normal(2, 1, 40), rng.normal(0, 1, 60)) for _ in range(400)]
    assert np.mean([i.low <= truth <= i.high for i in found]) >= 0.91


@oracle("scipy")
def test_intervals_of_rates_and_mcnemar() -> None:
    """None right and all right among them; the exact ends by scipy's beta quantiles, the rest by its binomial test."""
    rng = np.random.default_rng(2)
    n = rng.integers(1, 300, N_CASES)
    k = np.where(rng.random(N_CASES) < 0.1, n * rng.integers(0, 2, N_CASES), rng.integers(0, n + 1))
    tests = [stats.binomtest(a, b, 0.5) for a, b in zip(k.tolist(), n.tolist(), strict=True)]
    score = [wilson(a, b) for a, b in counted(zip(k.tolist(), n.tolist(), strict=True))]
    exact = [clopper_pearson(a, b) for a, b in zip(k.tolist(), n.tolist(), strict=True)]
    agree([(i.low, i.high) for i in score], np.array([tuple(t.proportion_ci(method="wilson")) for t in tests]))
    low, high = stats.beta.ppf(0.025, k, n - k + 1), stats.beta.ppf(0.975, k + 1, n - k)
    agree([(i.low, i.high) for i in exact], np.column_stack([np.where(k, low, 0.0), np.where(k < n, high, 1.0)]))
    split = zip(k.tolist(), (n - k).tolist(), strict=True)
    agree([mcnemar_exact(a, b) for a, b in split], np.array([t.pvalue for t in tests]))


def test_adjusted_p_values() -> None:
    """By scipy."""
    rng = np.random.default_rng(3)
    for number in range(N_CASES):
        p = rng.random(int(rng.integers(1, 9)))
        if number % 3 == 0:
            p = np.round(p, 1)  # ties, 0 and 1
        agree(benjamini_hochberg(p), stats.false_discovery_control(p))


def test_shrunk_covariance() -> None:
    """Of rows about their mean: two and more, one column, rows that are all alike. A single row spreads nowhere."""
    import sklearn
    from sklearn.covariance import ledoit_wolf

    rng = np.random.default_rng(5)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for number in range(N_CASES):
            n, d = int(rng.integers(2, 30)), int(rng.integers(1, 9))
            x = rng.normal(size=(n, d)) * rng.uniform(0.1, 3, d)
            if number % 3 == 0:
                x = np.round(x)
            x -= x.mean(axis=0)
            agree(shrunk_covariance(x), ledoit_wolf(x, assume_centered=True)[0])
    np.testing.assert_allclose(shrunk_covariance(np.zeros((1, 3))), 1e-12 * np.eye(3), rtol=1e-9)
