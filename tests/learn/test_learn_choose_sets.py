"""What an item of a multi-label project is worth asking about: how far from right its answer is."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import DataError
from passmuster.learn.choose import HESITATES, choose_items
from passmuster.learn.choose_sets import doubt_of_sets, expected_item_f1
from passmuster.learn.quick_head import quick_set_probabilities
from passmuster.metrics.label_sets import item_f1_scores

AT = 0.35


def drawn(probabilities: np.ndarray, n: int = 4_000) -> np.ndarray:
    """Sets drawn by independent classes (n, items, k)."""
    return np.random.default_rng(0).random((n, *probabilities.shape)) < probabilities


def test_the_expected_f1_is_near_what_comes() -> None:
    told = np.array([[0.9, 0.1, 0.1], [0.5, 0.5, 0.0], [0.9, 0.8, 0.4], [0.05, 0.05, 0.05], [0.3, 0.3, 0.3]])
    sets = drawn(told)
    said = told >= AT
    came = [item_f1_scores(sets[:, i], np.tile(said[i], (len(sets), 1))).mean() for i in range(len(told))]
    assert expected_item_f1(told, AT) == pytest.approx(came, abs=0.09)
    assert expected_item_f1(told, AT)[3] == pytest.approx(0.95**3), "nothing is said: right where nothing is carried"


def test_a_sure_set_of_any_size_leaves_no_doubt() -> None:
    sure = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert doubt_of_sets(sure, np.array([3, 3, 3]), AT).tolist() == [0.0, 0.0, 0.0]


def test_doubt_counts_more_sharply_the_more_labels_carry_a_class() -> None:
    told = np.array([[0.5, 0.0], [0.9, 0.0]])
    few, some, many, more = (doubt_of_sets(told, np.full(2, n), AT) for n in (1, 4, 8, 80))
    assert few[0] / few[1] < some[0] / some[1] < many[0] / many[1]
    assert many.tolist() == more.tolist() == pytest.approx(((1 - expected_item_f1(told, AT)) ** 2).tolist())


def two_topics(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Items of one topic, of another, and of both, as far apart as sums are; and what each carries."""
    rng = np.random.default_rng(0)
    carried = np.repeat([[1, 0], [0, 1], [1, 1]], n, axis=0).astype(bool)
    return (carried @ np.eye(2, 8) + 0.1 * rng.standard_normal((len(carried), 8))).astype(np.float32), carried


def test_the_quick_head_says_each_class_for_itself() -> None:
    x, carried = two_topics()
    labelled = np.arange(0, len(x), 6)
    told = quick_set_probabilities(x, labelled, carried[labelled], AT, np.random.default_rng(0))
    assert told.shape == carried.shape
    assert ((told >= AT) == carried).all(axis=1).mean() > 0.9


def test_one_label_and_one_class_are_enough_to_go_on() -> None:
    x, _ = two_topics()
    told = quick_set_probabilities(x, np.array([0]), np.ones((1, 1)), AT, np.random.default_rng(0))
    assert np.isfinite(told).all()
    assert (told[:, 0] >= 0).all()
    assert (told[:, 0] <= 1).all()


def test_doubt_about_sets_moves_the_choice() -> None:
    x, _ = two_topics()
    doubt = np.zeros(len(x))
    doubt[120:] = 1.0
    chosen = choose_items(x, np.array([0, 60]), 3, rng=np.random.default_rng(0), doubt=doubt)
    assert all(choice.position >= 120 for choice in chosen)
    assert {choice.why for choice in chosen} == {HESITATES}


def test_a_doubt_that_does_not_fit_is_refused() -> None:
    x, _ = two_topics()
    rng, none = np.random.default_rng(0), np.array([], dtype=np.int64)
    with pytest.raises(DataError, match="the doubts are not of these items"):
        choose_items(x, none, 1, rng=rng, doubt=np.ones(3))
    broken = np.ones(len(x))
    broken[4] = np.nan
    with pytest.raises(DataError, match="the doubt of 1 items is not a finite number"):
        choose_items(x, none, 1, rng=rng, doubt=broken)
