"""Accuracy without labels: the threshold by hand, and the taught estimator where faults follow a rule."""

import math
from dataclasses import replace

import numpy as np
import pytest

from passmuster.core.codec import from_plain, to_plain
from passmuster.signals.label_free import AccuracyEstimator, falls_of_accuracy
from passmuster.signals.label_free_seen import Reference, features_of
from passmuster.signals.label_free_taught import Spoilt, teach

NAMES = ("confidence", "above", "familiarity", "agreement", "votes")
N = 800


def answers(noise: float, seed: int, items: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, embeddings, rightness and classes of a nearest-mean model of four classes, on noisy items."""
    rng = np.random.default_rng(items)
    y = rng.integers(0, 4, N)
    z = 2.2 * np.eye(4, 8)[y] + rng.normal(size=(N, 8)) + noise * np.random.default_rng(seed).normal(size=(N, 8))
    logits = 2.2 * z[:, :4] / (1 + noise**2 / 3)  # its doubt grows, and too little
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p, z, p.argmax(axis=1) == y, y


def strange(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(z, axis=1))


@pytest.fixture(scope="module")
def reference() -> Reference:
    p, z, right, y = answers(0.0, 0)
    return Reference(p.max(axis=1), right, strange(z), probabilities=p, embeddings=z, classes=y)


def seen(reference: Reference, p: np.ndarray, z: np.ndarray, copies: np.ndarray | None = None) -> np.ndarray:
    return features_of(
        reference, NAMES, p.max(axis=1), novelty=strange(z), said=p.argmax(axis=1), embeddings=z, copies_of=copies
    )


def bank_of(reference: Reference, levels: tuple[float, ...] = (0.4, 0.8, 1.3, 2.0), n: int = 8) -> list[Spoilt]:
    found, places = [], np.arange(200)
    for i in range(n):
        for s, noise in enumerate(levels):
            p, z, right, _ = answers(noise, 1 + 7 * i + s)
            found.append(Spoilt(f"f{i}", places, seen(reference, p[:200], z[:200], places), right[:200]))
    return found


@pytest.fixture(scope="module")
def estimator(reference: Reference) -> AccuracyEstimator:
    assert reference.probabilities is not None
    assert reference.embeddings is not None
    home = seen(reference, reference.probabilities, reference.embeddings, np.arange(N))
    return teach(reference, NAMES, home, bank_of(reference), n_classes=4)


def test_the_threshold_by_hand() -> None:
    known = Reference(np.array([0.9, 0.8, 0.6, 0.55]), np.array([1, 1, 1, 0]))
    assert known.threshold == 0.55  # one of four is wrong: the threshold is how sure the least sure is
    assert replace(known, right=np.ones(4)).threshold == -math.inf


def test_it_learns_how_accuracy_falls_and_covers_faults_it_was_not_taught_by(
    reference: Reference, estimator: AccuracyEstimator
) -> None:
    errors, naive, covered = [], [], []
    for s, noise in enumerate(np.linspace(0, 2.2, 60)):
        p, z, right, _ = answers(float(noise), 1_000 + s, items=1_000 + s)
        found = estimator.estimate(seen(reference, p, z).mean(axis=0), N)
        errors.append(abs(found.value - right.mean()))
        fall = reference.sure.mean() - p.max(axis=1).mean()  # difference of confidences (Guillory et al. 2021)
        naive.append(abs(reference.accuracy - fall - right.mean()))
        covered.append(found.low <= right.mean() <= found.high)
    assert np.mean(errors) < 0.035 < 0.09 < np.mean(naive)
    assert 0.8 <= np.mean(covered) <= 0.99


def test_what_has_not_fallen_is_as_accurate_as_the_reference(estimator: AccuracyEstimator) -> None:
    assert estimator.estimate(estimator.home, 500).value == pytest.approx(estimator.accuracy)


def test_few_items_little_knowledge_of_home_and_strange_items_widen_the_interval(estimator: AccuracyEstimator) -> None:
    def width(taught: AccuracyEstimator, n: int = 500, strangeness: float = 0.0, level: float = 0.9) -> float:
        means = np.subtract(taught.home, [0, 0, strangeness, 0, 0])
        found = taught.estimate(means.tolist(), n, level=level)
        return found.high - found.low

    assert width(estimator, n=50) > width(estimator)
    assert width(replace(estimator, n_reference=50)) > width(estimator)
    assert width(estimator, strangeness=0.3) > 1.5 * width(estimator)
    assert width(estimator, level=0.99) > width(estimator)


def test_features_that_disagree_widen_the_interval() -> None:
    """Two features whose falls of accuracy are the same in the mean: they agree, or one of them sees nothing."""
    nothing, half = (0.0, 0.0), (0.5, 0.5)
    home = AccuracyEstimator(
        ("confidence", "above"), 0.9, 400, 8, 0.02, 0.5, (), (0.9, 0.9), (1.0, 1.0), nothing, nothing, half,
        1.0, 12.0, 1.0, 0.05,
    )  # fmt: skip
    agree, one = home.estimate([0.7, 0.7], 500), home.estimate([0.5, 0.9], 500)
    assert agree.value == pytest.approx(one.value)
    assert one.high - one.low > 1.5 * (agree.high - agree.low)


def test_what_faults_say_counts_by_how_far_they_reached() -> None:
    """Faults of the batch's size that lost nothing speak against the belief; slight ones do not."""
    believed = np.array([0.2])
    same, slight = (falls_of_accuracy(believed, np.array([s]), np.zeros(1)) for s in (10 * 0.2**2, 10 * 0.002**2))
    assert same[0] < 0.35 * believed[0]
    assert slight[0] > 0.99 * believed[0]


def test_less_of_everything_is_never_more_accuracy_and_bounds_hold(reference: Reference) -> None:
    rng = np.random.default_rng(0)
    places = np.arange(100)
    bank = [Spoilt(f"f{i % 5}", places, rng.random((100, 5)), rng.random(100) < 0.5) for i in range(25)]
    taught = teach(reference, NAMES, rng.random((N, 5)), bank, n_classes=4)
    assert min(taught.shares) >= 0
    assert sum(taught.shares) == pytest.approx(1)
    falling = (np.array(taught.home) - np.linspace(0, 0.3, 30)[:, None]).tolist()
    values = [taught.estimate(means, 50).value for means in falling]
    assert values == sorted(values, reverse=True)
    for fall in (-5.0, 0.0, 5.0):
        found = taught.estimate((np.array(taught.home) - fall).tolist(), 50)
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_draw_of_the_bank_s_items_is_no_fall(reference: Reference) -> None:
    """A bank of lucky items (all of them right) under faults that change nothing teaches no rise."""
    home = np.column_stack([reference.sure, reference.sure > reference.threshold]).astype(float)
    lucky = np.flatnonzero(reference.right)[:200]
    bank = [Spoilt(f"f{i}", lucky, home[lucky], np.ones(200, bool)) for i in range(4)]
    taught = teach(reference, NAMES[:2], home, bank, n_classes=4)
    assert taught.estimate(taught.home, 400).value == pytest.approx(reference.accuracy)
    assert math.isclose(taught.factor, math.sqrt(4 / 8))  # four faults off by nothing beside the belief's four


def test_an_item_that_counts_twice_is_two_items(reference: Reference) -> None:
    some = np.arange(100)
    twice = np.concatenate([some, some[:50]])
    counted = Reference(reference.sure[some], reference.right[some], weights=np.where(some < 50, 2.0, 1.0))
    said = Reference(reference.sure[twice], reference.right[twice])
    assert counted.accuracy == pytest.approx(said.accuracy)
    assert counted.threshold == pytest.approx(said.threshold, abs=0.05)
    assert counted.n == 90


def test_an_item_s_own_original_is_no_neighbour(reference: Reference) -> None:
    assert reference.probabilities is not None
    assert reference.embeddings is not None
    alone = seen(reference, reference.probabilities, reference.embeddings, np.arange(N))[:, 3].mean()
    assert seen(reference, reference.probabilities, reference.embeddings)[:, 3].mean() > alone


def test_neighbours_are_those_that_sorting_finds(reference: Reference) -> None:
    assert reference.probabilities is not None
    assert reference.embeddings is not None
    assert reference.classes is not None
    p, z, _, _ = answers(0.9, 5)
    copies, said = np.arange(N), p.argmax(axis=1)
    known, new = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (reference.embeddings, z))
    cosine = new @ known.T
    cosine[copies, copies] = -np.inf
    near = np.argsort(-cosine, axis=1)[:, :5]
    found = seen(reference, p, z, copies)
    agree = [np.mean([reference.probabilities[j, said[i]] for j in near[i]]) for i in range(N)]
    votes = [np.mean([reference.classes[j] == said[i] for j in near[i]]) for i in range(N)]
    assert np.allclose(found[:, 3], agree, atol=1e-12)
    assert np.array_equal(found[:, 4], votes)


def test_json_holds_all_of_it(estimator: AccuracyEstimator) -> None:
    assert from_plain(AccuracyEstimator, to_plain(estimator)) == estimator


def test_two_faults_are_too_few_to_hold_one_out(reference: Reference) -> None:
    with pytest.raises(ValueError, match="2 faults in the bank; at least 3"):
        teach(reference, NAMES, np.zeros((N, 5)), bank_of(reference, n=2), n_classes=4)


@pytest.mark.parametrize(
    ("name", "needs"),
    [("familiarity", "novelty scores"), ("agreement", "the answers and their"), ("votes", "the answers")],
)
def test_what_a_feature_needs_is_said(reference: Reference, name: str, needs: str) -> None:
    with pytest.raises(ValueError, match=needs):
        features_of(reference, (name,), reference.sure)
