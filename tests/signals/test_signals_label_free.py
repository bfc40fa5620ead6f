"""Accuracy without labels: the published estimators by hand, and the taught one where faults follow a rule."""

import math

import numpy as np
import pytest

from passmuster.signals.label_free import (
    Observation,
    Reference,
    average_confidence,
    average_thresholded_confidence,
    difference_of_confidences,
    observe,
    teach,
)


def answers(n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, embeddings and rightness of a nearest-mean model of four classes, on items spoilt by noise."""
    rng = np.random.default_rng(seed)
    means = 2.2 * np.eye(4, 8)
    y = rng.integers(0, 4, n)
    z = means[y] + rng.normal(size=(n, 8)) * math.sqrt(1 + noise**2)
    logits = 2.2 * z[:, :4] / (1 + noise**2 / 3)  # its doubt grows, and too little
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p, z, p.argmax(axis=1) == y


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(*answers(800, 0.0, 0))


def seen(reference: Reference, noise: float, seed: int, family: str = "") -> Observation:
    p, z, right = answers(800, noise, seed)
    return observe(reference, p, z, family=family, accuracy=float(right.mean()))


def test_the_published_estimators_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    known = Reference(p, np.eye(4), np.array([1, 1, 1, 0]))
    new = np.array([[0.95, 0.05], [0.52, 0.48], [0.3, 0.7], [0.5, 0.5]])
    assert average_confidence(p) == pytest.approx(0.7125)
    assert difference_of_confidences(known, new) == pytest.approx(0.75 - (0.7125 - 0.6675))
    for entropy in (True, False):  # one of four is wrong: the threshold is the score of the least sure
        assert average_thresholded_confidence(known, p, entropy=entropy) == 0.75
        assert average_thresholded_confidence(known, new, entropy=entropy) == 0.5
    perfect = Reference(p, np.eye(4), np.ones(4))
    assert average_thresholded_confidence(perfect, new) == 1


def test_an_item_s_own_original_is_no_neighbour(reference: Reference) -> None:
    own = (reference.probabilities, reference.embeddings)
    near = observe(reference, *own, copies_of=np.arange(800)).features
    with_itself = observe(reference, *own).features
    assert with_itself[4] > near[4]  # its own cosine is 1
    assert near[5] == with_itself[5] == 0


def test_it_learns_how_accuracy_falls_and_covers_faults_it_was_not_taught_by(reference: Reference) -> None:
    bank = [seen(reference, noise, 7 * i + s, f"f{i}") for i in range(9) for s, noise in enumerate((0.4, 0.8, 1.3, 2))]
    estimator = teach(reference, bank)
    batches = [seen(reference, noise, 1_000 + s) for s, noise in enumerate(np.linspace(0, 2.2, 40))]
    found = [estimator.estimate(batch) for batch in batches]
    errors = np.array([abs(f.value - b.accuracy) for f, b in zip(found, batches)])
    naive = np.array([abs(b.features[0] - b.accuracy) for b in batches])
    assert errors.mean() < 0.02 < naive.mean()
    assert np.mean([f.low <= b.accuracy <= f.high for f, b in zip(found, batches)]) >= 0.85
    assert (found[0].level, found[0].n) == (0.9, 800)


def test_what_has_not_fallen_is_as_accurate_as_the_reference(reference: Reference) -> None:
    bank = [seen(reference, noise, 3 * i, f"f{i}") for i, noise in enumerate((0.5, 0.9, 1.4, 2))]
    same = observe(reference, reference.probabilities, reference.embeddings, copies_of=np.arange(800))
    assert teach(reference, bank).estimate(same).value == pytest.approx(reference.accuracy)


def test_weights_are_not_negative_and_bounds_hold(reference: Reference) -> None:
    rng = np.random.default_rng(0)
    bank = [Observation(rng.random(6), 100, 4, f"f{i % 5}", float(rng.random())) for i in range(25)]
    estimator = teach(reference, bank)
    assert (estimator.weights >= 0).all()
    for fall in (-5.0, 0.0, 5.0):
        found = estimator.estimate(Observation(estimator.at_reference - fall, 50, 4))
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_two_faults_are_too_few_to_hold_one_out(reference: Reference) -> None:
    with pytest.raises(ValueError, match="2 faults in the bank; at least 3"):
        teach(reference, [seen(reference, 1.0, i, f"f{i}") for i in range(2)])
