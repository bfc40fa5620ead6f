"""Requests that got no class: the release failed, or a model that is elsewhere said something that names none."""

from __future__ import annotations

from passmuster.core.config import WatchPolicy
from passmuster.core.records import UNREAD, TrafficRecord
from passmuster.core.sequential import LARGEST_RATE, Mixture, mixture
from passmuster.signals.base import Signal

NAME = "unanswered.v1"


def is_unanswered(record: TrafficRecord, label: str) -> bool:
    """Whether an answer names no class; a request that failed altogether counts without being asked of here."""
    return UNREAD in record.reasons


def unanswered_rises(base_rate: float, policy: WatchPolicy) -> Mixture:
    """From the base rate plus `smallest_error_increase` upwards, or halfway to 1 when that is more than can be.

    >>> round(unanswered_rises(0.01, WatchPolicy()).alternatives[0], 3)
    0.06
    """
    largest = base_rate + (LARGEST_RATE - base_rate) / 2
    return mixture(base_rate, min(base_rate + policy.smallest_error_increase, largest))


unanswered_v1 = Signal("requests that got no class", "request", is_unanswered, unanswered_rises)
