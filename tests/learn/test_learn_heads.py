"""Heads: the right answer, calibrated, folded into one product, with as few labels as one may have."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize

from passmuster.core.errors import DataError
from passmuster.learn.calibration import fit_temperature, log_losses
from passmuster.learn.folds import N_FOLDS, repeated_folds, stratified_folds
from passmuster.learn.heads import Scaling, cross_validate_logistic, held_out
from passmuster.learn.logistic import fit_logistic, one_hot, softmax


def blobs(n_classes: int, per_class: int, d: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes on the unit sphere."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, d))
    labels = np.repeat(np.arange(n_classes), per_class)
    x = centres[labels] + noise * rng.normal(size=(len(labels), d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 40)])  # the second takes the way through the items' span
def test_logistic_finds_the_same_minimum_as_a_slow_exact_solver(n: int, d: int) -> None:
    x, labels = blobs(3, n // 3 + 1, d, 1.0)
    x, targets = x[:n].astype(np.float64), one_hot(labels[:n], 3).astype(np.float64)

    def objective(flat: np.ndarray) -> float:
        weight, bias = flat[: d * 3].reshape(d, 3), flat[d * 3 :]
        p = softmax(x @ weight + bias)
        return float(-(targets * np.log(p)).sum() + (weight**2).sum() / 20)

    def gradient(flat: np.ndarray) -> np.ndarray:
        weight, bias = flat[: d * 3].reshape(d, 3), flat[d * 3 :]
        residual = softmax(x @ weight + bias) - targets
        return np.concatenate([(x.T @ residual + weight / 10).ravel(), residual.sum(axis=0)])

    assert check_grad(objective, gradient, np.random.default_rng(0).normal(size=d * 3 + 3)) < 1e-3
    exact = minimize(objective, np.zeros(d * 3 + 3), jac=gradient, method="BFGS", options={"gtol": 1e-6})
    weight, bias = fit_logistic(x.astype(np.float32), targets.astype(np.float32), c=10.0, max_iterations=500)
    assert objective(np.concatenate([weight.ravel(), bias])) == pytest.approx(exact.fun, rel=2e-4)


def test_weights_count_as_repeated_items() -> None:
    x, labels = blobs(2, 10, 4, 2.0)
    targets = one_hot(labels, 2)
    weights = np.where(np.arange(20) < 10, 3.0, 1.0)
    repeated = np.repeat(np.arange(20), weights.astype(int))
    a, _ = fit_logistic(x, targets, c=1.0, weights=weights, max_iterations=500)
    b, _ = fit_logistic(x[repeated], targets[repeated], c=1.0, max_iterations=500)
    np.testing.assert_allclose(a, b, atol=5e-3)


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 1.5
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits)])
    assert fit_temperature(5.0 * logits, labels) == pytest.approx(5.0, rel=0.1)


def test_a_few_right_answers_do_not_make_it_certain() -> None:
    labels = np.tile(np.arange(3), 4)
    logits = 8.0 * one_hot(labels, 3)
    temperature = fit_temperature(logits, labels)
    confidence = softmax(logits / temperature).max(axis=1)
    np.testing.assert_allclose(confidence, 13 / 14, atol=1e-3)  # Platt's (n + 1) / (n + 2)
    repeated = fit_temperature(np.tile(logits, (5, 1)), np.tile(labels, 5), n_items=12)
    assert repeated == pytest.approx(temperature, rel=1e-3)


def test_scaling_and_temperature_are_folded_into_the_head() -> None:
    x, labels = blobs(4, 6, 8, 0.5)
    x = 7.0 * x + 3.0
    scaling = Scaling.of(x)
    scaled = scaling.apply(x)
    assert np.sqrt((scaled**2).sum(axis=1).mean()) == pytest.approx(1.0, rel=1e-4)
    weight, bias = fit_logistic(scaled, one_hot(labels, 4), c=10.0)
    head = scaling.fold(weight, bias, 0.5)
    np.testing.assert_allclose(head.logits(x), (scaled @ weight + bias) / 0.5, atol=1e-3)


@pytest.mark.parametrize("per_class", [2, 3, 4, 7])
def test_every_fold_leaves_every_class_something_to_learn_from(per_class: int) -> None:
    labels = np.repeat(np.arange(5), per_class)
    for fold in repeated_folds(labels, np.random.default_rng(0)):
        assert (fold >= 0).all()
        for number in range(N_FOLDS):
            assert set(labels[fold != number]) == set(range(5))


def test_a_class_with_one_label_is_never_held_out() -> None:
    labels = np.array([0] * 4 + [1] * 4 + [2])
    folds = repeated_folds(labels, np.random.default_rng(0))
    assert held_out(folds, labels).tolist() == list(range(8))
    x, _ = blobs(9, 1, 6, 0.1)
    result = cross_validate_logistic(x, labels, folds, 3)
    assert len(result.items) == len(result.losses) == 8
    assert result.logits.shape == (len(folds), 8, 3)


def test_copies_are_held_out_together() -> None:
    labels = np.array([0] * 6 + [1] * 6 + [2] * 3)
    groups = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 9])
    for fold in repeated_folds(labels, np.random.default_rng(0), groups):
        assert len(set(fold[:3])) == len(set(fold[10:12])) == 1
        assert (fold[:12] >= 0).all()
        assert (fold[12:] == -1).all()  # three copies of one item are one item


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0, 1]])
def test_labels_that_cannot_judge_are_refused(labels: list[int]) -> None:
    folds = stratified_folds(np.array(labels), 4, np.random.default_rng(0))[None]
    with pytest.raises(DataError) as caught:
        held_out(folds, np.array(labels))
    assert caught.value.code == "data.too_few_labels"
    assert "muster label" in str(caught.value)


def test_cross_validation_does_not_see_what_it_judges() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 60)).astype(np.float32)  # noise: a head that had seen the label would be right
    labels = np.tile(np.arange(4), 20)
    result = cross_validate_logistic(x, labels, repeated_folds(labels, rng), 4)
    assert result.accuracy < 0.45
    assert result.log_loss == pytest.approx(np.log(4), abs=0.1)  # and the temperature owns up to it


def test_few_labels_of_clear_classes_are_learnt_and_calibrated() -> None:
    x, labels = blobs(5, 4, 32, 0.6)
    result = cross_validate_logistic(x, labels, repeated_folds(labels, np.random.default_rng(0)), 5)
    assert result.accuracy > 0.9
    assert log_losses(result.calibrated, result.labels).mean() < 0.5
