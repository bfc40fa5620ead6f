"""The closed-form head: as good as it should be, for thousands of classes, in memory that is bounded."""

from __future__ import annotations

import numpy as np

from passmuster.core.budget import Machine
from passmuster.learn.discriminant import cross_validate_discriminant, fit_discriminant, logistic_takes_long
from passmuster.learn.folds import MAX_JUDGED, repeated_folds
from passmuster.learn.heads import cross_validate_logistic
from passmuster.modality.base import Profile
from passmuster.stages.train.head_price import head_kind, heads_s


def clouds(n_classes: int, n_each: int, d: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Normal clouds around `n_classes` means, stretched in one direction that tells nothing."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(9).normal(size=(n_classes, d))
    labels = np.repeat(np.arange(n_classes), n_each)
    noise = rng.normal(size=(len(labels), d)) * spread
    noise[:, 0] *= 6.0
    return (means[labels] + noise).astype(np.float32), labels


def test_as_scikit_learn_computes_it() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, labels = clouds(5, 40, 12)
    covariance = np.cov(np.concatenate([x[labels == c] - x[labels == c].mean(axis=0) for c in range(5)]).T, bias=True)
    sphere = float(x.var(axis=0).mean())
    weight, bias = fit_discriminant(x, labels, 5, shrinkage=0.3)
    own = x @ weight + bias

    class Shrunk:
        """The same covariance, for the reference."""

        def fit(self, rows: np.ndarray) -> Shrunk:
            self.covariance_ = 0.7 * covariance + 0.3 * sphere * np.eye(12)
            return self

    found = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk()).fit(x, labels)
    theirs = found.decision_function(x)
    apart = [scores - scores.mean(axis=1, keepdims=True) for scores in (own, theirs)]
    assert np.abs(apart[0] - apart[1]).max() < 0.02 * np.abs(apart[1]).max()
    assert (own.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.98


def test_it_learns_what_a_logistic_head_learns_and_drops_the_direction_that_tells_nothing() -> None:
    x, labels = clouds(40, 12, 32)
    folds = repeated_folds(labels, np.random.default_rng(0))
    closed = cross_validate_discriminant(x, labels, folds, 40)
    logistic = cross_validate_logistic(x, labels, folds, 40)
    nearest = np.linalg.norm(x[:, None] - np.stack([x[labels == c].mean(axis=0) for c in range(40)])[None], axis=2)
    assert closed.accuracy > logistic.accuracy - 0.03
    assert closed.accuracy > (nearest.argmin(axis=1) == labels).mean() + 0.05  # though that one has seen its items


def test_one_label_of_a_class_and_a_class_with_none() -> None:
    x = np.eye(4, dtype=np.float32)[[0, 1, 2]]
    weight, bias = fit_discriminant(x, np.array([0, 1, 2]), 4, shrinkage=0.3)
    logits = x @ weight + bias
    assert logits.argmax(axis=1).tolist() == [0, 1, 2]
    assert (logits[:, 3] < logits[:, :3].min(axis=1) - 10).all()
    assert np.isfinite(logits).all()


def test_what_is_judged_is_bounded_with_thousands_of_classes() -> None:
    labels = np.repeat(np.arange(4_500), 3)
    folds = repeated_folds(labels, np.random.default_rng(0))
    assert folds.shape == (1, 13_500)
    assert (folds >= 0).sum() * 4_500 <= MAX_JUDGED
    assert (folds >= 0).sum() > 2_000
    few = repeated_folds(np.repeat(np.arange(77), 16), np.random.default_rng(0))
    assert few.shape[0] == 2
    assert (few >= 0).all()  # what was judged before is judged as before


def test_the_logistic_head_gives_way_only_where_it_does_not_fit() -> None:
    machine = Machine(2, 2**33, 75.0)
    many = Profile(27_000, 13_500, 4_500, 50.0, 100.0)
    few = Profile(10_000, 616, 77, 50.0, 100.0)
    assert head_kind(machine, many, 120.0) == "discriminant"
    assert head_kind(machine, many, 1e6) == "logistic"
    assert head_kind(machine, few, 30.0) == "logistic"
    assert heads_s(machine, many, "discriminant") < 60.0 < heads_s(machine, many)
    assert logistic_takes_long(13_500, 640, 4_500)
    assert not logistic_takes_long(10_000, 640, 77)
