"""The way back: a channel is pointed at the release before, or at nothing, for a recorded reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from passmuster.core.clock import age_s
from passmuster.core.errors import HeldError, NotFoundError, UsageError
from passmuster.core.records import Channel, Release
from passmuster.stages.release.channels import Mode, require_whole
from passmuster.stages.release.deposed import was_deposed
from passmuster.store import ledger
from passmuster.store.approvals import how_it_went
from passmuster.store.releases import held_since, point_channel, previous_release, read_channels, read_release
from passmuster.store.store import Store


@dataclass(frozen=True)
class WayBack:
    """Where a rollback leads: from what, to what (None: the channel is withdrawn), on which terms; and the later
    release of the same bundle that was held, which whoever names this one has to know."""

    present: Channel
    target: Release | None
    share: float = 1.0
    mode: Mode = "normal"
    expires: str = ""
    held_since: str = ""


def rollback(
    store: Store, channel: str = "live", *, reason: str, to: str = "", withdraw: bool = False, dry_run: bool = False
) -> Channel:
    """Point a channel back at the release before this one, or at `to`; a canary with none before it is withdrawn.

    Only a release that was approved for this channel can be gone back to, on the terms of that approval. With
    `withdraw` the channel points at nothing afterwards, whatever came before: the way out of a live release that does
    not open, or must not go on, where there is no other. Its bundle is not looked at.

    Raises
    ------
    NotFoundError
        ``rollback.none`` when there is nothing to go back to, ``release.none``.
    UsageError
        ``rollback.reason`` without a reason; ``rollback.options`` for `to` with `withdraw`; ``rollback.again`` when the
        release before was itself rolled back from; ``release.ambiguous``.
    HeldError
        ``rollback.held_since`` when the bundle before was judged again and held, unless `to` names it;
        ``rollback.never_approved``, ``rollback.expired``; ``rollback.moved`` when somebody moved the channel meanwhile.
    IntegrityError
        When the bundle to go back to is not whole; nothing was moved.
    """
    if not reason.strip():
        raise UsageError("rollback.reason", "a rollback needs a reason", next='--reason "REASON"')
    if withdraw and to:
        raise UsageError("rollback.options", "--withdraw and --to exclude each other", next="choose one")
    with store.read() as db:
        way = way_back(db, channel, to, withdraw=withdraw)
    target = way.target
    if target is not None:
        require_whole(store, target)
    if dry_run:
        names = (target.id, target.bundle) if target else ("", "")
        return Channel(channel, *names, 0, way.share, way.mode, way.expires)
    with store.act("channel.rollback") as act:
        if way_back(act.db, channel, to, withdraw=withdraw) != way:
            raise HeldError(
                "rollback.moved", "somebody moved the channel meanwhile; nothing was done", where=channel,
                next="look at it, then repeat the command",
            )  # fmt: skip
        pointed = point_channel(act, channel, target, share=way.share, mode=way.mode, expires=way.expires)
        act.payload.update(
            channel=channel, bundle=target.bundle if target else "", reason=reason, **{"from": way.present.release},
            to=target.id if target else "", held_since=way.held_since,
        )  # fmt: skip
    return pointed


def way_back(db: Connection, channel: str, to: str, *, withdraw: bool = False) -> WayBack:
    """Where a rollback of `channel` leads now; raises as `rollback` does."""
    present = read_channels(db).get(channel)
    if present is None:
        gone = how_it_went(db, channel)
        raise NotFoundError(
            "rollback.none", f"the channel {channel} points at nothing{f': {gone}' if gone else ''}",
            next="muster status names the way on" if gone else "muster approve",
        )  # fmt: skip
    if withdraw:
        return WayBack(present, None, present.share)
    before = to or previous_release(db, channel)
    if not before and channel == "live":
        raise NotFoundError(
            "rollback.none",
            "there is no release before this one",
            where=channel,
            next='muster release another, then approve; or muster rollback --withdraw --reason "REASON", after which '
            "nothing is live",
        )
    if not before:
        return WayBack(present, None, present.share)
    target = read_release(db, before)
    if not to and was_deposed(db, channel, target.id):
        raise UsageError(
            "rollback.again", f"{target.id}, the release before, was itself rolled back from",
            next=f"muster rollback --to {target.id}, or name another release",
        )  # fmt: skip
    held = held_since(db, target)
    if not to and held is not None:
        raise HeldError(
            "rollback.held_since", f"the bundle of {target.id}, the release before, was judged again since, and held",
            value=held.id, limit="SHIP", where=channel,
            next=f'muster rollback --to {target.id} --reason "REASON", or name another release',
        )  # fmt: skip
    since = held.id if held is not None else ""
    return WayBack(present, target, held_since=since, **terms_of_approval(db, channel, target))


def terms_of_approval(db: Connection, channel: str, release: Release) -> dict[str, Any]:
    """Share, mode and expiry of the last approval of a release for a channel, as the ledger has it."""
    approvals = [
        event.payload
        for event in ledger.read(db, kind="release.approve")
        if (event.payload.get("channel"), event.payload.get("release")) == (channel, release.id)
    ]
    if not approvals:
        raise HeldError(
            "rollback.never_approved", f"{release.id} was never approved for {channel}: there is no going back to it",
            value=release.verdict, where=channel, next=f"muster approve {release.id}",
        )  # fmt: skip
    terms = {name: approvals[-1][name] for name in ("share", "mode", "expires")}
    if terms["expires"] and age_s(terms["expires"]) > 0:
        raise HeldError(
            "rollback.expired", f"{release.id} was provisional, and its time is over", value=terms["expires"][:19],
            next="name another release",
        )  # fmt: skip
    return terms
