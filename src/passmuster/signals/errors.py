"""Errors that feedback shows: the prediction was not what its label says, whether it was shown or withheld."""

from __future__ import annotations

from passmuster.core.config import WatchPolicy
from passmuster.core.records import TrafficRecord
from passmuster.core.sequential import Mixture, mixture
from passmuster.signals.base import Signal


def is_error(record: TrafficRecord, label: str) -> bool:
    """Whether the most probable class is not the label; abstaining does not make an answer right."""
    return record.label != label


def error_rises(base_rate: float, policy: WatchPolicy) -> Mixture:
    """From the base rate plus `smallest_error_increase` upwards.

    >>> round(error_rises(0.05, WatchPolicy()).alternatives[0], 3)
    0.1
    """
    return mixture(base_rate, base_rate + policy.smallest_error_increase)


errors_v1 = Signal("predictions that feedback showed to be wrong", "feedback", is_error, error_rises)
