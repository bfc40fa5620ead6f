"""How long an approval holds. Nothing that answers stops when it ends: it reminds people to look, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from passmuster.core.clock import age_s
from passmuster.core.errors import NotFoundError
from passmuster.core.records import Channel
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


def approval_lines(db: Connection, days: float) -> list[str]:
    """What to say of what answers: approvals that end soon or have ended, and provisional releases with their ends."""
    channels = read_channels(db)
    trials = [provisional_words(channels[name]) for name in ("live", "canary") if name in channels]
    return [words for words in (*(one.words() for one in read_approvals(db, days)), *trials) if words]


def how_it_came(db: Connection, channel: Channel) -> str:
    """Who put a channel's release there, when, and for which recorded reason; "" where the ledger does not say."""
    found = ""
    for event in ledger.read(db, kind=ledger.MOVES):
        told = event.payload
        if told.get("channel") != channel.name:
            continue
        day, who = event.at[:10], event.actor
        if event.kind == "release.approve" and told.get("release") == channel.release:
            override = f", by override: {told['override']}" if told.get("override") else ""
            found = f"approved on {day} by {who}{override}"
        elif event.kind == "channel.rollback" and told.get("to") == channel.release:
            found = f"put back on {day} by {who}: {told.get('reason')}"
        elif told.get("action") == "rollback" and told.get("to") == channel.release:
            found = f"put back on {day} by the watch ({told.get('incident')})"
    return found


def how_it_went(db: Connection, name: str) -> str:
    """Who took away what a channel pointed at, when, and for which recorded reason; "" where it points at something,
    or never did."""
    if name in read_channels(db):
        return ""
    last = None
    for event in ledger.read(db, kind=ledger.MOVES):
        if any(row["name"] == name for row in event.payload.get("channels", ())):
            last = event
    if last is None:
        return ""
    told, day = last.payload, last.at[:10]
    if last.kind == "channel.expire":
        return f"{told.get('release')} was provisional, and its time ended on {day}"
    if last.kind == "channel.rollback":
        return f"{told.get('from')} was withdrawn on {day} by {last.actor}: {told.get('reason')}"
    if last.kind == "release.approve":
        return f"{told.get('release')} went live on {day}"
    return f"{told.get('from')} was withdrawn on {day} by the watch ({told.get('incident')})"


def points_at_nothing(db: Connection, name: str) -> NotFoundError:
    """The error for whoever asks a channel that points at no release: how that came, and what leads on."""
    gone, others = how_it_went(db, name), ", ".join(read_channels(db))
    return NotFoundError(
        "channel.none", f"the channel {name} points at no release{f': {gone}' if gone else ''}", value=name,
        limit=others or None, next="muster status names what can be approved" if gone else "muster approve",
    )  # fmt: skip


def provisional_words(channel: Channel) -> str:
    """What a channel answers that serves its release provisionally; "" of another.

    Unlike an approval that ends, a provisional one stops the answers.

    >>> trial = Channel("live", "r1", "b" * 64, 1, 0.1, "provisional", "2000-01-02T00:00:00+00:00")
    >>> provisional_words(trial)
    'r1 on live was provisional until 2000-01-02: every answer is withheld; muster release, then muster approve'
    """
    if channel.mode != "provisional":
        return ""
    name, alone = f"{channel.release} on {channel.name}", channel.name == "live"
    if channel.expires and age_s(channel.expires) > 0:
        withheld = "every answer is withheld" if alone else "requests that go to it get no answer"
        return f"{name} was provisional until {channel.expires[:10]}: {withheld}; muster release, then muster approve"
    ends = f" until {channel.expires[:10]}" if channel.expires else ""
    gets = "of requests get an answer, the rest is withheld" if alone else "of requests go to it"
    return f"{name} is provisional{ends}: {100 * channel.share:.3g} % {gets}"


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
