"""Inverted lists find nearly all true neighbours, the same each time, whatever the items look like."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.neighbours import Lists, nearest, search_flops

ALWAYS = Lists(exact_up_to=0)
NEVER = Lists(exact_up_to=10**9)


def clustered(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(40, d))[rng.integers(40, size=n)] + 0.6 * rng.normal(size=(n, d))).astype(np.float32)


def recall(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, true, strict=True)]))


def test_exact_neighbours_are_those_of_the_whole_table() -> None:
    x = clustered(1_500)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    items, near = nearest(x, 5, NEVER)
    assert recall(items, np.argsort(-cosines, axis=1)[:, :5]) > 0.999
    np.testing.assert_allclose(np.sort(near, axis=1), np.sort(cosines, axis=1)[:, -5:], atol=1e-5)


def test_lists_find_nearly_all_of_them() -> None:
    x = clustered(8_000)
    items, cosines = nearest(x, 15, ALWAYS)
    assert recall(items, nearest(x, 15, NEVER)[0]) > 0.95
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines[7], unit[items[7]] @ unit[7], atol=1e-5)
    assert not (items == np.arange(8_000)[:, None]).any()
    assert all(len(set(row)) == 15 for row in items[:500].tolist())


def test_the_same_items_have_the_same_neighbours() -> None:
    x = clustered(3_000)
    assert np.array_equal(nearest(x, 5, ALWAYS)[0], nearest(x, 5, ALWAYS)[0])


def test_a_crowd_of_copies_is_cut_up() -> None:
    """Half of the items are one text: their cell would cost the square of their number."""
    x = clustered(4_000)
    x[::2] = x[0]
    items, cosines = nearest(x, 5, ALWAYS)
    assert cosines[::2].min() == pytest.approx(1.0, abs=1e-5)
    assert (items[::2] % 2 == 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_few_items_have_as_many_neighbours_as_there_are(n: int) -> None:
    for lists in (ALWAYS, NEVER):
        items, cosines = nearest(clustered(n), 15, lists)
        assert items.shape == cosines.shape == (n, min(15, n - 1))
        assert ((items >= 0) == (cosines > -2)).all()


def test_the_price_grows_with_the_power_of_one_and_a_half() -> None:
    small, large = search_flops(100_000, 64), search_flops(400_000, 64)
    assert 7 < large / small < 9
    assert (
        search_flops(1_000, 64)
        == search_flops(1_000, 64, NEVER)
        < search_flops(1_000, 64, Lists(exact_up_to=0, n_probes=900))
    )
