"""Weak spots: found on one half, confirmed on the other, and hardly ever where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from passmuster.metrics.slices import (
    FEWEST_TO_CONFIRM,
    Candidate,
    embedding_clusters,
    find_slices,
    halves,
    more_wrong,
    telling_words,
    words_of,
)


def random_candidates(rng: np.random.Generator, n: int, many: int = 40) -> list[Candidate]:
    return [Candidate("made", f"s{i}", rng.random(n) < rng.uniform(0.05, 0.4)) for i in range(many)]


def test_where_nothing_is_weak_hardly_anything_is_confirmed() -> None:
    """The family-wise rate equals the rate of false discoveries when every one would be false: 5 % at most."""
    n_any = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        n = 300
        found = find_slices(rng.random(n) < 0.2, random_candidates(rng, n), rng.random(n) < 0.5)
        n_any += any(one.confirmed for one in found)
    assert n_any / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_looking_twice_at_the_same_half_would_confirm_what_is_not_there() -> None:
    """Why the halves: the same candidates, judged where they were found, are called weak far too often."""
    naive = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        wrong = rng.random(150) < 0.2
        p = [more_wrong(wrong, c.inside, ~c.inside, np.ones(150), np.arange(150)) for c in random_candidates(rng, 150)]
        naive += min(p) <= 0.05
    assert naive / 60 > 0.4


def test_a_planted_weak_spot_is_confirmed_with_its_rates() -> None:
    hits = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        weak = np.arange(600) < 90
        wrong = rng.random(600) < np.where(weak, 0.45, 0.08)
        found = find_slices(
            wrong, [Candidate("made", "weak", weak), *random_candidates(rng, 600)], rng.random(600) < 0.5
        )
        hits += found[0].candidate.name == "weak" and found[0].confirmed
        assert found[0].inside.n + found[0].outside.n < 600  # of the second half alone
    assert hits >= 48


def test_what_is_weak_on_the_first_half_alone_is_not_confirmed() -> None:
    inside, first = np.arange(400) % 4 == 0, np.arange(400) < 200
    found = find_slices(inside & first, [Candidate("made", "chance", inside)], first)
    assert [(one.confirmed, one.inside.value, one.inside.n) for one in found] == [(False, 0.0, 50)]


def test_fisher_by_scipy() -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(4, 60))
        wrong, here = rng.random(n) < 0.4, rng.random(n) < 0.5
        here[0], here[-1] = True, False
        table = [[(wrong & here).sum(), (~wrong & here).sum()], [(wrong & ~here).sum(), (~wrong & ~here).sum()]]
        expected = stats.fisher_exact(table, alternative="greater").pvalue
        assert more_wrong(wrong, here, ~here, np.ones(n), np.arange(n)) == pytest.approx(expected, abs=1e-9)


def test_copies_count_once() -> None:
    wrong = np.repeat([True, True, False, True, False, False, False, False], 10)
    here = np.arange(80) < 40
    alone = more_wrong(wrong, here, ~here, np.ones(80), np.arange(80))
    copies = more_wrong(wrong, here, ~here, np.ones(80), np.repeat(np.arange(8), 10))
    assert alone < 1e-6
    assert copies == pytest.approx(stats.fisher_exact([[3, 1], [0, 4]], alternative="greater").pvalue)


def test_halves_keep_clusters_together_and_are_halves() -> None:
    clusters = np.repeat(np.arange(50), 3)
    first = halves(clusters, np.random.default_rng(0)).reshape(50, 3)
    assert (first.all(axis=1) | ~first.any(axis=1)).all()
    assert first.all(axis=1).sum() == 25


def test_small_slices_are_not_tried() -> None:
    wrong = np.ones(100, bool)
    inside = np.arange(100) < 2 * FEWEST_TO_CONFIRM - 2
    assert find_slices(wrong, [Candidate("made", "tiny", inside)], np.arange(100) % 2 == 0) == []
    assert find_slices(wrong, [Candidate("made", "all", np.ones(100, bool))], np.arange(100) % 2 == 0) == []


def test_clusters_are_of_the_first_half_and_too_few_items_give_none() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal([9, 0], 1, (100, 2)), rng.normal([0, 9], 1, (100, 2))])
    first = rng.random(200) < 0.5
    cluster = embedding_clusters(x, first, np.random.default_rng(1))
    assert set(cluster[:100].tolist()).isdisjoint(cluster[100:].tolist())
    moved = np.where(first[:, None], x, x + 1e3)
    again = embedding_clusters(moved, first, np.random.default_rng(1))
    assert (again[first] == cluster[first]).all()
    assert (embedding_clusters(x[:30], first[:30], rng) == -1).all()


def test_words_tell_inside_from_outside() -> None:
    texts = ["my refund is late", "refund not there yet", "the card is lost", "the card is late"]
    words = telling_words(words_of(texts), np.array([True, True, False, False]))
    assert words[0] == "refund"
    assert "card" not in words
