"""A map towards neighbours: it keeps what they share, reads no label, and repeats to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.learn.places import Places, learn_places, places_flops


def crowds(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Items (n, 40) of four crowds that eight numbers tell apart; the other 32 are larger, and each item's own."""
    crowd = np.arange(n) % 4
    shared = np.random.default_rng(7).normal(size=(4, 8))[crowd] + 0.3 * rng.normal(size=(n, 8))
    return np.hstack([shared, 0.55 * rng.normal(size=(n, 32))]).astype(np.float32), crowd


def test_one_label_of_each_crowd_says_more_in_the_places() -> None:
    rng = np.random.default_rng(0)
    pool, _ = crowds(800, rng)
    fresh, crowd = crowds(400, rng)
    right = {}
    for name, through in (("as it was", np.eye(40, dtype=np.float32)), ("places", learn_places(pool))):
        taught, asked = pool @ through, fresh @ through
        scores = []
        for first in range(0, 80, 4):
            few = np.arange(first, first + 4)
            weight, bias = fit_logistic(taught[few], one_hot(few % 4, 4), c=10.0)
            scores.append(((asked @ weight + bias).argmax(axis=1) == crowd).mean())
        right[name] = float(np.mean(scores))
    assert right["places"] > right["as it was"] + 0.03


def test_what_neighbours_share_is_kept_and_what_is_an_items_own_falls_to_its_share() -> None:
    pool, _ = crowds(800, np.random.default_rng(0))
    moved = (pool - pool.mean(axis=0)) @ learn_places(pool)
    kept = moved.std(axis=0) / pool.std(axis=0)
    assert kept[:8].mean() > 2 * kept[8:].mean()
    assert kept[8:].mean() > 1.0 - Places().share  # a quarter of each item stays


def test_no_share_is_no_change_and_a_centre_changes_nothing() -> None:
    pool, _ = crowds(300, np.random.default_rng(0))
    np.testing.assert_allclose(learn_places(pool, Places(share=0.0)), np.eye(40), atol=1e-6)
    np.testing.assert_allclose(learn_places(pool + 3.0), learn_places(pool), atol=1e-3)


@pytest.mark.parametrize("rows", [np.ones((30, 5), np.float32), np.eye(2, 5, dtype=np.float32)])
def test_items_that_are_all_alike_and_a_pool_of_two_are_survived(rows: np.ndarray) -> None:
    found = learn_places(rows)
    assert found.shape == (5, 5)
    assert np.isfinite(found).all()


def test_the_same_rows_give_the_same_map_on_one_thread_and_on_two() -> None:
    pool = np.random.default_rng(0).normal(size=(1_500, 200)).astype(np.float32)
    with threadpool_limits(limits=2, user_api="blas"):
        two = learn_places(pool)
    with threadpool_limits(limits=1, user_api="blas"):
        one = learn_places(pool)
    assert one.tobytes() == two.tobytes()


def test_more_items_and_wider_ones_take_more_operations() -> None:
    assert places_flops(1_000, 384) < places_flops(4_000, 384) < places_flops(4_000, 1_024)
