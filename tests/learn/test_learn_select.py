"""Which rung is the better bet."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.priors import Gain
from passmuster.learn.select import Candidate, choose_rung

FLAT = Gain(0.0, 1.0, "")


def candidate(name: str, mean: float, noise: float, prior: Gain = FLAT, n: int = 100) -> Candidate:
    return Candidate(name, mean + noise * np.random.default_rng(len(name)).normal(size=n), prior)


def chosen(*candidates: Candidate) -> str:
    standings = choose_rung(list(candidates))
    assert sum(s.chosen for s in standings) == 1
    return next(s.name for s in standings if s.chosen)


def test_the_lower_loss_wins_without_being_significant() -> None:
    cheap, dear = candidate("a.v1", 1.0, 0.5), candidate("bb.v1", 0.96, 0.5)
    paired = cheap.losses - dear.losses
    assert 0 < paired.mean() < 2 * paired.std(ddof=1) / 10  # no gate would call it better
    assert chosen(cheap, dear) == "bb.v1"


def test_a_dearer_rung_that_brings_nothing_is_left() -> None:
    cheap = candidate("a.v1", 1.0, 0.0)
    assert chosen(cheap, candidate("b.v1", 0.999, 0.0)) == "a.v1"
    assert chosen(cheap, candidate("b.v1", 0.99, 0.0)) == "b.v1"


def test_the_best_of_three_wins_though_the_middle_one_is_worse() -> None:
    ladder = [candidate("a.v1", 1.0, 0.0), candidate("b.v1", 1.3, 0.0), candidate("c.v1", 0.8, 0.0)]
    assert chosen(*ladder) == "c.v1"
    gains = [s.gain for s in choose_rung(ladder)]
    assert gains == pytest.approx([0.0, -0.3, 0.2])


def test_a_narrow_prior_holds_against_a_few_noisy_labels_and_yields_to_many() -> None:
    prior = Gain(0.3, 0.05, "many sets")
    rng = np.random.default_rng(0)
    worse = rng.normal(-0.1, 2.0, size=1_000)
    few, many = worse[:8] - worse[:8].mean() - 0.1, np.tile(worse - worse.mean() - 0.1, 20)
    assert chosen(Candidate("a.v1", np.zeros(8), FLAT), Candidate("b.v1", -few, prior)) == "b.v1"
    assert chosen(Candidate("a.v1", np.zeros(20_000), FLAT), Candidate("b.v1", -many, prior)) == "a.v1"


def test_a_bad_rung_in_between_is_no_doubt_about_the_one_after_it() -> None:
    """Stacked views are known to beat the first; that the pretrained view alone may not, does not matter to them."""
    rng = np.random.default_rng(0)
    first, noise = rng.normal(0.3, 0.1, size=16), rng.normal(0, 0.4, size=16)
    between = first + 0.15 + noise
    stacked = Candidate("c.v1", first + 0.01, Gain(0.15, 0.02, "sets"))
    assert chosen(Candidate("a.v1", first, FLAT), Candidate("b.v1", between, Gain(0.0, 0.3, "")), stacked) == "a.v1"
    noisy = Candidate("c.v1", first + 0.01 + 0.2 * (noise - noise.mean()), Gain(0.15, 0.02, "sets"))
    assert chosen(Candidate("a.v1", first, FLAT), Candidate("b.v1", between, Gain(0.0, 0.3, "")), noisy) == "c.v1"
