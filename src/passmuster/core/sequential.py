"""Sequential detectors for streams of yes and no: a rise is seen soon, and one that is not there is seen rarely.

The null hypothesis is that each observation is a 1 with probability at most `null_rate`, whatever came before. For an
alternative rate q above it, the likelihood ratio ``L = (q / p0)^x ((1 - q) / (1 - p0))^(1 - x)`` has conditional mean
at most 1. The Shiryaev–Roberts recursion ``R <- (1 + R) L`` over such ratios, averaged over several q with fixed
weights, is an e-detector M (Shin, Ramdas and Rinaldo 2023, Definition 2.2 and section 4): M after t observations
minus t is a supermartingale, and so an alarm at ``M >= A`` comes after A observations or more in the mean.

That bound is wasteful, because M jumps past A. At `null_rate` M minus t is a martingale, so that the mean time to a
false alarm is exactly the mean of M at the alarm (Pollak 1987, eq. 3); `calibrate` finds the A at which it is what was
declared. M grows with every 0 that becomes a 1, so any lower rate makes false alarms rarer still.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from passmuster.core.errors import UsageError

N_ALTERNATIVES = 6
LARGEST_RATE = 0.97  # the largest alternative: further up a rise is seen after two or three observations anyway
WEIGHT_RATIO = 0.7  # of an alternative to the one below it: small rises are the slow ones to see
HEADROOM = (
    1.1  # the mean aimed at, over the mean declared, so that a test of the promise on 2,000 alarms can confirm it
)
SIMULATED_MEAN = 50_000.0  # above this mean the relative overshoot grows by a percent or two; it is taken from here


@dataclass(frozen=True)
class Mixture:
    """A null rate, the alternatives above it, and their weights, which sum to 1."""

    null_rate: float
    alternatives: tuple[float, ...]  # (k,)
    weights: tuple[float, ...]  # (k,)

    @property
    def log_ratios(self) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihood ratios of a 0 and of a 1, each ``(k,)``."""
        return _ratios(self.null_rate, self.alternatives)[:2]


@lru_cache(maxsize=64)
def _ratios(null_rate: float, alternatives: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms of the ratios of a 0 and of a 1, and the ratios; asked for at every observation, so kept."""
    q = np.asarray(alternatives)
    logs = np.log1p(-q) - np.log1p(-null_rate), np.log(q) - np.log(null_rate)
    found = (*logs, np.exp(logs[0]), np.exp(logs[1]))
    for array in found:
        array.flags.writeable = False
    return found


def mixture(null_rate: float, smallest: float) -> Mixture:
    """Alternatives from `smallest` up to `LARGEST_RATE`, evenly spaced in the logarithm of the rise.

    Raises
    ------
    UsageError
        ``sequential.rates`` unless ``0 < null_rate < smallest < LARGEST_RATE``: no rise is left to see.

    >>> [round(q, 2) for q in mixture(0.05, 0.10).alternatives]
    [0.1, 0.14, 0.21, 0.34, 0.56, 0.97]
    """
    if not 0 < null_rate < smallest < LARGEST_RATE:
        raise UsageError(
            "sequential.rates",
            "no rise can be watched for between these rates",
            value=f"from {null_rate:.4g} to {smallest:.4g} or more",
            limit=f"above 0 and below {LARGEST_RATE}",
            next="label more test items so that the base rate is better known, or watch for a smaller rise",
        )
    rises = np.geomspace(smallest - null_rate, LARGEST_RATE - null_rate, N_ALTERNATIVES)
    weights = WEIGHT_RATIO ** np.arange(N_ALTERNATIVES)
    return Mixture(null_rate, tuple((null_rate + rises).tolist()), tuple((weights / weights.sum()).tolist()))


def shiryaev_roberts(mix: Mixture, components: np.ndarray, flags: np.ndarray | bool) -> np.ndarray:
    """One step of the recursion for every alternative.

    Parameters
    ----------
    components : (..., k) the statistics so far, zeros at the start
    flags : (...) booleans, one observation per stream

    Returns
    -------
    (..., k) the statistics after the observation

    >>> shiryaev_roberts(Mixture(0.5, (0.75,), (1.0,)), np.zeros(1), True).tolist()
    [1.5]
    """
    zero, one = _ratios(mix.null_rate, mix.alternatives)[2:]
    following: np.ndarray = (1.0 + components) * np.where(np.asarray(flags)[..., None], one, zero)
    return following


def statistic(mix: Mixture, components: np.ndarray) -> np.ndarray:
    """The e-detector M ``(...)``: the weighted mean of the components ``(..., k)``."""
    found: np.ndarray = components @ np.asarray(mix.weights)
    return found


@dataclass(frozen=True)
class Calibration:
    """The bound on M at which to raise the alarm.

    `expected_between` is the mean number of observations to a false alarm at the null rate, estimated from `n_streams`
    simulated streams with `standard_error`; `declared` is the mean that was asked for.
    """

    bound: float
    declared: float
    expected_between: float
    standard_error: float
    n_streams: int


def calibrate(mix: Mixture, declared: float, *, rng: np.random.Generator, n_streams: int = 1_000) -> Calibration:
    """The bound at which the mean time between false alarms at the null rate is `declared` times `HEADROOM`.

    Streams are simulated at the null rate until each alarms. Their mean time to alarm is estimated by the mean of M at
    the alarm, which equals it and varies some ten times less; three standard errors are taken off. Where the
    simulation does not apply (a bound so low that a 0 could raise the alarm) the bound is `declared` itself, which
    needs no calibration.

    >>> found = calibrate(mixture(0.05, 0.10), 1_000, rng=np.random.default_rng(0), n_streams=200)
    >>> 500 < found.bound < 1_000 < found.expected_between
    True
    """
    if not declared >= 1:
        raise UsageError("sequential.declared", "the mean time between false alarms is too short", value=declared)
    simulated = min(declared, SIMULATED_MEAN) * HEADROOM
    seed = int(rng.integers(2**63))
    bound, ratio, error = simulated / 1.5, 1.0, 0.0
    if bound < 2 * _lowest_bound(mix):
        return Calibration(declared, declared, declared, 0.0, 0)
    for n in (n_streams // 8 + 2, n_streams):  # the relative overshoot hardly depends on the bound: a rough one first
        ratios = _alarm_statistics(mix, bound, n, np.random.default_rng(seed)) / bound
        ratio, error = float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(n))
        bound = simulated / (ratio - 3 * error)
    bound *= max(1.0, declared / SIMULATED_MEAN)
    return Calibration(bound, declared, bound * ratio, bound * error, n_streams)


def _lowest_bound(mix: Mixture) -> float:
    """Above this, a 0 never lifts M over the bound: ``a (1 + A) <= A`` where a is the largest ratio of a 0."""
    largest = float(np.exp(mix.log_ratios[0].max()))
    return largest / (1.0 - largest)


def _alarm_statistics(mix: Mixture, bound: float, n_streams: int, rng: np.random.Generator) -> np.ndarray:
    """M at the alarm ``(n_streams,)`` in streams at the null rate, simulated from one 1 to the next.

    A run of g zeros takes R to ``f + (R - f) a^g``, where a is the ratio of a 0 and ``f = a / (1 - a)`` the fixed
    point; the alarm can come only at a 1 (see `_lowest_bound`).
    """
    log_zero, log_one = mix.log_ratios
    zero, one, weights = np.exp(log_zero), np.exp(log_one), np.asarray(mix.weights)
    fixed = zero / (1.0 - zero)
    components = np.zeros((n_streams, len(weights)))
    found: list[np.ndarray] = []
    while len(components):
        n_zeros = rng.geometric(mix.null_rate, len(components)) - 1
        components = fixed + (components - fixed) * np.exp(n_zeros[:, None] * log_zero)
        components = (1.0 + components) * one
        value = components @ weights
        alarmed = value >= bound
        if alarmed.any():
            found.append(value[alarmed])
            components = components[~alarmed]
    return np.concatenate(found)
