"""Rates from labels and predictions: right on average, covered as stated, and never worse off for poor predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from passmuster.core.errors import DataError
from passmuster.core.prediction_powered import Powered, Prior, Round, at_random, combined_weights, logit, powered_rate
from passmuster.core.sampling import draw, inclusion_probabilities, sizes
from passmuster.core.statistics import wilson

N_RUNS = 1_000
PRIOR = Prior((0.0, 1.0), (0.25, 4.0))


@dataclass
class World:
    """Items with a foretold chance and a value; `skill` 1: the foretold chance is the true one, 0: it says nothing."""

    rate: float
    skill: float = 1.0

    def pool(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chance = rng.beta(0.5, 0.5 * (1 - self.rate) / self.rate, n)
        value = rng.random(n) < (chance if self.skill else self.rate)
        return chance, value.astype(np.float64)


def read(chance: np.ndarray, value: np.ndarray, plan: tuple[int, ...], rng: np.random.Generator) -> Powered:
    """Label by rounds, as the flow does: each is drawn by the predictions that the one before left."""
    n_pool = len(chance)
    features = np.column_stack([np.ones(n_pool), logit(chance, least=0.01)])
    risk = np.clip(chance, 0.01, 0.99)
    at = np.zeros(0, dtype=np.int64)
    drawn: list[tuple[int, np.ndarray]] = []
    for n in plan:
        left = np.setdiff1d(np.arange(n_pool), at)
        chances = inclusion_probabilities(sizes(risk[left]), n)
        new = draw(chances, rng)
        drawn.append((len(left), chances[new]))
        at = np.concatenate([at, left[new]])
        found = powered_rate(value[at], at, features, PRIOR, as_rounds(drawn))
        risk = found.predictions
    return found


def as_rounds(drawn: list[tuple[int, np.ndarray]]) -> list[Round]:
    n = sum(len(chances) for _, chances in drawn)
    rounds, begin = [], 0
    for n_population, chances in drawn:
        inside = (np.arange(n) >= begin) & (np.arange(n) < begin + len(chances))
        every = np.ones(n)
        every[inside] = chances
        rounds.append(Round(n_population, inside, every, np.arange(n) < begin))
        begin += len(chances)
    return rounds


def runs(world: World, plan: tuple[int, ...], n_pool: int = 1_000, n_runs: int = N_RUNS) -> list[Powered]:
    found = []
    for seed in range(n_runs):
        rng = np.random.default_rng(seed)
        chance, value = world.pool(n_pool, rng)
        found.append(read(chance, value, plan, rng))
    return found


@pytest.mark.parametrize("rate", [0.03, 0.15, 0.4])
@pytest.mark.parametrize("plan", [(20,), (60,), (40, 60)])
def test_intervals_cover_the_truth_of_the_world(rate: float, plan: tuple[int, ...]) -> None:
    """93 to 97 %, and two standard errors of 1,000 runs beyond."""
    found = runs(World(rate), plan)
    covered = np.mean([f.interval.low <= rate <= f.interval.high for f in found])
    assert 0.93 - 0.014 <= covered <= 0.97 + 0.014


@pytest.mark.parametrize("skill", [0.0, 1.0])
def test_the_estimate_is_right_on_average_whatever_the_predictions_are_worth(skill: float) -> None:
    found = np.array([f.interval.value for f in runs(World(0.2, skill), (50, 50))])
    assert found.mean() == pytest.approx(0.2, abs=0.004 + 3 * found.std() / np.sqrt(N_RUNS))


def test_good_predictions_make_labels_worth_more() -> None:
    assert np.median([f.worth for f in runs(World(0.2), (100,), n_runs=100)]) > 150


def test_useless_predictions_cost_little() -> None:
    """Of labels drawn at random, whatever the predictions say, few are lost to fitting them."""
    worth = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        chance, value = World(0.2, skill=0.0).pool(1_000, rng)
        at = rng.choice(1_000, 100, replace=False)
        features = np.column_stack([np.ones(1_000), logit(chance, least=0.01)])
        worth.append(powered_rate(value[at], at, features, PRIOR, [at_random(100, 1_000)]).worth)
    assert np.median(worth) > 85


def test_a_wholly_labelled_pool_gives_back_wilsons_interval() -> None:
    chance, value = World(0.3).pool(200, np.random.default_rng(0))
    features = np.column_stack([np.ones(200), logit(chance, least=0.01)])
    found = powered_rate(value, np.arange(200), features, PRIOR, [at_random(200, 200)])
    plain = wilson(value.sum(), 200)
    assert (found.interval.value, found.interval.low, found.interval.high) == pytest.approx(
        (plain.value, plain.low, plain.high), abs=1e-9
    )
    assert found.worth == pytest.approx(200)


@pytest.mark.parametrize("all_are", [0.0, 1.0])
def test_labels_that_are_all_alike_do_not_prove_certainty(all_are: float) -> None:
    features = np.column_stack([np.ones(500), np.full(500, -3.0 if all_are == 0 else 3.0)])
    found = powered_rate(np.full(30, all_are), np.arange(30), features, PRIOR, [at_random(30, 500)])
    plain = wilson(30 * all_are, 30)
    assert 0 < found.interval.value < 1
    assert found.interval.high - found.interval.low > 0.5 * (plain.high - plain.low)


def test_a_prediction_that_is_surely_wrong_is_found_out() -> None:
    """The features say that nothing errs; half of the items do."""
    rng = np.random.default_rng(0)
    value = (rng.random(1_000) < 0.5).astype(np.float64)
    features = np.column_stack([np.ones(1_000), np.full(1_000, -10.0)])
    found = powered_rate(value[:80], np.arange(80), features, PRIOR, [at_random(80, 1_000)])
    assert found.interval.low < 0.5 < found.interval.high


def test_rounds_of_equal_chances_weigh_like_one() -> None:
    rounds = as_rounds([(100, np.full(10, 0.1)), (90, np.full(30, 30 / 90))])
    weights, factors = combined_weights(rounds, 40)
    np.testing.assert_allclose(weights, 100 / 40)
    one, one_factors = combined_weights([at_random(40, 100)], 40)
    np.testing.assert_allclose(weights, one)
    assert factors.sum() == pytest.approx(one_factors.sum(), rel=0.02)


def test_weights_add_up_to_the_pool_and_the_last_of_a_pool_ends_the_doubt() -> None:
    rounds = as_rounds([(100, np.linspace(0.1, 0.9, 10)), (90, np.ones(90))])
    weights, factors = combined_weights(rounds, 100)
    np.testing.assert_allclose(weights, 1.0)
    np.testing.assert_allclose(factors, 0.0)


def test_a_pool_that_grew_after_it_was_exhausted_leaves_every_label_a_weight() -> None:
    rounds = as_rounds([(10, np.ones(10)), (50, np.full(5, 0.1))])
    weights, _ = combined_weights(rounds, 15)
    assert (weights > 0).all()


def test_an_unanswered_part_of_a_draw_is_made_up_for() -> None:
    answered = Round(100, np.ones(12, dtype=bool), np.full(12, 0.2), np.zeros(12, dtype=bool))
    assert combined_weights([answered], 12)[0].sum() == pytest.approx(100)


def test_huge_weights_do_not_make_an_interval_narrow() -> None:
    """One item stands for nearly all of the pool: it is worth about one label."""
    chances = np.r_[0.001, np.full(29, 0.9)]
    rounds = [Round(1_000, np.ones(30, dtype=bool), chances, np.zeros(30, dtype=bool))]
    features = np.column_stack([np.ones(1_000), np.zeros(1_000)])
    found = powered_rate(np.r_[0.0, np.ones(10), np.zeros(19)], np.arange(30), features, PRIOR, rounds)
    assert found.worth < 5


def test_items_that_stand_together_count_as_one() -> None:
    chance, value = World(0.3).pool(400, np.random.default_rng(0))
    chance, value = np.repeat(chance[:200], 2), np.repeat(value[:200], 2)
    features = np.column_stack([np.ones(400), logit(chance, least=0.01)])
    at, names = np.arange(80), np.repeat(np.arange(200), 2).astype(str)
    alone = powered_rate(value[at], at, features, PRIOR, [at_random(80, 400)])
    together = powered_rate(value[at], at, features, PRIOR, [at_random(80, 400)], clusters=names)
    assert together.worth < 0.7 * alone.worth


def test_labels_without_a_draw_cannot_be_weighed() -> None:
    nobody = Round(10, np.zeros(3, dtype=bool), np.ones(3), np.ones(3, dtype=bool))
    with pytest.raises(DataError) as caught:
        combined_weights([nobody], 3)
    assert caught.value.code == "powered.rounds"


def test_fitting_useless_features_hides_little_of_the_variance() -> None:
    """Five features that tell nothing, fitted to sixty labels: without the leverage a seventh would be missing."""
    stated, off = [], []
    for seed in range(N_RUNS):
        rng = np.random.default_rng(seed)
        value = (rng.random(600) < 0.3).astype(np.float64)
        features = np.column_stack([np.ones(600), rng.normal(size=(600, 5))])
        at = rng.choice(600, 60, replace=False)
        found = powered_rate(value[at], at, features, Prior((0.0,) * 6, (0.25,) + (3.0,) * 5), [at_random(60, 600)])
        rate = found.interval.value
        stated.append(rate * (1 - rate) / found.worth)
        off.append(rate - 0.3)
    assert 0.88 < np.mean(stated) / np.mean(np.square(off)) < 1.1


def test_a_careful_reading_is_wider_with_few_labels_and_much_the_same_with_many() -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random(4_000) < 0.3).astype(float)
    constant, prior = np.ones((4_000, 1)), Prior((0.0,), (0.25,))
    ratios = []
    for n in (20, 80, 1_000):
        at = rng.permutation(4_000)[:n]
        plain, careful = (
            powered_rate(truth[at], at, constant, prior, [at_random(n, 4_000)], careful=way) for way in (False, True)
        )
        assert (plain.interval.method, careful.interval.method) == ("prediction-powered.v3", "prediction-powered.v4")
        assert plain.interval.value == careful.interval.value
        ratios.append(careful.worth / plain.worth)
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.92
    assert ratios[2] > 0.99


def test_values_between_vary_less_than_coins_and_a_careful_reading_knows() -> None:
    """Halves and ones: a third of the variance of a coin of their mean, so three labels in one, without any feature."""
    rng, n = np.random.default_rng(5), 400
    values = rng.choice([0.5, 1.0], 20_000)  # mean .75: a coin's variance is .1875, this one's .0625
    constant, prior = np.ones((20_000, 1)), Prior((0.0,), (0.25,))
    worth, held = [], 0
    for _ in range(200):
        at = rng.permutation(20_000)[:n]
        found = powered_rate(values[at], at, constant, prior, [at_random(n, 20_000)], careful=True)
        worth.append(found.worth)
        held += found.interval.low <= values.mean() <= found.interval.high
    assert 2.4 * n < np.mean(worth) <= 3.0 * n  # the pool's own part counts as coins
    assert held >= 0.92 * 200
    few = rng.permutation(20_000)[:20]
    first = powered_rate(values[few], few, constant, prior, [at_random(20, 20_000)], careful=True)
    assert 20 < first.worth < 50, "twenty labels hardly tell how much values vary"


def test_a_careful_reading_of_clusters_counts_them_and_not_their_items() -> None:
    """Ten people of ten items each, who stand and fall together, tell how much they vary as ten items do."""
    rng = np.random.default_rng(6)
    people = np.repeat(np.arange(200), 10)
    truth = (rng.random(200) < 0.4).astype(float)[people]
    constant, prior = np.ones((2_000, 1)), Prior((0.0,), (0.25,))
    at = np.flatnonzero(people < 10)
    how = {"clusters": people}
    plain, careful = (
        powered_rate(truth[at], at, constant, prior, [at_random(100, 2_000)], careful=way, **how)
        for way in (False, True)
    )
    alone = powered_rate(truth[at], at, constant, prior, [at_random(100, 2_000)], careful=True)
    assert careful.worth < 0.8 * plain.worth
    assert careful.worth < 0.3 * alone.worth
