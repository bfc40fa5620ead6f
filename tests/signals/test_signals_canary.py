"""The canary against the live release: how often an equal one is withdrawn, and how soon a worse one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from passmuster.core.codec import from_plain, to_plain
from passmuster.signals.canary import MAX_WAITING, Comparison, compare, start_comparison


def run(
    alpha: float, share: float, live: float, canary: float, n_labels: int, rng: np.random.Generator
) -> tuple[Comparison, int]:
    """A canary's life of `n_labels` labels, and how many it took to fire (or all)."""
    c = start_comparison(alpha, 0.05, share)
    mine, draws = rng.random(n_labels) < share, rng.random(n_labels)
    for t in range(n_labels):
        c = compare(c, "canary" if mine[t] else "live", bool(draws[t] < (canary if mine[t] else live)))
        if c.fired:
            return c, t + 1
    return c, n_labels


@pytest.mark.parametrize(("share", "rate"), [(0.5, 0.05), (0.33, 0.2), (0.1, 0.4)])
def test_an_equal_canary_is_withdrawn_at_most_at_the_declared_rate(share: float, rate: float) -> None:
    rng, alpha, n = np.random.default_rng(0), 0.1, 300
    n_fired = sum(run(alpha, share, rate, rate, 300, rng)[0].fired for _ in range(n))
    assert n_fired <= stats.binom.ppf(0.995, n, alpha)
    assert n_fired > 0 or share == 0.1  # the test would notice a comparison that never fires


def test_a_better_canary_is_safer_still() -> None:
    rng = np.random.default_rng(1)
    assert sum(run(0.1, 0.5, 0.3, 0.2, 300, rng)[0].fired for _ in range(100)) <= 2


def test_a_worse_canary_is_withdrawn_soon() -> None:
    rng = np.random.default_rng(2)
    lives = [run(0.01, 0.33, 0.1, 0.45, 600, rng) for _ in range(50)]
    assert all(c.fired for c, _ in lives)
    assert np.mean([n for _, n in lives]) < 150


@pytest.mark.parametrize("n_live", [1, 4, 10])
def test_a_block_has_mean_at_most_one_while_the_canary_is_not_worse(n_live: int) -> None:
    """The exact mean over every outcome of a block, for rates of the canary at or below the live rate."""
    share = {1: 0.5, 4: 0.1, 10: 0.01}[n_live]
    fresh = start_comparison(0.01, 0.05, share)
    assert fresh.n_live_per_block == n_live
    for live in (0.02, 0.1, 0.3, 0.7):
        for canary in (live, live / 2):
            mean = 0.0
            for k in range(n_live + 1):
                for error in (False, True):
                    c = fresh
                    for j in range(n_live):
                        c = compare(c, "live", j < k)
                    c = compare(c, "canary", error)
                    chance = stats.binom.pmf(k, n_live, live) * (canary if error else 1 - canary)
                    mean += chance * c.statistic
            assert mean <= 1 + 1e-12


def test_labels_wait_for_each_other_and_only_late_live_ones_are_kept() -> None:
    c = start_comparison(0.01, 0.05, 0.1)
    for _ in range(3):
        c = compare(c, "canary", True)
    assert (c.n_blocks, len(c.waiting_canary)) == (0, 3)
    for error in (True, False, False, False):
        c = compare(c, "live", error)
    assert (c.n_blocks, len(c.waiting_canary), c.waiting_live) == (1, 2, ())
    for _ in range(50):
        c = compare(start_comparison(0.01, 0.05, 0.1) if c.n_blocks == 9 else c, "live", False)
    assert len(c.waiting_live) <= c.n_live_per_block
    lonely = start_comparison(0.01, 0.05, 0.1)
    for _ in range(MAX_WAITING + 5):
        lonely = compare(lonely, "canary", True)
    assert len(lonely.waiting_canary) == MAX_WAITING
    assert lonely.n_canary == MAX_WAITING + 5


def test_it_survives_json_at_any_point() -> None:
    rng = np.random.default_rng(4)
    straight = thawed = start_comparison(0.01, 0.05, 0.33)
    for _ in range(60):
        channel, error = ("canary" if rng.random() < 0.4 else "live"), bool(rng.random() < 0.3)
        straight = compare(straight, channel, error)
        thawed = compare(from_plain(Comparison, json.loads(json.dumps(to_plain(thawed)))), channel, error)
        assert thawed == straight
