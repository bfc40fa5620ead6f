"""Every metric against a reference: scikit-learn, scipy, or the textbook formula written out in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from passmuster.core.paired import mcnemar_exact
from passmuster.core.statistics import benjamini_hochberg, clopper_pearson, wilson
from passmuster.metrics.accuracy import accuracy, macro_f1, per_class
from passmuster.metrics.calibration import brier, ece, nll, reliability
from passmuster.metrics.confusion import confusion
from passmuster.metrics.novelty import detectors
from passmuster.metrics.novelty.gaussian import shrunk_covariance
from passmuster.metrics.ranking import auroc, fpr95
from passmuster.metrics.selective import aurc

reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra `train`")
N_CASES = 300
ONCE = {"n_resamples": 1}


def cases(n_cases: int = N_CASES):
    """Random labels, probabilities and weights: few items, many ties, absent classes, one class only."""
    for seed in range(n_cases):
        rng = np.random.default_rng(seed)
        n, c = int(rng.integers(1, 40)), int(rng.integers(2, 7))
        used = int(rng.integers(1, c + 1))  # classes that occur
        labels = rng.integers(0, used, n)
        logits = rng.normal(size=(n, c)) * rng.choice([0.1, 1.0, 5.0])
        if seed % 3 == 0:
            logits = np.round(logits)  # ties
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights = rng.choice([1.0, 2.0, 7.5], n) if seed % 2 else np.ones(n)
        yield rng, labels, p / p.sum(axis=1, keepdims=True), weights, c


def test_accuracy_f1_and_confusion() -> None:
    for rng, labels, p, weights, c in cases():
        said = p.argmax(axis=1)
        assert accuracy(labels, said, weights=weights).value == pytest.approx(
            reference.accuracy_score(labels, said, sample_weight=weights)
        )
        assert macro_f1(labels, said, c, rng=rng, weights=weights, **ONCE).value == pytest.approx(
            reference.f1_score(labels, said, average="macro", sample_weight=weights, zero_division=0.0)
        )
        assert (confusion(labels, said, c) == reference.confusion_matrix(labels, said, labels=range(c))).all()


def test_precision_and_recall() -> None:
    for _, labels, p, weights, c in cases(300):
        said = p.argmax(axis=1)
        expected = reference.precision_recall_fscore_support(
            labels, said, labels=range(c), sample_weight=weights, zero_division=np.nan
        )
        for k, found in enumerate(per_class(labels, said, c, weights=weights)):
            assert found.precision.value == pytest.approx(expected[0][k], nan_ok=True)
            assert found.recall.value == pytest.approx(expected[1][k], nan_ok=True)
            if found.recall.n and found.precision.n:
                assert found.f1 == pytest.approx(expected[2][k])


def test_log_loss_and_brier() -> None:
    for rng, labels, p, weights, c in cases():
        found = nll(p, labels, rng=rng, weights=weights, **ONCE)
        assert found.value == pytest.approx(reference.log_loss(labels, p, labels=range(c), sample_weight=weights))
        by_hand = [sum((p[i, k] - (labels[i] == k)) ** 2 for k in range(c)) for i in range(len(labels))]
        assert brier(p, labels, rng=rng, weights=weights, **ONCE).value == pytest.approx(
            sum(w * x for w, x in zip(weights, by_hand)) / sum(weights)
        )


def plain_ece(p: np.ndarray, labels: np.ndarray, n_bins: int = 15) -> float:
    total = 0.0
    for b in range(n_bins):
        inside = [i for i in range(len(p)) if b / n_bins < max(p[i]) <= (b + 1) / n_bins]
        if inside:
            right = sum(int(np.argmax(p[i])) == labels[i] for i in inside) / len(inside)
            sure = sum(max(p[i]) for i in inside) / len(inside)
            total += len(inside) / len(p) * abs(right - sure)
    return total


def test_calibration_error() -> None:
    for rng, labels, p, _, _ in cases():
        found = ece(p, labels, rng=rng, **ONCE).value
        assert found == pytest.approx(plain_ece(p, labels), abs=1e-9)
        bins = reliability(p, labels)
        assert sum(len(b.members) for b in bins) == len(labels)
        assert found == pytest.approx(
            sum(len(b.members) * abs(b.accuracy.value - b.confidence) for b in bins) / len(labels)
        )


def test_area_under_risk_coverage_without_ties() -> None:
    for rng, labels, p, _, _ in cases(500):
        confidence = p.max(axis=1) + rng.uniform(0, 1e-9, len(p))
        wrong = p.argmax(axis=1) != labels
        in_order = [bool(wrong[i]) for i in sorted(range(len(p)), key=lambda i: -confidence[i])]
        risks = [sum(in_order[: k + 1]) / (k + 1) for k in range(len(p))]
        assert aurc(confidence, wrong, rng=rng, **ONCE).value == pytest.approx(sum(risks) / len(risks))


def test_area_under_risk_coverage_with_ties_is_the_mean_over_orders() -> None:
    """Items of equal confidence: the mean over random orders of them."""
    rng = np.random.default_rng(0)
    confidence, wrong = np.array([0.9, 0.9, 0.9, 0.5, 0.5]), np.array([1, 0, 0, 1, 0])
    areas = []
    for _ in range(4_000):
        order = np.lexsort((rng.random(5), -confidence))
        areas.append(np.mean(np.cumsum(wrong[order]) / np.arange(1, 6)))
    assert aurc(confidence, wrong, rng=rng, **ONCE).value == pytest.approx(np.mean(areas), abs=0.01)


def test_auroc_with_ties() -> None:
    for seed in range(N_CASES):
        rng = np.random.default_rng(seed)
        strange, ordinary = rng.normal(0.7, 1, rng.integers(1, 30)), rng.normal(0, 1, rng.integers(1, 30))
        if seed % 2:
            strange, ordinary = np.round(strange), np.round(ordinary)
        truth = np.r_[np.ones(len(strange)), np.zeros(len(ordinary))]
        found = auroc(strange, ordinary)
        assert found.value == pytest.approx(reference.roc_auc_score(truth, np.r_[strange, ordinary]))
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_delong_variance_by_its_definition() -> None:
    """The half width on the logit scale is that of the structural components, summed pair by pair."""
    rng = np.random.default_rng(3)
    a, b = np.round(rng.normal(1, 1, 25), 1), np.round(rng.normal(0, 1, 30), 1)
    kernel = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in b] for x in a])
    value = kernel.mean()
    variance = np.var(kernel.mean(axis=1), ddof=1) / len(a) + np.var(kernel.mean(axis=0), ddof=1) / len(b)
    found = auroc(a, b)
    width = math.log(found.high / (1 - found.high)) - math.log(found.low / (1 - found.low))
    assert width == pytest.approx(2 * stats.norm.ppf(0.975) * math.sqrt(variance) / (value * (1 - value)))


def test_auroc_interval_covers() -> None:
    rng = np.random.default_rng(4)
    truth = float(stats.norm.cdf(2.0 / math.sqrt(2)))
    found = [auroc(rng.normal(2, 1, 40), rng.normal(0, 1, 60)) for _ in range(400)]
    assert np.mean([i.low <= truth <= i.high for i in found]) >= 0.91


def test_false_positives_at_95_percent_by_the_roc_curve() -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        strange, ordinary = rng.normal(1, 1, rng.integers(1, 40)), rng.normal(0, 1, rng.integers(1, 40))
        if seed % 2:
            strange, ordinary = np.round(strange), np.round(ordinary)
        truth = np.r_[np.ones(len(strange)), np.zeros(len(ordinary))]
        scores = np.r_[strange, ordinary]
        expected = []
        for positive, sign in ((1, 1.0), (0, -1.0)):
            fpr, tpr, _ = reference.roc_curve(truth == positive, sign * scores, drop_intermediate=False)
            expected.append(fpr[np.argmax(tpr >= 0.95 - 1e-12)])
        assert fpr95(strange, ordinary) == pytest.approx(tuple(expected))


def test_intervals_of_rates_and_mcnemar() -> None:
    for seed in range(N_CASES):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 300))
        k = int(rng.integers(0, n + 1))
        test = stats.binomtest(k, n, 0.5)
        score, exact = wilson(k, n), clopper_pearson(k, n)
        assert (score.low, score.high) == pytest.approx(tuple(test.proportion_ci(method="wilson")), abs=1e-9)
        assert (exact.low, exact.high) == pytest.approx(tuple(test.proportion_ci(method="exact")), abs=1e-9)
        assert mcnemar_exact(k, n - k) == pytest.approx(test.pvalue)
        p_values = rng.random(int(rng.integers(1, 9)))
        assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values).tolist())


def test_novelty_scores() -> None:
    from sklearn.covariance import ledoit_wolf
    from sklearn.neighbors import NearestNeighbors

    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, d = int(rng.integers(3, 80)), int(rng.integers(2, 12))
        x, new = rng.normal(size=(n, d)) * rng.uniform(0.1, 3, d), rng.normal(size=(7, d))
        logits, new_logits = rng.normal(size=(n, 3)), rng.normal(size=(7, 3))
        centred = x - x.mean(axis=0)
        np.testing.assert_allclose(shrunk_covariance(centred), ledoit_wolf(centred, assume_centered=True)[0], atol=1e-9)
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        unit_new = new / np.linalg.norm(new, axis=1, keepdims=True)
        far = NearestNeighbors(n_neighbors=min(10, n)).fit(unit).kneighbors(unit_new)[0][:, -1]
        arrays = detectors["knn.v1"].fit(x, logits)
        np.testing.assert_allclose(detectors["knn.v1"].score(arrays, new, new_logits), far, atol=1e-3)

        said = logits.argmax(axis=1)
        means = {c: x[said == c].mean(axis=0) for c in set(said)}
        covariance = shrunk_covariance(x - np.stack([means[c] for c in said]))
        inverse = np.linalg.inv(covariance)
        nearest = [min(float((row - m) @ inverse @ (row - m)) for m in means.values()) for row in new]
        arrays = detectors["mahalanobis.v1"].fit(x, logits)
        np.testing.assert_allclose(detectors["mahalanobis.v1"].score(arrays, new, new_logits), nearest, rtol=2e-3)
