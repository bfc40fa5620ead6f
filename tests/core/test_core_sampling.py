"""Draws with known chances: fixed in number, exact in chance, unbiased in what they estimate."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import UsageError
from passmuster.core.sampling import draw, inclusion_probabilities, pool_order, sizes

N_DRAWS = 4_000


@pytest.mark.parametrize("n", [0, 1, 7, 39, 40, 41])
def test_a_draw_gives_as_many_different_items_as_were_asked_for(n: int) -> None:
    chances = inclusion_probabilities(np.random.default_rng(0).exponential(size=40), n)
    assert chances.sum() == pytest.approx(min(n, 40))
    for seed in range(50):
        drawn = draw(chances, np.random.default_rng(seed))
        assert len(set(drawn.tolist())) == len(drawn) == min(n, 40)


def test_items_are_drawn_as_often_as_their_chances_say() -> None:
    chances = inclusion_probabilities(np.array([50.0, 5.0, 3.0, 1.0, 1.0, 0.01]), 3)
    times = np.zeros(6)
    for seed in range(N_DRAWS):
        times[draw(chances, np.random.default_rng(seed))] += 1
    assert chances[0] == 1.0
    np.testing.assert_allclose(times / N_DRAWS, chances, atol=0.03)  # four standard errors


def test_the_first_of_a_draw_are_a_random_part_of_it() -> None:
    chances = inclusion_probabilities(np.array([9.0, 9.0, 1.0, 1.0, 1.0, 1.0]), 3)
    first = np.zeros(6)
    for seed in range(N_DRAWS):
        first[draw(chances, np.random.default_rng(seed))[0]] += 1
    np.testing.assert_allclose(first / N_DRAWS, chances / 3, atol=0.03)


def test_weights_of_a_draw_estimate_the_total_without_bias() -> None:
    values = np.random.default_rng(0).random(60)
    chances = inclusion_probabilities(values**2 + 0.05, 10)
    found = [(values[d] / chances[d]).sum() for d in (draw(chances, np.random.default_rng(s)) for s in range(N_DRAWS))]
    assert np.mean(found) == pytest.approx(values.sum(), abs=4 * np.std(found) / np.sqrt(N_DRAWS))


def test_sizes_follow_doubt_and_leave_no_item_out() -> None:
    found = sizes(np.array([0.0, 1.0, 0.5, 0.1]))
    assert found.mean() == pytest.approx(1.0)
    assert found[2] > found[3] > found[0] == found[1] == pytest.approx(0.1)


@pytest.mark.parametrize("risk", [np.zeros(5), np.ones(5), np.full(5, 0.3)])
def test_items_that_are_all_alike_are_equally_likely(risk: np.ndarray) -> None:
    np.testing.assert_allclose(inclusion_probabilities(sizes(risk), 2), 0.4)


@pytest.mark.parametrize("bad", [[1.0, 0.0], [1.0, np.nan], [1.0, -1.0]])
def test_a_size_must_be_positive(bad: list[float]) -> None:
    with pytest.raises(UsageError) as caught:
        inclusion_probabilities(np.array(bad), 1)
    assert caught.value.code == "sampling.sizes"


def test_a_pool_has_one_order_whose_first_items_stand_for_it() -> None:
    order = pool_order(1_000, seed=3)
    assert sorted(order) == list(range(1_000))
    assert (order == pool_order(1_000, seed=3)).all()
    assert (order != pool_order(1_000, seed=4)).any()
