"""What labels say of two versions where they were asked for unequally: rates whose intervals hold the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

import release_case as case
from passmuster.core.sampling import draw, inclusion_probabilities
from passmuster.core.statistics import rate_size, wilson
from passmuster.metrics.disagreements import Told, read_by_disagreements, told_by_disagreements
from passmuster.metrics.gates import gates
from passmuster.metrics.versions import Comparison, compare

N = 800
PLAIN = compare(["a"], ["a"], ["a"], rng=np.random.default_rng(0))


@dataclass(frozen=True)
class World:
    """Shares of all items: answered differently, right to wrong, and wrong to right; items go together by `per`."""

    differ: float
    loss: float
    better: float
    n_labels: int
    unequal: bool = True
    per: int = 1


@dataclass(frozen=True)
class Drawn:
    """A test, of which some items have a label."""

    said: tuple[list[str], list[str], list[str]]
    told: Told


def drawn(world: World, seed: int) -> Drawn:
    """A test of which items that the two answer differently were asked for more often, and of those some more still."""
    rng = np.random.default_rng(seed)
    shares = [1 - world.differ, world.better, world.loss, world.differ - world.better - world.loss]
    kind = rng.choice(4, N, p=shares)
    group = np.arange(N) // world.per
    if world.per > 1:  # most of a group go the same way
        kind = np.where(rng.random(N) < 0.6, rng.choice(4, N, p=shares)[group], kind)
    truth = np.where(rng.random(N) < 0.3, "c", "a")
    new = np.select([kind == 2, kind == 3], ["x", "x"], truth)
    old = np.select([kind == 1, kind == 3], ["y", "y"], truth)
    both_wrong = (kind == 0) & (rng.random(N) < 0.25)
    new, old = np.where(both_wrong, "z", new), np.where(both_wrong, "z", old)
    differs = new != old
    wanted = np.ones(N)
    if world.unequal:
        doubt = rng.uniform(0.5, 1.5, N) * np.where(kind == 2, 1.5, 1.0)  # what got worse looks doubtful
        wanted = np.where(differs, 0.5 / world.differ, 0.5 / (1 - world.differ)) * doubt
    chances = inclusion_probabilities(wanted, world.n_labels)
    at = draw(chances, rng)
    rest = np.setdiff1d(np.arange(N), at)
    said = truth[at].tolist(), new[at].tolist(), old[at].tolist()
    how = {"clusters": group[at], "most": rate_size(differs, clusters=group)} if world.per > 1 else {}
    n_rest_differ = int(differs[rest].sum())
    told = told_by_disagreements(*said, 1 / chances[at], n_rest=len(rest), n_rest_differ=n_rest_differ, **how)
    return Drawn(said, told)


def read(one: Drawn) -> Comparison:
    return read_by_disagreements(PLAIN, one.told)


@pytest.mark.parametrize(
    "world",
    [
        World(0.04, 0.014, 0.02, 60, unequal=False),  # about 2 labelled disagreements
        World(0.04, 0.036, 0.002, 200, unequal=False),  # 8, nearly all worse
        World(0.14, 0.003, 0.04, 60, unequal=False),  # 8, hardly any worse
        World(0.14, 0.05, 0.07, 20),  # 10
        World(0.4, 0.04, 0.06, 60),  # 30, most of them wrong in both
        World(0.14, 0.05, 0.07, 100),  # 50
        World(0.14, 0.05, 0.07, 60, per=8),
    ],
)  # fmt: skip
def test_intervals_hold_the_truth_at_few_labelled_disagreements(world: World) -> None:
    runs = [read(drawn(world, seed)) for seed in range(150)]
    for name, value in (("negative_flips", world.loss), ("difference", world.better - world.loss)):
        covered = [getattr(run, name).low <= value <= getattr(run, name).high for run in runs]
        assert np.mean(covered) >= 0.93 - 0.02, name  # .93 or more of many; less a standard error


def test_intervals_hold_the_truth_where_each_label_alike_does_not() -> None:
    world = World(0.14, 0.05, 0.07, 200)
    made = [drawn(world, seed) for seed in range(150)]
    runs = [read(one) for one in made]
    flips = [run.negative_flips for run in runs]
    assert 0.92 <= np.mean([one.low <= world.loss <= one.high for one in flips]) <= 0.99
    assert np.mean([one.value for one in flips]) == pytest.approx(world.loss, abs=0.003)
    gains = [run.difference for run in runs]
    assert 0.92 <= np.mean([one.low <= world.better - world.loss <= one.high for one in gains]) <= 0.99
    alike = [compare(*one.said, rng=np.random.default_rng(0)).negative_flips for one in made]
    held = np.mean([one.low <= world.loss <= one.high for one in alike])
    assert held < 0.1, "labels that were asked for where the two differ are no sample"


def test_a_wholly_labelled_test_reads_as_it_counts() -> None:
    rng = np.random.default_rng(0)
    said = tuple(rng.choice(list("ab"), (3, 200)).tolist())
    plain = compare(*said, rng=rng)
    found = read_by_disagreements(
        plain, told_by_disagreements(*said, rng.uniform(1, 9, 200), n_rest=0, n_rest_differ=0)
    )
    assert found.negative_flips.value == pytest.approx(plain.negative_flips.value)
    assert found.difference.value == pytest.approx(plain.difference.value)
    assert found.p_mcnemar == plain.p_mcnemar
    for name in ("negative_flips", "difference"):
        one, other = getattr(found, name), getattr(plain, name)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-4)


def test_without_a_labelled_disagreement_all_that_differs_is_open() -> None:
    """Thirty labels where the two agree, of a hundred items of which they answer forty differently."""
    same, weights = ["a"] * 30, np.linspace(1, 5, 30)
    plain = compare(same, same, same, rng=np.random.default_rng(0), weights=weights)
    assert (plain.difference.low, plain.difference.high) == (0.0, 0.0), "what labels alone would say"
    found = read_by_disagreements(plain, told_by_disagreements(same, same, same, weights, n_rest=70, n_rest_differ=40))
    most = wilson(40, 100).high
    assert (found.difference.low, found.difference.high) == (-most, most)
    assert (found.negative_flips.low, found.negative_flips.high) == (0.0, most)
    assert math.isnan(found.difference.value)
    assert math.isnan(found.negative_flips.value)
    assert found.p_mcnemar == 1.0
    assert found.worth is not None
    assert found.worth["n"] == 0
    section = {"incumbent": "i" * 64, "both_right": 30, "only_candidate": 0, "only_incumbent": 0, "both_wrong": 0,
               "worth": found.worth}  # fmt: skip
    report = replace(case.make_report(), incumbent="i" * 64, sections={"versions": section})
    for name, params in (("non_inferiority.v1", {"margin": 0.3}), ("negative_flips.v1", {"max_rate": 0.3})):
        assert gates[name].judge(report, params, 0.05).state == "insufficient"


def test_where_no_item_differs_all_of_them_say_so() -> None:
    same = ["a"] * 4
    found = read_by_disagreements(
        PLAIN, told_by_disagreements(same, same, same, np.ones(4), n_rest=96, n_rest_differ=0)
    )
    assert found.difference.value == found.negative_flips.value == 0.0
    assert found.negative_flips.high == wilson(0, 100).high
    assert found.worth == {"n": 100, "only_candidate": 0, "only_incumbent": 0}


def test_the_share_is_known_no_better_than_the_whole_test_tells() -> None:
    """Items that go together are worth `most`: so is the share, and no more labels than lie in that."""
    said = ["a"] * 40, ["a"] * 20 + ["b"] * 20, ["a"] * 40
    alone, together = (
        told_by_disagreements(*said, np.ones(40), n_rest=160, n_rest_differ=80, most=most) for most in (math.inf, 30)
    )
    assert (alone.n, alone.size) == (200, 20)
    assert (together.n, together.size) == (30, 15)
    assert told_by_disagreements(*said, np.ones(40), n_rest=160, n_rest_differ=80, most=900).n == 200
    one, other = (read_by_disagreements(PLAIN, replace(alone, n=n)).negative_flips for n in (200, 60))
    assert other.high > one.high + 0.01


def test_labels_of_one_cluster_widen_both_intervals() -> None:
    said = ["a"] * 24, ["a"] * 12 + ["b"] * 12, ["b"] * 8 + ["a"] * 16
    how = {"n_rest": 176, "n_rest_differ": 40}
    alone = told_by_disagreements(*said, np.ones(24), **how)
    together = told_by_disagreements(*said, np.ones(24), **how, clusters=[f"{i // 4}" for i in range(24)])
    assert (alone.size, together.size) == (20, 5)
    assert (alone.better, alone.worse) == (together.better, together.worse)
    for name in ("difference", "negative_flips"):
        one, other = (getattr(read_by_disagreements(PLAIN, told), name) for told in (alone, together))
        assert one.value == other.value
        assert other.low < one.low - 0.01
        assert one.high + 0.01 < other.high
