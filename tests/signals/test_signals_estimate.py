"""Estimated accuracy in a stream: it reads blocks, keeps its share of false alarms, and asks when it is too low."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.config import WatchPolicy
from passmuster.signals.estimate import Estimating, see, start_estimating
from passmuster.signals.label_free import AccuracyEstimator
from passmuster.signals.label_free_seen import Reference, features_of, features_of_answer

NAMES = ("confidence", "above", "familiarity")
QUANTILES = tuple(np.linspace(0, 1, 100).tolist())
NOTHING = (0.0, 0.0, 0.0)
TAUGHT = AccuracyEstimator(
    NAMES, 0.9, 400, 8, 0.02, 0.6, QUANTILES, (0.92, 0.9, 0.5), (2.0, 1.2, 0.5), NOTHING, NOTHING, (0.5, 0.5, 0.0),
    1.0, 12.0, 0.9, 0.05,
)  # fmt: skip
POLICY = WatchPolicy(mean_observations_between_false_alarms=10_000.0)


def begun(policy: WatchPolicy = POLICY, least: float | None = None) -> Estimating:
    found = start_estimating(TAUGHT, policy, least, 3)
    assert found is not None
    return found


def after(state: Estimating, n: int, sure: float, novelty: float = 0.5) -> Estimating:
    for _ in range(n):
        state = see(state, sure, novelty)
    return state


def test_one_answer_is_seen_as_many_are() -> None:
    rng = np.random.default_rng(0)
    reference = Reference(rng.random(300), rng.random(300) < 0.8, rng.normal(size=300))
    taught = replace(TAUGHT, threshold=reference.threshold, novelty=reference.novelty_quantiles)
    sure, novelty = rng.random(50), rng.normal(size=50)
    many = features_of(reference, NAMES, sure, novelty=novelty)
    assert np.allclose(many, [features_of_answer(taught, *pair) for pair in zip(sure, novelty, strict=True)])
    with pytest.raises(ValueError, match="agreement cannot be seen of one answer alone"):
        features_of_answer(replace(taught, names=("agreement",)), 0.9, 0.0)


def test_the_bound_is_the_test_s_accuracy_less_the_rise_worth_an_alarm_or_the_policy_s() -> None:
    assert begun().bound == pytest.approx(0.85)
    assert begun(least=0.88).bound == 0.88
    assert begun(least=0.5).bound == pytest.approx(0.85)
    assert begun(least=0.95).bound == pytest.approx(0.85)  # more than the test showed: it would ask at once


def test_the_level_spends_this_signal_s_share_of_the_declared_rate() -> None:
    """One alarm in 3 x 10,000 answers, each block of 500 looked at once: 1 in 60 may lie above the upper end."""
    state = begun()
    assert (1 - state.level) / 2 == pytest.approx(500 / 30_000)
    assert state.declared_between == 30_000
    often = begun(replace(POLICY, mean_observations_between_false_alarms=200.0))
    assert (1 - often.level) / 2 == 0.25
    assert start_estimating(TAUGHT, replace(POLICY, estimated_answers=0), None, 3) is None


def test_false_alarms_come_no_more_often_than_declared() -> None:
    """Releases whose true accuracy is at the bound, and estimates as far off as the estimator believes."""
    rng, state, n_alarms, n = np.random.default_rng(0), begun(), 0, 4_000
    systematic = 0.05 * 0.15  # of a fall of 5 points; at home another half point
    for _ in range(n):
        off = np.hypot(0.005, systematic) * rng.standard_normal()
        chance = np.sqrt(0.9 * (0.85 * 0.15 / 500 + 0.9 * 0.1 / 400)) * rng.standard_normal()
        fall = 0.05 + off + chance  # half is believed of a small one, all of a large one: u (0.5 + 2.5 u)
        u = np.sign(fall) * (np.sqrt(0.25 + 10 * abs(fall)) - 0.5) / 5
        n_alarms += TAUGHT.estimate([0.92 - u / 2, 0.9 - u / 1.2, 0.5], 500, level=state.level).high < 0.85
    assert n_alarms / n <= 500 / 30_000


def test_a_block_is_looked_at_once_and_whole() -> None:
    state = after(begun(), 499, 0.5)
    assert state.latest is None
    state = see(state, 0.5, 0.5)
    assert state.latest is not None
    assert (state.n_seen, state.sums, state.fired) == (500, NOTHING, True)
    assert state.latest.n == 500
    assert after(state, 500, 0.95).fired  # what has been seen cannot be unseen


def test_quiet_answers_raise_no_alarm() -> None:
    rng, state = np.random.default_rng(0), begun()
    for sure in np.where(rng.random(3_000) < 0.9, 0.97, 0.47):  # 0.92 in the mean, 0.9 above
        state = see(state, float(sure), float(rng.random()))
    assert not state.fired
    assert state.latest is not None
    assert state.latest.low < 0.9 < state.latest.high


def test_json_holds_all_of_it() -> None:
    state = after(begun(), 700, 0.8)
    assert from_plain(Estimating, to_plain(state)) == state
