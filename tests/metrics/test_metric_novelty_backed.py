"""Two detectors as one: what one is blind to, the other tells, and ordinary items are flagged as seldom as before."""

from __future__ import annotations

import math

import numpy as np
import pytest

from passmuster.core.config import GuardPolicy
from passmuster.core.errors import UsageError
from passmuster.metrics.novelty import find_detector, refuse_unknown_detector, scores_of_two, with_backing
from passmuster.metrics.novelty.backed import FEWEST, HANDICAP, fit_rarity, rarer, rarity
from passmuster.metrics.ranking import auroc
from passmuster.runtime.guard import fit_novelty, novelty_of

PAIR = "max_logit.v1+mahalanobis.v1"


def world(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes in six dimensions, and logits that grow along them without end, as those of a head do."""
    rng = np.random.default_rng(seed)
    centres = 4.0 * np.eye(4, 6)
    x = centres[rng.integers(0, 4, n)] + rng.normal(0.0, 1.0, (n, 6))
    return x, 2.0 * x @ centres.T


def far(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Far along one class's own direction: the head is surer of them than of anything it has seen."""
    x = np.random.default_rng(seed).normal(0.0, 1.0, (n, 6)) + 40.0 * np.eye(4, 6)[0]
    return x, 2.0 * x @ (4.0 * np.eye(4, 6)).T


def test_what_the_head_is_surest_of_is_flagged_when_it_is_far_from_everything() -> None:
    fit, held, ordinary, strange = world(600, 0), world(400, 1), world(4_000, 2), far(200, 3)
    alone = fit_novelty(*fit, *held, GuardPolicy(novelty="max_logit.v1"))
    both = fit_novelty(*fit, *held, GuardPolicy(novelty=PAIR))
    assert (novelty_of(alone, *strange) > alone["novelty_threshold"]).mean() == 0.0
    assert (novelty_of(both, *strange) > both["novelty_threshold"]).mean() == 1.0
    for guard in (alone, both):
        assert (novelty_of(guard, *ordinary) > guard["novelty_threshold"]).mean() == pytest.approx(0.01, abs=0.008)


def test_what_is_near_is_told_nearly_as_well_as_by_the_first_alone() -> None:
    fit, ordinary = world(600, 0), world(2_000, 2)
    rng = np.random.default_rng(4)
    between = 2.0 * (np.eye(4, 6)[0] + np.eye(4, 6)[1]) + rng.normal(0.0, 1.0, (500, 6))
    doubtful = between, 2.0 * between @ (4.0 * np.eye(4, 6)).T
    area = {}
    for name in ("max_logit.v1", PAIR):
        detector = find_detector(name)
        arrays = detector.fit(*fit)
        area[name] = auroc(detector.score(arrays, *doubtful), detector.score(arrays, *ordinary)).value
    assert area["max_logit.v1"] > 0.85
    assert area[PAIR] > area["max_logit.v1"] - 0.03


def test_rarity_is_the_share_at_least_as_strange_and_grows_beyond_what_was_seen() -> None:
    scores = np.random.default_rng(0).exponential(2.0, 20_000)
    found = rarity(fit_rarity(scores), np.array([-1.0, 2.0, 5.0, 10.0, 40.0, np.inf]))
    assert found[0] == 0.0
    assert found[1:5] == pytest.approx([1.0, 2.5, 5.0, 20.0], rel=0.03)  # of an exponential: the score by its mean
    assert found[5] == math.inf


def test_rounding_is_not_rare_where_all_scores_are_one() -> None:
    known = fit_rarity(np.full(50, 0.25))
    assert rarity(known, np.array([0.25, 0.25 + 5e-7])) == pytest.approx([0.0, 0.0])
    assert rarity(known, np.array([0.2500201]))[0] > 10.0


def test_the_far_one_counts_when_it_is_three_times_as_rare() -> None:
    far_ones = np.array([1.5, 0.5]) + HANDICAP
    assert rarer(np.ones(2), far_ones) == pytest.approx([1.5, 1.0])
    assert math.isclose(HANDICAP, math.log(3))


def test_scores_that_are_there_give_what_the_pair_gives_up_to_whom_it_learnt_from() -> None:
    fit, ordinary, strange = world(800, 0), world(900, 1), far(50, 2)
    detector = find_detector(PAIR)
    direct = detector.score(detector.fit(*fit), *strange)
    parts = []
    for name in PAIR.split("+"):
        arrays = find_detector(name).fit(*fit)
        sides = (find_detector(name).score(arrays, *side) for side in (ordinary, strange))
        parts.append(np.concatenate(list(sides)))
    there = scores_of_two(*parts, np.arange(950) < 900)
    assert there[900:] == pytest.approx(direct, rel=0.4)
    assert auroc(there[900:], there[:900]).value == 1.0


def test_a_class_that_leaves_nothing_to_fit_stays_unknown() -> None:
    nothing = np.full(10, np.nan)
    assert np.isnan(scores_of_two(nothing, nothing, np.ones(10, dtype=bool))).all()


@pytest.mark.parametrize("n", [1, 3, FEWEST - 1, FEWEST])
def test_few_ordinary_items_are_all_learnt_from(n: int) -> None:
    detector = find_detector("knn.v1+mahalanobis.v1")
    x, logits = world(n, 0)
    arrays = detector.fit(x, logits)
    assert len(arrays["near.bank"]) == (n if n < FEWEST else n * 3 // 4)
    assert np.isfinite(detector.score(arrays, *far(3, 1))).all()
    assert detector.work(arrays, 6, 4) > find_detector("knn.v1").work({"bank": arrays["near.bank"]}, 6, 4)


def test_a_broken_item_is_never_ordinary() -> None:
    detector = find_detector(PAIR)
    x, logits = world(60, 0)
    arrays = detector.fit(x, logits)
    broken = x[:2].copy()
    broken[0, 0] = np.nan
    assert np.isinf(detector.score(arrays, broken, logits[:2])).tolist() == [True, False]


def test_names() -> None:
    assert with_backing("knn.v1") == "knn.v1+mahalanobis.v1"
    assert [with_backing(name) for name in ("mahalanobis.v1", PAIR)] == ["mahalanobis.v1", PAIR]
    refuse_unknown_detector(PAIR)
    with pytest.raises(UsageError, match=r"mahalanobis\.v1"):
        refuse_unknown_detector("knn.v1+mahalanobs.v1")
