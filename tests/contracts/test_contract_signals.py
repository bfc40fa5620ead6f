"""Every signal of the table keeps its false-alarm rate, fires on a planted rise, and is JSON at any point."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.config import WatchPolicy
from passmuster.core.records import UNREAD, TrafficRecord
from passmuster.core.sequential import shiryaev_roberts, statistic
from passmuster.signals.base import Detector, change, observe, start
from passmuster.signals.find import signals

POLICY = WatchPolicy(mean_observations_between_false_alarms=300.0)
BASE = 0.04
RECORD = TrafficRecord("p", "", "live", "r", "b", "", None, "a", 0.9, False, (), 0.0, False, 0.0)


def begun(name: str, n_signals: int = 1) -> Detector:
    return start(name, signals[name], BASE, POLICY, n_signals, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", signals)
def test_it_keeps_its_false_alarm_rate(name: str) -> None:
    detector, rng = begun(name), np.random.default_rng(1)
    n, n_alarms, components = 400, 0, np.zeros((400, len(detector.mixture.weights)))
    for _ in range(3_000):
        components = shiryaev_roberts(detector.mixture, components, rng.random(n) < BASE)
        alarmed = statistic(detector.mixture, components) >= detector.bound
        n_alarms += int(alarmed.sum())
        components[alarmed] = 0.0
    per_alarm = n * 3_000 / n_alarms
    assert per_alarm > 300 * (1 + 3 / np.sqrt(n_alarms))
    assert per_alarm < 450  # as soon as it may


@pytest.mark.parametrize("name", signals)
def test_it_fires_on_a_planted_rise_and_says_when(name: str) -> None:
    began = []
    for seed in range(15):
        detector, rng = begun(name), np.random.default_rng(seed)
        for _ in range(100):
            detector = observe(detector, bool(rng.random() < BASE))
        if detector.fired:
            continue  # a false alarm, about one in four here
        n_rise = 0
        while not detector.fired and n_rise < 300:
            detector, n_rise = observe(detector, bool(rng.random() < 0.5)), n_rise + 1
        assert n_rise < 60
        assert change(detector).n_flagged / change(detector).n > 0.2
        began.append(change(detector).began)
    assert len(began) > 5
    assert abs(np.median(began) - 100) <= 10
    later = observe(detector, True)
    assert (later.statistic, later.fired, later.n_seen) == (detector.statistic, True, detector.n_seen + 1)


@pytest.mark.parametrize("name", signals)
def test_it_survives_json_at_any_point(name: str) -> None:
    flags = np.random.default_rng(3).random(120) < 0.15
    straight = thawed = begun(name)
    for flag in flags:
        straight = observe(straight, bool(flag))
        thawed = observe(from_plain(Detector, json.loads(json.dumps(to_plain(thawed)))), bool(flag))
        assert thawed == straight


@pytest.mark.parametrize("name", signals)
def test_sharing_the_rate_raises_the_bound(name: str) -> None:
    assert begun(name, 2).declared_between == 2 * begun(name, 1).declared_between
    assert begun(name, 2).bound > 1.8 * begun(name, 1).bound


@pytest.mark.parametrize("name", signals)
def test_its_flag_is_a_fact_about_one_answer(name: str) -> None:
    signal = signals[name]
    bad = replace(RECORD, novel=True, reasons=(UNREAD,))
    assert signal.flag(bad, "b") is True
    assert signal.flag(RECORD, "a") is False
    assert signal.title
    assert signal.observes in ("feedback", "prediction", "request")


@pytest.mark.parametrize("name", signals)
@pytest.mark.parametrize("rate", [0.0005, 0.02, 0.3, 0.6])
def test_it_watches_for_rises_above_any_base_rate(name: str, rate: float) -> None:
    mix = signals[name].mixture(rate, POLICY)
    assert rate < mix.alternatives[0] < mix.alternatives[-1] < 1
    assert sum(mix.weights) == pytest.approx(1)
