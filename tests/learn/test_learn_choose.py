"""Choosing what to label: groups first, then doubt, never a copy before something new; and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import DataError, UsageError
from passmuster.learn.choose import COPY, HESITATES, TYPICAL, Choosing, choose_items, hesitation
from passmuster.learn.quick_head import quick_probabilities

NONE = np.array([], dtype=np.int64)


def groups(sizes: tuple[int, ...], d: int = 16, spread: float = 0.15, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points about as many orthogonal centres, and the group of each."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    return (np.eye(d)[which] + spread * rng.standard_normal((len(which), d))).astype(np.float32), which


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_before_there_is_a_model_every_group_gets_one_however_small() -> None:
    x, which = groups((100, 60, 30, 15))
    chosen = choose_items(x, NONE, 4, rng=rng())
    assert sorted(which[[c.position for c in chosen]]) == [0, 1, 2, 3]
    assert which[chosen[0].position] == 0, "the largest group comes first"
    assert {c.why for c in chosen} == {TYPICAL}


def test_the_choice_is_typical_of_its_group() -> None:
    x, which = groups((80, 80))
    for choice in choose_items(x, NONE, 2, rng=rng()):
        members = x[which == which[choice.position]]
        from_centre = np.linalg.norm(members - members.mean(axis=0), axis=1)
        own = np.linalg.norm(x[choice.position] - members.mean(axis=0))
        assert own < np.quantile(from_centre, 0.2)


def test_a_group_with_a_label_waits_for_those_without() -> None:
    x, which = groups((100, 60, 30))
    labelled = np.flatnonzero(which == 0)[:1]
    chosen = choose_items(x, labelled, 2, rng=rng())
    assert sorted(which[[c.position for c in chosen]]) == [1, 2]


def test_where_the_model_hesitates_comes_first() -> None:
    x, which = groups((60, 60, 60))
    labelled = np.array([0, 60, 120])
    probabilities = np.full((180, 3), 0.01, np.float32)
    probabilities[np.arange(180), which] = 0.98
    probabilities[which == 2] = (0.1, 0.45, 0.45)
    chosen = choose_items(x, labelled, 3, rng=rng(), probabilities=probabilities)
    assert [int(which[c.position]) for c in chosen] == [2, 2, 2]
    assert {c.why for c in chosen} == {HESITATES}


def test_a_copy_is_never_chosen_before_something_new() -> None:
    x, _ = groups((20, 20))
    doubled = np.concatenate([x, x, x])
    chosen = choose_items(doubled, NONE, 40, rng=rng())
    assert len({c.position % 40 for c in chosen}) == 40


def test_what_is_labelled_or_passed_over_is_not_chosen() -> None:
    x, _ = groups((10, 10))
    chosen = choose_items(x, np.array([0, 1, 2]), 50, rng=rng(), skip=np.array([3, 4]))
    assert sorted(c.position for c in chosen) == list(range(5, 20)), "all that wait, and no more than that"


def test_nothing_is_left() -> None:
    x, _ = groups((5, 5))
    assert choose_items(x, np.arange(10), 3, rng=rng()) == []
    assert choose_items(x, NONE, 0, rng=rng()) == []
    assert choose_items(np.zeros((0, 4), np.float32), NONE, 3, rng=rng()) == []


def test_identical_items_are_said_to_be_copies() -> None:
    chosen = choose_items(np.ones((30, 8), np.float32), NONE, 5, rng=rng())
    assert len({c.position for c in chosen}) == 5
    assert [c.why for c in chosen[1:]] == [COPY] * 4


def test_one_item() -> None:
    assert [c.position for c in choose_items(np.ones((1, 8), np.float32), NONE, 5, rng=rng())] == [0]


def test_one_class_says_nothing_yet() -> None:
    x, _ = groups((40, 40))
    alone = choose_items(x, np.array([0]), 3, rng=rng(), probabilities=np.ones((80, 1), np.float32))
    assert [c.position for c in alone] == [c.position for c in choose_items(x, np.array([0]), 3, rng=rng())]


@pytest.mark.parametrize("where", ["embedding", "probability"])
def test_what_is_no_number_is_refused(where: str) -> None:
    x, _ = groups((10, 10))
    probabilities = np.full((20, 2), 0.5, np.float32)
    (x if where == "embedding" else probabilities)[3, 1] = np.nan
    with pytest.raises(DataError, match=f"the {where} of 1 items is not a finite number") as error:
        choose_items(x, NONE, 3, rng=rng(), probabilities=probabilities)
    assert error.value.code == "choose.not_finite"


def test_arguments_that_do_not_fit_are_refused() -> None:
    x, _ = groups((10, 10))
    with pytest.raises(UsageError, match="not a number of items"):
        choose_items(x, NONE, -1, rng=rng())
    with pytest.raises(DataError, match="not of these items"):
        choose_items(x, NONE, 1, rng=rng(), probabilities=np.ones((3, 2), np.float32))


def test_the_same_seed_chooses_the_same() -> None:
    x, _ = groups((300, 200))
    few = Choosing(n_targets=100, n_candidates=50)
    once, again = (choose_items(x, NONE, 20, rng=rng(), settings=few) for _ in range(2))
    assert once == again
    assert len({c.position for c in once}) == 20


def test_a_rare_doubtful_group_survives_the_sampling_of_a_large_pool() -> None:
    x, which = groups((3_000, 20))
    probabilities = np.tile(np.array([0.99, 0.01], np.float32), (len(x), 1))
    probabilities[which == 1] = 0.5
    few = Choosing(n_targets=3_020, n_candidates=60)
    chosen = choose_items(x, np.array([0]), 3, rng=rng(), probabilities=probabilities, settings=few)
    assert 1 in which[[c.position for c in chosen]]


def test_hesitation_is_the_lead_that_is_missing() -> None:
    assert hesitation(np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)).tolist() == [0.5, 0.0]


def test_a_large_pool_is_sampled() -> None:
    x = np.random.default_rng(0).standard_normal((100_000, 8)).astype(np.float32)
    few = Choosing(n_targets=500, n_candidates=200)
    chosen = choose_items(x, NONE, 300, rng=rng(), settings=few)
    assert len({c.position for c in chosen}) == 300, "more candidates than usual, where more are asked for"


def test_chosen_labels_teach_more_than_random_ones() -> None:
    """Unequal, overlapping groups: with as many labels, the head errs less at the mean over seeds."""
    chosen_right, random_right = [], []
    for seed in range(5):
        x, which = groups((400, 200, 100, 60, 40, 20), spread=0.35, seed=seed)
        generator = np.random.default_rng(seed)
        labelled = NONE
        while len(labelled) < 18:
            classes, labels = np.unique(which[labelled], return_inverse=True)
            told = None
            if len(classes) > 1:
                told = quick_probabilities(x, labelled, labels, len(classes), generator)
            found = choose_items(x, labelled, 6, rng=generator, probabilities=told)
            labelled = np.concatenate([labelled, [c.position for c in found]])
        for right, known in ((chosen_right, labelled), (random_right, generator.permutation(len(x))[:18])):
            classes, labels = np.unique(which[known], return_inverse=True)
            answers = quick_probabilities(x, known, labels, len(classes), generator).argmax(axis=1)
            right.append((classes[answers] == which).mean())
    assert np.mean(chosen_right) > np.mean(random_right) + 0.05
