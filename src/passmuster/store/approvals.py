"""How long an approval holds. Nothing that answers stops when it ends: it reminds people to look, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from passmuster.core.clock import age_s
from passmuster.store import ledger
from passmuster.store.releases import read_channels

WARN_DAYS = 14.0
DAY_S = 86_400.0


@dataclass(frozen=True)
class Approval:
    """When the release on a channel was approved for it, and until when that holds."""

    channel: str
    release: str
    at: str
    until: str

    @property
    def days_left(self) -> float:
        """Days until it ends; below 0 when it has."""
        return -age_s(self.until) / DAY_S

    def words(self) -> str:
        """What to say of it; "" while it is far from its end.

        At its end nothing changes for whoever asks the model: answers go on.
        """
        left = self.days_left
        if left > WARN_DAYS:
            return ""
        then = "answers go on, and muster audit fails until it is renewed"
        again = f"muster audit, then muster approve {self.release}"
        if left < 0:
            return f"the approval of {self.release} on {self.channel} ended on {self.until[:10]}: {then}: {again}"
        return f"the approval of {self.release} on {self.channel} ends on {self.until[:10]}; then {then}: {again}"


def read_approvals(db: Connection, days: float) -> list[Approval]:
    """The approval behind each channel that answers, by the last time its release was approved for it.

    `days` is for approvals that were recorded without an end. A provisional release has an end of its own, at which
    it stops, and is left out.
    """
    channels = read_channels(db)
    return [
        found
        for name in ("live", "canary")
        if (channel := channels.get(name)) and channel.mode != "provisional"
        for found in approvals_of(db, name, channel.release, days)
    ]


def approvals_of(db: Connection, channel: str, release: str, days: float) -> Iterator[Approval]:
    """The last approval of a release for a channel, if there is one."""
    last = None
    for event in ledger.read(db, kind="release.approve"):
        if event.payload.get("channel") == channel and event.payload.get("release") == release:
            last = event
    if last is not None:
        yield Approval(channel, release, last.at, str(last.payload.get("approved_until") or until(last.at, days)))


def until(at: str, days: float) -> str:
    """`days` after an ISO time.

    >>> until("2026-01-01T00:00:00+00:00", 180)[:10]
    '2026-06-30'
    """
    return (datetime.fromisoformat(at) + timedelta(days=days)).isoformat(timespec="microseconds")
