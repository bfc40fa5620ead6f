"""Sequential detectors: their statistics are e-processes, and the calibrated bound keeps the declared mean."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import UsageError
from passmuster.core.sequential import HEADROOM, Mixture, calibrate, mixture, shiryaev_roberts, statistic


def times_to_alarm(mix: Mixture, bound: float, rate: float, n: int, seed: int) -> np.ndarray:
    """Observations to the alarm, one observation at a time, in `n` streams."""
    rng, components, found, t = np.random.default_rng(seed), np.zeros((n, len(mix.weights))), [], 0
    while len(components):
        t += 1
        components = shiryaev_roberts(mix, components, rng.random(len(components)) < rate)
        alarmed = statistic(mix, components) >= bound
        found += [t] * int(alarmed.sum())
        components = components[~alarmed]
    return np.array(found)


@pytest.mark.parametrize(("null", "smallest"), [(0.05, 0.10), (0.2, 0.25), (0.004, 0.012), (0.5, 0.6)])
def test_likelihood_ratios_have_mean_one_at_the_null_rate_and_less_below(null: float, smallest: float) -> None:
    zero, one = (np.exp(log_ratio) for log_ratio in mixture(null, smallest).log_ratios)
    assert np.allclose(null * one + (1 - null) * zero, 1)
    below = null * 0.7
    assert (below * one + (1 - below) * zero < 1).all()


@pytest.mark.parametrize(
    ("null", "smallest", "declared"), [(0.05, 0.10, 400.0), (0.2, 0.25, 300.0), (0.02, 0.06, 600.0)]
)
def test_the_mean_time_to_a_false_alarm_is_what_was_declared(null: float, smallest: float, declared: float) -> None:
    mix = mixture(null, smallest)
    found = calibrate(mix, declared, rng=np.random.default_rng(1))
    times = times_to_alarm(mix, found.bound, null, 1_500, seed=2)
    error = times.std() / np.sqrt(len(times))
    assert times.mean() - 3 * error < found.expected_between < times.mean() + 3 * error
    assert times.mean() + 3 * error > declared * HEADROOM
    # a bound that left the overshoot unused would wait longer than needed
    assert times.mean() - 3 * error < declared * 1.3
    assert found.bound < declared


def test_a_lower_rate_only_makes_false_alarms_rarer() -> None:
    mix = mixture(0.1, 0.2)
    bound = calibrate(mix, 300, rng=np.random.default_rng(0)).bound
    at, below = (times_to_alarm(mix, bound, rate, 300, seed=3).mean() for rate in (0.1, 0.08))
    assert below > 1.5 * at


def test_the_statistic_never_falls_when_a_zero_becomes_a_one() -> None:
    mix, rng = mixture(0.1, 0.2), np.random.default_rng(4)
    flags = rng.random((50, 60)) < 0.15
    more = flags | (rng.random((50, 60)) < 0.05)
    a = b = np.zeros((50, len(mix.weights)))
    for t in range(60):
        a, b = shiryaev_roberts(mix, a, flags[:, t]), shiryaev_roberts(mix, b, more[:, t])
        assert (b >= a - 1e-12).all()


def test_calibration_repeats_with_its_generator() -> None:
    first, second = (calibrate(mixture(0.05, 0.1), 500, rng=np.random.default_rng(5)) for _ in range(2))
    assert first == second


def test_a_bound_too_low_to_calibrate_is_the_declared_number() -> None:
    mix = mixture(0.05, 0.1)
    found = calibrate(mix, 20, rng=np.random.default_rng(0))
    assert found.bound == 20
    assert times_to_alarm(mix, 20, 0.05, 2_000, seed=6).mean() > 20


@pytest.mark.parametrize(("null", "smallest"), [(0.0, 0.1), (0.1, 0.1), (0.9, 0.98), (-0.1, 0.2)])
def test_rates_without_a_rise_to_see_are_refused(null: float, smallest: float) -> None:
    with pytest.raises(UsageError) as caught:
        mixture(null, smallest)
    assert caught.value.code == "sequential.rates"


def test_a_mean_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="too short"):
        calibrate(mixture(0.1, 0.2), 0.5, rng=np.random.default_rng(0))
