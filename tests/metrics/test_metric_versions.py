"""Versions are compared item by item; faults are summarised over the same items; mistakes are ranked."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import DataError
from passmuster.core.paired import mcnemar_exact
from passmuster.metrics.calibration import reliability
from passmuster.metrics.confusion import confusion, confusion_cells, most_confused
from passmuster.metrics.ranking import auroc
from passmuster.metrics.robustness import robustness
from passmuster.metrics.versions import compare


def test_the_four_counts_add_up() -> None:
    rng = np.random.default_rng(0)
    truth, new, old = ([str(x) for x in rng.integers(0, 4, 300)] for _ in range(3))
    found = compare(truth, new, old, rng=rng)
    assert found.both_right + found.only_candidate + found.only_incumbent + found.both_wrong == 300
    assert found.difference.value == pytest.approx(
        np.mean([a == t for a, t in zip(new, truth)]) - np.mean([a == t for a, t in zip(old, truth)])
    )
    assert found.p_mcnemar == mcnemar_exact(found.only_candidate, found.only_incumbent)
    assert set(found.changed) == {i for i in range(300) if new[i] != old[i]}
    assert found.negative_flips.value == found.only_incumbent / 300


def test_the_same_model_changes_nothing() -> None:
    same = ["a", "b", "a"]
    found = compare(["a", "a", "a"], same, same, rng=np.random.default_rng(0))
    assert (found.changed, found.p_mcnemar, found.difference.value) == ((), 1.0, 0.0)


def test_weights_count_in_the_difference() -> None:
    """The candidate fixes one heavy item and breaks one light one."""
    found = compare(["a", "a"], ["a", "b"], ["b", "a"], rng=np.random.default_rng(0), weights=np.array([9.0, 1.0]))
    assert found.difference.value == pytest.approx(0.8)
    assert found.difference.method == "paired bootstrap"


def test_copies_make_no_evidence() -> None:
    """Thirty copies of one broken item: the interval of the difference still reaches 0."""
    truth, old = ["a"] * 60, ["a"] * 60
    new = ["b"] * 30 + ["a"] * 30
    clusters = ["copies"] * 30 + [f"single {i}" for i in range(30)]
    found = compare(truth, new, old, rng=np.random.default_rng(0), clusters=clusters)
    assert found.difference.high == 0.0
    assert compare(truth, new, old, rng=np.random.default_rng(0)).difference.high < -0.3


def test_the_worst_fault_is_named() -> None:
    clean = np.ones(10)
    faults = {
        ("blur", 1): np.ones(10), ("blur", 2): np.r_[np.zeros(2), np.ones(8)],
        ("noise", 1): np.r_[np.zeros(5), np.ones(5)], ("noise", 2): np.r_[np.zeros(7), np.ones(3)],
    }  # fmt: skip
    found = robustness(clean, faults, rng=np.random.default_rng(0))
    assert (found.worst, found.worst_severity) == ("noise", 2)
    assert found.mean.value == pytest.approx((1 + 0.8 + 0.5 + 0.3) / 4)
    assert found.accuracy["blur", 2].value == pytest.approx(0.8)


def test_mistakes_are_ranked_and_right_answers_left_out() -> None:
    labels, predicted = np.array([0] * 10 + [1] * 4), np.array([0] * 7 + [1] * 3 + [0] * 4)
    cells = confusion_cells(labels, predicted)
    dense = confusion(labels, predicted, 2)
    assert cells.tolist() == [[i, j, int(dense[i, j])] for i, j in zip(*np.nonzero(dense), strict=True)]
    assert [(m.label, m.predicted, m.n) for m in most_confused(cells, 5)] == [(1, 0, 4), (0, 1, 3)]
    assert most_confused(confusion_cells(np.arange(3), np.arange(3)), 5) == []


def test_a_perfect_separation_is_not_certain() -> None:
    found = auroc(np.arange(10.0) + 100, np.arange(10.0))
    assert found.value == found.high == 1.0
    assert 0.5 < found.low < 0.95
    assert found.method == "newcombe"


@pytest.mark.parametrize(("a", "b"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_a_separation_needs_both_kinds(a: list[float], b: list[float]) -> None:
    with pytest.raises(DataError) as caught:
        auroc(np.array(a), np.array(b))
    assert caught.value.code == "ranking.empty"


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    """Guo et al. 2017: bins are closed above; quarters are exact in binary."""
    p = np.array([[0.5, 0.5], [0.75, 0.25], [0.76, 0.24], [1.0, 0.0]])
    bins = reliability(p, np.zeros(4, dtype=int), n_bins=4)
    assert [(b.low, b.high, b.members) for b in bins] == [(0.25, 0.5, (0,)), (0.5, 0.75, (1,)), (0.75, 1.0, (2, 3))]
