"""What foretells errors: the teacher says of an item what it would say without its label, and learns from the rest."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from passmuster.metrics.error_prediction import RIDGE, Teacher, error_predictor


def a_world(n: int = 300, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (n, k) of a model that ignores its input, embeddings that tell the classes, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    embeddings = np.eye(8)[labels] * 2 + rng.normal(size=(n, 8))
    return rng.dirichlet(np.ones(n_classes), n), embeddings, labels


def test_what_is_said_of_a_labelled_item_is_said_without_its_label() -> None:
    rng = np.random.default_rng(0)
    x, predicted = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    labels = rng.integers(0, 3, 10)

    def scores(without: int | None) -> np.ndarray:
        kept = np.array([i for i in range(10) if i != without])
        targets = np.eye(3)[labels[kept]] - 1 / 3
        gram = RIDGE * np.eye(4) + x[kept].T @ x[kept]
        return x @ np.linalg.solve(gram, x[kept].T @ targets)

    by_hand = scores(None)
    for i in range(10):
        by_hand[i] = scores(i)[i]
    rows = np.arange(30)
    given = by_hand[rows, predicted].copy()
    by_hand[rows, predicted] = -np.inf
    margin = by_hand.max(axis=1) - given
    found = Teacher(x, predicted, RIDGE * np.eye(4), np.zeros((4, 3))).objection(np.arange(10), labels)
    np.testing.assert_allclose(found, (margin - margin.mean()) / margin.std(), atol=1e-6)


def test_test_labels_teach_where_training_labels_do_not() -> None:
    probabilities, embeddings, labels = a_world()
    wrong = probabilities.argmax(axis=1) != labels
    predictor = error_predictor(probabilities, embeddings, embeddings[:0], labels[:0])
    at = np.arange(60)
    taught = predictor.features(at, labels[at])[60:, -1]
    untaught = predictor.features(at[:0], labels[:0])[60:, -1]
    assert roc_auc_score(wrong[60:], taught) > 0.75
    assert roc_auc_score(wrong[60:], untaught) == pytest.approx(0.5, abs=0.1)


def test_a_label_that_the_model_does_not_know_teaches_no_class() -> None:
    probabilities, embeddings, labels = a_world()
    predictor = error_predictor(probabilities, embeddings, embeddings[:9], labels[:9])
    assert np.isfinite(predictor.features(np.arange(5), np.full(5, -1))).all()


@pytest.mark.parametrize("n", [1, 2, 6])
def test_tiny_pools_and_certain_answers_have_features(n: int) -> None:
    probabilities = np.eye(2)[np.zeros(n, dtype=int)]
    predictor = error_predictor(probabilities, np.ones((n, 3)), np.zeros((0, 3)), np.zeros(0, dtype=int))
    found = predictor.features(np.zeros(1, dtype=int), np.zeros(1, dtype=int))
    assert found.shape == (n, 7)
    assert np.isfinite(found).all()
    risk = predictor.risk(np.zeros(0, dtype=int), np.zeros(0, dtype=int))
    assert ((risk > 0) & (risk < 1)).all()


def test_an_item_nearer_to_another_class_than_to_its_own_is_doubted_more() -> None:
    """By hand: the differences of the best cosines, of what is left when the pool's mean is taken away."""
    probabilities, embeddings, labels = a_world(40)
    taught, names = embeddings[:12], labels[:12]
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    centre = embeddings.mean(axis=0)
    cosine = unit(embeddings - centre) @ unit(taught - centre).T
    predicted = probabilities.argmax(axis=1)
    margin = np.array(
        [row[names != own].max() - row[names == own].max() for row, own in zip(cosine, predicted, strict=True)]
    )
    found = error_predictor(probabilities, embeddings, taught, names).features(np.zeros(0, int), np.zeros(0, int))
    np.testing.assert_allclose(found[:, 3], (margin - margin.mean()) / margin.std(), atol=1e-4)


def test_near_and_wide_circles_of_neighbours_are_asked() -> None:
    """By hand, over a full sort: what the nearest 5 and 30 others say of an item's class, kept off 0 and 1."""
    probabilities, embeddings, labels = a_world(80)
    unit = embeddings - embeddings.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    found = error_predictor(probabilities, embeddings, embeddings[:9], labels[:9]).features(
        np.zeros(0, int), np.zeros(0, int)
    )
    for column, k in ((2, 5), (4, 30)):
        for i in range(80):
            others = sorted((j for j in range(80) if j != i), key=lambda j: -float(unit[i] @ unit[j]))[:k]
            doubt = 1 - float(np.clip(np.mean([probabilities[j, predicted[i]] for j in others]), 0.01, 0.99))
            assert found[i, column] == pytest.approx(np.log(doubt / (1 - doubt)), abs=1e-3)


def test_evening_out_doubts_the_classes_that_are_said_too_often() -> None:
    rng = np.random.default_rng(0)
    likely = rng.uniform(0.55, 0.95, 100)
    first = rng.random(100) < 0.8
    probabilities = np.where(first, likely, 1 - likely)[:, None] * [1, -1] + [0, 1]
    embeddings = rng.normal(size=(100, 4))
    found = error_predictor(probabilities, embeddings, embeddings[:2], np.array([0, 1])).fixed[:, 5]
    assert (found[first] > 0).all()
    assert (found[~first] < 0).all()
    even = np.stack([likely, 1 - likely], axis=1)
    even = np.concatenate([even, even[:, ::-1]])  # as many of each already
    twice = np.concatenate([embeddings, embeddings])
    unmoved = error_predictor(even, twice, twice[:2], np.array([0, 1])).fixed[:, 5]
    np.testing.assert_allclose(unmoved, 0, atol=1e-4)


def test_risk_follows_the_test_labels() -> None:
    """A model that ignores its input errs by the classes of the embeddings, which only labels can tell."""
    probabilities, embeddings, labels = a_world()
    wrong = probabilities.argmax(axis=1) != labels
    predictor = error_predictor(probabilities, embeddings, embeddings[:0], labels[:0])
    at = np.arange(60)
    assert roc_auc_score(wrong[60:], predictor.risk(at, labels[at])[60:]) > 0.75
    none_known = predictor.risk(at, np.full(60, -1))  # labels of no class that it knows: it errs everywhere
    assert none_known.mean() > 0.9
