"""Self-training: each class gives its share of the pool, and held-out items teach nothing."""

from __future__ import annotations

import numpy as np

from passmuster.learn.folds import repeated_folds
from passmuster.learn.heads import Scaling, cross_validate_logistic
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.learn.self_training import Rounds, SelfTraining, self_training_s, surest


def blobs(n: int, seed: int, shares: tuple[float, ...] = (0.25,) * 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overlapping classes in 24 dimensions at these shares, three labels of each: (x, truth, labelled)."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(shares), size=n, p=shares)
    x = rng.normal(size=(len(shares), 24))[truth] + 1.5 * rng.normal(size=(n, 24))
    labelled = [rng.choice(np.flatnonzero(truth == c), 3, replace=False) for c in range(len(shares))]
    return Scaling.of(x).apply(x).astype(np.float32), truth, np.sort(np.concatenate(labelled))


def test_each_class_gives_as_many_as_it_is_asked_for_the_surest_first() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3) * 0.5, size=300)
    chosen, answers = surest(probabilities, np.array([10, 0, 10_000]))
    own = probabilities.argmax(axis=1)
    assert (answers == own[chosen]).all()
    assert np.bincount(answers, minlength=3).tolist() == [10, 0, int((own == 2).sum())]
    left = np.setdiff1d(np.flatnonzero(own == 0), chosen)
    assert probabilities[chosen[answers == 0]].max(axis=1).min() >= probabilities[left].max(axis=1).max()


def test_it_beats_the_logistic_head_when_labels_are_few() -> None:
    gains = []
    for seed in range(5):
        x, truth, labelled = blobs(900, seed)
        weight, bias = fit_logistic(x[labelled], one_hot(truth[labelled], 4), c=10.0)
        alone = ((x @ weight + bias).argmax(axis=1) == truth).mean()
        weight, bias = SelfTraining(x, labelled, truth[labelled], 4).fit(
            np.arange(len(labelled)), c=10.0, temperature=0.5
        )
        gains.append(((x @ weight + bias).argmax(axis=1) == truth).mean() - alone)
    assert np.mean(gains) > 0.05, gains


def test_held_out_items_are_out_of_the_pool() -> None:
    """Neither a wrong label nor another embedding of an item changes what is said of it when it is held out."""
    x, truth, labelled = blobs(400, 1)
    labels = truth[labelled].copy()
    folds = repeated_folds(labels, np.random.default_rng(0))[:1]
    logistic = cross_validate_logistic(x[labelled], labels, folds, 4)
    out = folds[0] == 0
    flipped, moved = labels.copy(), x.copy()
    flipped[out] = (flipped[out] + 1) % 4
    moved[labelled[out]] = 0.0
    inside = np.flatnonzero(~out)
    one = SelfTraining(x, labelled, labels, 4).fit(inside, c=logistic.c, temperature=logistic.temperature)
    other = SelfTraining(moved, labelled, flipped, 4).fit(inside, c=logistic.c, temperature=logistic.temperature)
    np.testing.assert_allclose(one[0], other[0], atol=1e-6)
    result = SelfTraining(x, labelled, labels, 4).cross_validate(logistic, folds)
    assert (result.kind, result.logits.shape) == ("self-training", (1, len(labelled), 4))


def test_no_pool_at_all_leaves_the_logistic_head() -> None:
    x, truth, labelled = blobs(400, 2)
    x, labels = x[labelled], truth[labelled]
    weight, _ = SelfTraining(x, np.arange(len(x)), labels, 4).fit(np.arange(len(x)), c=10.0, temperature=1.0)
    alone, _ = fit_logistic(x, one_hot(labels, 4), c=10.0)
    assert np.corrcoef(weight.ravel(), alone.ravel())[0, 1] > 0.99


def test_the_price_grows_with_items_classes_and_rounds() -> None:
    usual = self_training_s(1e11, 10_000, 384, 10, 5)
    assert self_training_s(1e11, 20_000, 384, 10, 5) == 2 * usual == self_training_s(1e11, 10_000, 384, 20, 5)
    assert self_training_s(1e11, 10_000, 384, 10, 5, Rounds(n_rounds=10)) > 1.5 * usual
