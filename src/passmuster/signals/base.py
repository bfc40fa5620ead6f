"""What a signal is, and the detector that follows one: a frozen state, advanced by pure functions, JSON at any point.

Signals share the declared mean number of observations between false alarms. One observation is one served prediction;
a signal looks at each at most once (errors only when its label arrives). With s signals each calibrated to s times the
declared number, the expected number of false alarms in N predictions is at most ``s N / (s declared)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from passmuster.core.config import WatchPolicy
from passmuster.core.records import TrafficRecord
from passmuster.core.sequential import Mixture, calibrate, shiryaev_roberts


@dataclass(frozen=True)
class Signal:
    """Something to be seen in a stream of answers.

    Parameters
    ----------
    title : what the flag means, for people
    observes : "feedback": once a label for the prediction has come; "prediction": at once; "request": at once, and
        every item that got no answer is flagged
    flag : the answer and its label ("" when it has none) to whether this observation counts against the release
    mixture : the base rate of flags, and the policy, to the rises watched for
    """

    title: str
    observes: Literal["feedback", "prediction", "request"]
    flag: Callable[[TrafficRecord, str], bool]
    mixture: Callable[[float, WatchPolicy], Mixture]


@dataclass(frozen=True)
class Detector:
    """One signal on one channel, after `n_seen` observations of which `n_flagged` were flagged.

    `components` are the Shiryaev–Roberts statistics of each alternative; `walks` the logarithms of their CUSUM
    (Page 1954), whose last zero, after `zero_seen` observations with `zero_flagged` flags, estimates when the change
    began. Once `fired` the statistic stays as it was at the alarm.
    """

    signal: str
    mixture: Mixture
    bound: float
    declared_between: float
    expected_between: float
    components: tuple[float, ...]
    walks: tuple[float, ...]
    zero_seen: tuple[int, ...]
    zero_flagged: tuple[int, ...]
    n_seen: int = 0
    n_flagged: int = 0
    fired: bool = False

    @property
    def statistic(self) -> float:
        """M, to be held against `bound`."""
        return float(np.dot(self.components, self.mixture.weights))


def rearm(detector: Detector) -> Detector:
    """The detector as if it had seen nothing yet, its counts going on: for what was found to be over."""
    nothing = (0.0,) * len(detector.components)
    here = (detector.n_seen,) * len(nothing), (detector.n_flagged,) * len(nothing)
    return replace(
        detector, components=nothing, walks=nothing, zero_seen=here[0], zero_flagged=here[1], fired=False
    )  # fmt: skip


@dataclass(frozen=True)
class Change:
    """Where the change probably began: after `began` observations; since then `n_flagged` of `n` were flagged."""

    began: int
    n: int
    n_flagged: int


def start(
    name: str, signal: Signal, base_rate: float, policy: WatchPolicy, n_signals: int, *, rng: np.random.Generator
) -> Detector:
    """A detector that has seen nothing.

    `base_rate` is the rate of flags in good times, or an upper bound of it. The declared number of observations between
    false alarms is shared by `n_signals` signals.

    Raises
    ------
    UsageError
        ``sequential.rates`` when no rise is left to see above the base rate.
    """
    mix = signal.mixture(base_rate, policy)
    between = policy.mean_observations_between_false_alarms * n_signals
    calibration = calibrate(mix, between, rng=rng)
    nothing, none = (0.0,) * len(mix.weights), (0,) * len(mix.weights)
    return Detector(
        name, mix, calibration.bound, between, calibration.expected_between, nothing, nothing, none, none
    )  # fmt: skip


def observe(detector: Detector, flag: bool) -> Detector:
    """The detector after one more observation."""
    n_seen, n_flagged = detector.n_seen + 1, detector.n_flagged + int(flag)
    if detector.fired:
        return replace(detector, n_seen=n_seen, n_flagged=n_flagged)
    mix = detector.mixture
    components = shiryaev_roberts(mix, np.asarray(detector.components), flag)
    walks = np.maximum(0.0, np.asarray(detector.walks) + mix.log_ratios[int(flag)])
    advanced = replace(
        detector,
        components=tuple(components.tolist()),
        walks=tuple(walks.tolist()),
        zero_seen=tuple(n_seen if w == 0 else z for w, z in zip(walks, detector.zero_seen)),
        zero_flagged=tuple(n_flagged if w == 0 else z for w, z in zip(walks, detector.zero_flagged)),
        n_seen=n_seen,
        n_flagged=n_flagged,
    )
    return replace(advanced, fired=advanced.statistic >= detector.bound)


def change(detector: Detector) -> Change:
    """When the rise probably began: the most likely moment, over every alternative watched for."""
    k = int(np.argmax(detector.walks))
    began = detector.zero_seen[k]
    return Change(began, detector.n_seen - began, detector.n_flagged - detector.zero_flagged[k])
