"""The choice of a detector from trials: worth counts, cost counts a little, unknown names are told."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import DataError, UsageError
from passmuster.metrics.novelty import AUTO, detectors, refuse_unknown_detector
from passmuster.metrics.novelty.choose import Trial, rank_detectors, try_detectors


def test_what_tells_best_is_chosen_and_cost_decides_between_near_equals() -> None:
    work = {"msp.v1": 10.0, "knn.v1": 1e6}
    dear_wins = [Trial({"msp.v1": 0.80, "knn.v1": 0.90}, work), Trial({"msp.v1": 0.85, "knn.v1": 0.86}, work)]
    near_equal = [Trial({"msp.v1": 0.800, "knn.v1": 0.802}, work)]
    assert [s.name for s in rank_detectors(dear_wins)] == ["knn.v1", "msp.v1"]
    assert [s.name for s in rank_detectors(near_equal)] == ["msp.v1", "knn.v1"]
    best, other = rank_detectors(dear_wins)
    assert (best.behind, best.behind_se) == (0.0, 0.0)
    assert other.behind == pytest.approx(0.055 - 0.003)
    assert other.behind_se == pytest.approx(np.std([0.10, 0.01], ddof=1) / np.sqrt(2))


def test_out_of_distribution_is_the_positive_class() -> None:
    rng = np.random.default_rng(0)
    usual, strange = rng.normal(5, 0.1, (60, 4)), rng.normal(0, 1, (30, 4))
    trial = try_detectors(detectors.names(), (usual, usual), (usual, usual), (strange, strange))
    assert set(trial.areas) == set(detectors)
    assert trial.areas["mahalanobis.v1"] == 1.0
    assert all(work > 0 for work in trial.work.values())


def test_without_a_trial_nothing_is_chosen() -> None:
    with pytest.raises(DataError, match="no classes were left out"):
        rank_detectors([])


def test_names() -> None:
    refuse_unknown_detector(AUTO)
    refuse_unknown_detector("knn.v1")
    with pytest.raises(UsageError, match="knn"):
        refuse_unknown_detector("knn.v2")
