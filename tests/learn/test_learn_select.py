"""Which rung is the better bet."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.priors import NOTHING, Gain
from passmuster.learn.select import Candidate, choose_rung, moderated, stand

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
    assert chosen(Candidate("a.v1", np.zeros(8), NOTHING), Candidate("b.v1", -few, prior)) == "b.v1"
    assert chosen(Candidate("a.v1", np.zeros(20_000), NOTHING), Candidate("b.v1", -many, prior)) == "a.v1"


def test_a_bad_rung_in_between_is_no_doubt_about_the_one_after_it() -> None:
    """Stacked views are known to beat the first; that the pretrained view alone may not, does not matter to them."""
    rng = np.random.default_rng(0)
    first, noise = rng.normal(0.3, 0.1, size=1_600), rng.normal(0, 0.4, size=1_600)
    ladder = [Candidate("a.v1", first, NOTHING), Candidate("b.v1", first + 0.15 + noise, Gain(0.0, 0.3, ""))]
    assert chosen(*ladder, Candidate("c.v1", first + 0.01, Gain(0.15, 0.02, "sets"))) == "a.v1"
    noisy = first[:16] + 0.01 + 0.2 * (noise[:16] - noise[:16].mean())
    few = [Candidate(one.name, one.losses[:16], one.prior) for one in ladder]
    assert chosen(*few, Candidate("c.v1", noisy, Gain(0.15, 0.02, "sets"))) == "c.v1"


def test_losses_that_hardly_differ_on_a_few_labels_are_no_certainty() -> None:
    """Flattened heads all lose .69 nats: differences are nothing, and so is their spread."""
    flat = np.full(16, np.log(2))
    dear = Candidate("b.v1", flat, Gain(0.1, 0.1, "sets"))
    assert chosen(Candidate("a.v1", flat, NOTHING), dear) == "b.v1"
    assert (
        chosen(Candidate("a.v1", np.tile(flat, 100), NOTHING), Candidate("b.v1", np.tile(flat, 100), dear.prior))
        == "a.v1"
    )
    assert moderated(0.001, 16) > 0.1 > moderated(0.001, 100)
    assert moderated(0.05, 10_000) == pytest.approx(0.05, rel=0.01)


def test_what_rungs_share_does_not_tell_them_apart() -> None:
    """One set in two gains nothing, the other .4, and the dearer rung always a little more: that little decides."""
    measured = [(0.0, 0.0), (0.05, 0.1), (0.0, 0.1)]
    apart = [NOTHING, Gain(0.2, 0.2, ""), Gain(0.25, 0.2, "")]
    alike = [NOTHING, Gain(0.2, 0.2, "", shared=0.195), Gain(0.25, 0.2, "", shared=0.195)]
    names = ["a.v1", "b.v1", "c.v1"]
    assert next(s.name for s in stand(names, measured, apart, 16) if s.chosen) == "b.v1"
    assert next(s.name for s in stand(names, measured, alike, 16) if s.chosen) == "c.v1"
    many = [(0.0, 0.0), (0.05, 0.002), (0.0, 0.002)]
    assert next(s.name for s in stand(names, many, alike, 100_000) if s.chosen) == "b.v1"


def test_expectations_are_those_of_the_joint_normal_distribution() -> None:
    """By drawing truths and measurements: the mean truth where the measured gains came out near these."""
    priors = [NOTHING, Gain(0.1, 0.15, "", shared=0.12), Gain(0.2, 0.13, "", shared=0.1)]
    measured, n = [(0.0, 0.0), (0.3, 0.2), (0.1, 0.1)], 400
    errors = [moderated(error, n) for _, error in measured[1:]]
    rng = np.random.default_rng(0)
    truth = np.array([0.1, 0.2]) + rng.multivariate_normal([0, 0], [[0.0225, 0.012], [0.012, 0.0169]], 2_000_000)
    half = 0.5 * errors[0] * errors[1]
    seen = truth + rng.multivariate_normal([0, 0], [[errors[0] ** 2, half], [half, errors[1] ** 2]], len(truth))
    near = np.abs(seen - [0.3, 0.1]).max(axis=1) < 0.02
    expected = [s.expected_gain for s in stand(["a.v1", "b.v1", "c.v1"], measured, priors, n)]
    assert expected == pytest.approx([0.0, *truth[near].mean(axis=0)], abs=0.005)


def test_gains_over_another_first_rung_lose_its_own_doubts() -> None:
    """Where the ladder's first was not fitted, gains are over one whose own gain is in doubt."""
    priors = [Gain(0.2, 0.2, "", shared=0.19), Gain(0.3, 0.2, "", shared=0.19)]
    standing = stand(["b.v1", "c.v1"], [(0.0, 0.0), (-0.2, 0.3)], priors, 16)[1]
    own, error = 2 * (0.2**2 - 0.19**2), moderated(0.3, 16)
    assert standing.expected_gain == pytest.approx(0.1 + own / (own + error**2) * (-0.2 - 0.1))
    assert standing.gain_se == pytest.approx(error)
