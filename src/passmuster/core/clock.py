"""Time as it is written in records: UTC, ISO 8601, microseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The present, for example ``"2026-11-23T12:00:00.000000+00:00"``."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def age_s(then: str) -> float:
    """Seconds since an ISO time."""
    return (datetime.now(UTC) - datetime.fromisoformat(then)).total_seconds()
