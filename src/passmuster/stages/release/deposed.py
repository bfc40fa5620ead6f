"""Releases that were put back: whether one was, and what is known of it that was not known then."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from passmuster.core.records import Event, Report
from passmuster.store import ledger
from passmuster.store.items import read_labels
from passmuster.store.releases import read_releases
from passmuster.store.schema import labels, snapshot_items

ANSWERING = ("live", "canary")  # a shadow answers nobody


@dataclass(frozen=True)
class Deposition:
    """A channel was moved away from a bundle, by a person's rollback or by the watch.

    `n_fresh` is how many test items in the report at hand had no label then.
    """

    seq: int
    at: str
    release: str
    channel: str
    why: str
    n_fresh: int


def deposition(db: Connection, bundle: str, channel: str, report: Report | None) -> Deposition | None:
    """The last time that `bundle` was put back from a channel that answers, unless `channel` took it up again since."""
    if channel not in ANSWERING:
        return None
    ids = {release.id for release in read_releases(db) if release.bundle == bundle}
    found: Event | None = None
    for event in ledger.read(db, kind=ledger.MOVES):
        if deposes(event, ids):
            found = event
        elif event.payload.get("channel") == channel and takes_up(event, ids):
            found = None
    if found is None:
        return None
    payload = found.payload
    why = str(payload.get("reason") or f"an alarm of {payload.get('signal', 'the watch')}")
    n_fresh = n_fresh_test_labels(db, report, found.at) if report is not None else 0
    return Deposition(found.seq, found.at, str(payload["from"]), str(payload["channel"]), why, n_fresh)


def was_deposed(db: Connection, channel: str, release: str) -> bool:
    """Whether the last move of `channel` away from `release` was a rollback, by a person or by the watch."""
    deposed = False
    for event in ledger.read(db, kind=ledger.MOVES):
        if event.payload.get("channel") != channel:
            continue
        if event.kind == "release.approve" and event.payload.get("release") == release:
            deposed = False
        elif event.payload.get("from") == release:
            deposed = deposes(event, {release})
    return deposed


def deposes(event: Event, ids: Collection[str]) -> bool:
    """Whether an event puts one of these releases back."""
    by_person = event.kind == "channel.rollback"
    by_watch = event.payload.get("action") in ("rollback", "withdraw")
    return event.payload.get("from") in ids and (by_person or by_watch) and event.payload.get("channel") in ANSWERING


def takes_up(event: Event, ids: Collection[str]) -> bool:
    """Whether an event puts one of these releases on its channel."""
    key = {"release.approve": "release", "channel.rollback": "to"}.get(event.kind)
    return key is not None and event.payload.get(key) in ids


def n_fresh_test_labels(db: Connection, report: Report, since: str) -> int:
    """How many test items in a report's evidence got their first label after `since`; a changed label is not fresh."""
    standing = read_labels(db, role="test")
    item = snapshot_items.c
    first = (
        select(labels.c.key)
        .where(labels.c.role == "test")
        .group_by(labels.c.key)
        .having(func.min(labels.c.at) > since, func.min(labels.c.at) <= report.created)
    )
    in_test = (item.snapshot == report.snapshot, item.split == "test", item.key.in_(first))
    return sum(key in standing for key in db.execute(select(item.key).where(*in_test)).scalars())
