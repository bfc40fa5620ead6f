"""Heads for sets of classes: the solver against scikit-learn, folds, calibration with few labels, choice of penalty."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import DataError
from passmuster.learn.folds import label_set_folds, repeated_label_set_folds
from passmuster.learn.label_set_heads import cross_validate_label_sets, fit_shared_platt, judged_classes
from passmuster.learn.one_vs_rest import binary_losses, fit_one_vs_rest, sigmoid
from passmuster.metrics.label_sets import item_f1_scores


def world(n: int = 120, d: int = 6, k: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings, and classes that lie along directions; some items have none, some several."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    weight = np.eye(d)[:, :k] * 3.0
    targets = rng.random((n, k)) < 1.0 / (1.0 + np.exp(-(x @ weight - 1.0)))
    return x, targets.astype(np.float32)


@pytest.mark.parametrize(("n", "d"), [(120, 6), (40, 90)])
def test_the_solver_finds_what_scikit_learn_finds(n: int, d: int) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x, targets = world(n, d)
    weight, bias = fit_one_vs_rest(x, targets, c=2.0, max_iterations=500)
    for c in range(targets.shape[1]):
        model = linear.LogisticRegression(C=2.0, tol=1e-8, max_iter=5_000).fit(x, targets[:, c])
        # Half an item on either side holds the bias, and scikit-learn's is free: near, not equal.
        assert np.abs(model.predict_proba(x)[:, 1] - sigmoid(x @ weight + bias)[:, c]).max() < 0.02


def test_a_class_that_nobody_carries_gets_the_share_of_half_an_item() -> None:
    x, targets = world(60)
    targets[:, 0] = 0.0
    weight, bias = fit_one_vs_rest(x, targets, c=10.0, max_iterations=300)
    assert np.isfinite(weight).all()
    assert sigmoid(x @ weight + bias)[:, 0].mean() == pytest.approx(0.5 / 61, abs=0.01)


def test_folds_spread_every_class_and_keep_copies_together() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((80, 10)) < 0.12).astype(float)
    targets[0], targets[41] = np.eye(10)[9], np.eye(10)[9]  # copies of each other
    groups = np.arange(80)
    groups[41] = 0
    for seed in range(10):
        folds = label_set_folds(targets, 4, np.random.default_rng(seed), groups)
        assert folds[0] == folds[41]
        assert np.bincount(folds, minlength=4).min() >= 15
        counts = np.stack([targets[folds == f].sum(axis=0) for f in range(4)])
        whole = counts.sum(axis=0)
        assert ((counts > 0).sum(axis=0) >= np.minimum(whole - 1, 3)).all()


def test_classes_that_cannot_be_judged_are_left_out_of_the_loss() -> None:
    x, targets = world(60)
    targets[:, 3] = 0.0
    targets[5, 3] = 1.0  # the only item of its class
    folds = repeated_label_set_folds(targets, np.random.default_rng(0))
    assert judged_classes(targets, folds).tolist() == [True, True, True, False]
    found = cross_validate_label_sets(x, targets, folds, 0.35)
    assert np.isfinite(found.losses).all()
    assert found.logits.shape == (5, 60, 4)
    assert 0.4 < found.accuracy <= 1.0


def test_the_f1_of_held_out_items_is_the_one_that_reports_have() -> None:
    x, targets = world(80)
    found = cross_validate_label_sets(x, targets, repeated_label_set_folds(targets, np.random.default_rng(0)), 0.35)
    said = sigmoid(found.logits / found.temperature + found.shift) >= 0.35
    assert found.item_f1 == pytest.approx(np.mean([item_f1_scores(targets, each).mean() for each in said]))
    assert found.accuracy < found.item_f1 < 1.0, "half-right sets count for something"
    assert (targets.sum(axis=1) == 0).any(), "items of no class are among them"


def test_nothing_to_judge_is_an_error() -> None:
    targets = np.zeros((6, 2), np.float32)
    targets[0, 0] = targets[1, 1] = 1.0
    with pytest.raises(DataError) as caught:
        judged_classes(targets, repeated_label_set_folds(targets, np.random.default_rng(0)))
    assert caught.value.code == "data.too_few_labels"


def test_calibration_undoes_what_was_done_to_the_logits() -> None:
    """Logits three times too large and shifted, one class more than the others."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1, 600, 5)) * 1.5 - 1.0
    targets = (rng.random((600, 5)) < sigmoid(z[0])).astype(np.float32)
    own = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    spoilt = (3.0 * (z - 0.7 - own)).astype(np.float32)
    temperature, shift = fit_shared_platt(spoilt, targets, np.ones(5, bool))
    mended = spoilt / temperature + shift
    assert temperature == pytest.approx(3.0, rel=0.2)
    assert np.abs(sigmoid(mended) - sigmoid(z)).mean() < 0.03
    assert binary_losses(mended, targets).mean() < binary_losses(spoilt, targets).mean()


def test_few_labels_do_not_make_a_class_certain() -> None:
    """All four items of a class foretold rightly, by far: its own shift stays near the others'."""
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(1, 40, 3)) - 1.0).astype(np.float32)
    targets = (rng.random((40, 3)) < sigmoid(z[0])).astype(np.float32)
    targets[:, 2] = 0.0
    targets[:4, 2] = 1.0
    z[0, :, 2] = -1.0
    _, shift = fit_shared_platt(z, targets, np.ones(3, bool))
    assert abs(shift[2] - shift[:2].mean()) < 2.0


def test_the_same_seed_gives_the_same_head() -> None:
    x, targets = world()
    folds = [repeated_label_set_folds(targets, np.random.default_rng(3)) for _ in range(2)]
    assert (folds[0] == folds[1]).all()
    first, second = (cross_validate_label_sets(x, targets, f, 0.35) for f in folds)
    assert (first.c, first.temperature) == (second.c, second.temperature)
    assert (first.losses == second.losses).all()


def test_labels_that_are_all_foretold_rightly_do_not_make_a_head_certain() -> None:
    targets = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    logits = (20.0 * targets - 10.0)[None].astype(np.float32)
    temperature, shift = fit_shared_platt(logits, targets, np.ones(2, bool))
    p = sigmoid(logits[0] / temperature + shift)
    assert 0.9 < p[targets > 0].min() < 0.999
