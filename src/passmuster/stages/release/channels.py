"""Moving channels: approve a release, or put the one before it back. Each is one act with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, update

from passmuster.core.clock import now
from passmuster.core.errors import HeldError, IntegrityError, UsageError
from passmuster.core.records import Channel, Release, Report
from passmuster.core.settings import changed_settings
from passmuster.stages.release.deposed import Deposition, deposition
from passmuster.stages.release.sign import gates_digest
from passmuster.stages.release.signature import Signed, check_signed
from passmuster.store import keys, schema
from passmuster.store.approvals import until
from passmuster.store.releases import (
    point_channel,
    read_channels,
    read_release,
    read_report,
)
from passmuster.store.store import Store

ChannelName = Literal["live", "canary", "shadow"]
Mode = Literal["normal", "degraded", "provisional"]
NAMES: tuple[ChannelName, ...] = ("live", "canary", "shadow")


def approve(
    store: Store,
    release: str = "",
    *,
    channel: str = "live",
    override: str = "",
    provisional: bool = False,
    share: float | None = None,
    dry_run: bool = False,
) -> Channel:
    """Point a channel at a release, after checking every byte and signature of its bundle.

    Parameters
    ----------
    release : the id or bundle digest starts with this; the latest release when empty
    channel : "live", "canary" or "shadow"
    override : why a held or insufficient release is let through, on the canary only; or why one that was put back may
        return without new evidence; recorded
    provisional : serve an insufficient release behind a high abstention threshold, on a share, until it expires;
        on the live channel only while nothing else is live
    share : part of requests in (0, 1]; by default 1 for live, the policy's for a canary
    dry_run : check everything, move nothing, and return what the channel would be (generation 0)

    Raises
    ------
    HeldError
        ``approve.held``, ``approve.policy_changed``, ``approve.stale``, ``approve.superseded``; ``approve.put_back``
        for a bundle that was rolled back from, unless its report has test labels that were not there then, or
        `override` says why it may return.
    IntegrityError
        ``signature.*``, ``release.*``, ``bundle.*``: nothing was moved.
    UsageError
        ``approve.*`` for options that do not go together.
    """
    if channel not in NAMES:
        raise UsageError("approve.channel", "there is no such channel", value=channel, limit=", ".join(NAMES))
    if override and not override.strip():
        raise UsageError("approve.override", "an override needs a reason", next='--override "REASON"')
    with store.read() as db:
        chosen = read_release(db, release)
    signed = require_whole(store, chosen)
    wish = Wish(chosen, signed, channel, override, provisional)
    with store.read() as db:
        check_permitted(store, db, wish)
    part = chosen_share(store, channel, provisional, share)
    if dry_run:
        return Channel(channel, chosen.id, chosen.bundle, 0, part, "provisional" if provisional else "normal")
    return move(store, wish, part)


@dataclass(frozen=True)
class Wish:
    """What is asked for, with the bundle's bytes and signatures checked."""

    release: Release
    signed: Signed
    channel: str
    override: str
    provisional: bool


def check_permitted(store: Store, db: Connection, wish: Wish) -> Deposition | None:
    """Whether the channels, releases and reports of this moment permit it: asked before the act, and again inside it,
    because another may have moved a channel between the two. Returns how the bundle was put back before, if it was."""
    chosen, channel = wish.release, wish.channel
    latest = read_release(db, chosen.bundle).id
    newer = latest if latest != chosen.id else str(wish.signed.predicate.get("release"))
    if newer != chosen.id:
        raise HeldError(
            "approve.superseded", "the bundle was judged and signed again since", value=chosen.id, limit=newer,
            next=f"muster approve {newer}",
        )  # fmt: skip
    live = read_channels(db).get("live")
    found = read_report(db, chosen.bundle)
    past = deposition(db, chosen.bundle, channel, found[1] if found else None)
    returning = past is not None and not past.n_fresh
    if past is not None and returning and not wish.override:
        raise put_back(chosen, channel, past)
    if wish.provisional:
        if wish.override and not returning:
            raise UsageError("approve.options", "--override and --provisional exclude each other", next="choose one")
        check_provisional(chosen, channel, live)
    elif wish.override and not (returning and chosen.verdict == "SHIP"):
        check_override(chosen, channel, wish.override)
    else:
        check_shipped(store, chosen, wish.signed, channel, live, found[1] if found else None)
    if channel != "live" and live is None:
        raise UsageError(
            "approve.no_live", f"a {channel} stands beside a live release, and there is none", next="muster approve"
        )
    return past


def put_back(chosen: Release, channel: str, past: Deposition) -> HeldError:
    """What is said to whoever wants a release back that was rolled back from, with no new evidence."""
    beside = "" if channel == "live" else f" --channel {channel}"
    return HeldError(
        "approve.put_back",
        f"this bundle was put back from {past.channel} on {past.at[:19]} ({past.why}), and nothing is known since",
        value="0 test labels since then", limit="1 fresh test label, or a reason", where=channel,
        next=f"label test items and muster release; or muster approve {chosen.id}{beside} --override "
        '"WHY IT MAY RETURN"',
    )  # fmt: skip


def check_shipped(
    store: Store, chosen: Release, signed: Signed, channel: str, live: Channel | None, report: Report | None
) -> None:
    """Only SHIP passes, under the gates of today, judged against what is live today."""
    if chosen.verdict != "SHIP":
        insufficient = chosen.verdict == "INSUFFICIENT"
        beside = "" if live is None else " --channel canary"
        way = "muster train"
        if insufficient:
            way = f"muster label --for test, then muster release; or muster approve {chosen.id}{beside} --provisional"
        if not insufficient and live is not None:
            way = f'muster approve {chosen.id} --channel canary --override "REASON"'
        raise HeldError(
            "approve.held", f"the verdict on {chosen.id} is {chosen.verdict}", limit="SHIP", where=channel, next=way
        )
    if signed.predicate.get("gates_policy") != gates_digest(store.config.policy):
        raise HeldError(
            "approve.policy_changed",
            "the policy's gates were edited after the verdict",
            value=str(signed.predicate.get("policy"))[:12],
            limit=store.config.policy.digest()[:12],
            next=f"muster release {chosen.bundle[:16]}",
        )
    changed = changed_settings(report.sections.get("settings") or {}, store.config) if report is not None else ""
    if changed:
        raise HeldError(
            "approve.policy_changed", f"something else is said of {changed} than the verdict's report was measured by",
            where=channel, next=f"muster release {chosen.bundle[:16]}",
        )  # fmt: skip
    if channel != "live" or live is None or live.bundle == chosen.bundle:
        return
    # A report may name it and compare with nothing, because it did not open: it was withdrawn then, and is back.
    if report is None or report.incumbent != live.bundle or report.unopened:
        raise HeldError(
            "approve.stale",
            "the verdict does not compare with what is live now",
            value=report.incumbent[:16] if report and report.incumbent and not report.unopened else "no incumbent",
            limit=live.bundle[:16],
            next=f"muster release {chosen.bundle[:16]}",
        )


def check_override(chosen: Release, channel: str, override: str) -> None:
    """An override of a verdict needs one to override, and the canary."""
    if chosen.verdict == "SHIP":
        raise UsageError("approve.override", f"{chosen.id} needs no override: its verdict is SHIP", next="leave it out")
    if channel != "canary":
        raise HeldError(
            "approve.held", "an override opens the canary only", value=channel, limit="canary",
            next=f'muster approve {chosen.id} --channel canary --override "{override}"',
        )  # fmt: skip


def check_provisional(chosen: Release, channel: str, live: Channel | None) -> None:
    """Provisional service is for insufficient evidence, and never displaces a release that earned its place."""
    if chosen.verdict != "INSUFFICIENT":
        raise HeldError(
            "approve.provisional", f"provisional service is for INSUFFICIENT; the verdict is {chosen.verdict}",
            next=f"muster approve {chosen.id}" if chosen.verdict == "SHIP" else "muster train",
        )  # fmt: skip
    if channel == "shadow":
        raise UsageError("approve.provisional", "a shadow answers nobody; it needs no --provisional")
    if channel == "live" and live is not None and live.mode != "provisional":
        raise HeldError(
            "approve.provisional", "another release is live", value=live.release,
            next=f"muster approve {chosen.id} --channel canary --provisional",
        )  # fmt: skip


def chosen_share(store: Store, channel: str, provisional: bool, share: float | None) -> float:
    """The part of requests, as given or as the policy says."""
    everything = channel != "canary" and not provisional
    value = share if share is not None else 1.0 if everything else store.config.policy.canary.share
    if not 0 < value <= 1:
        raise UsageError("approve.share", "a share lies above 0 and up to 1", value=value)
    if everything and value != 1:
        raise UsageError(
            "approve.share",
            "a shadow is asked everything" if channel == "shadow" else "the live channel answers everything that no "
            "canary does", value=value, next="--channel canary",
        )  # fmt: skip
    return value


def require_whole(store: Store, release: Release) -> Signed:
    """The release's bundle, every byte and signature checked, and that it is the one meant."""
    signed = check_signed(store.bundle_folder(release.path), keys.public_key(store.keys_folder))
    if signed.predicate.get("bundle") != release.bundle:
        raise IntegrityError(
            "bundle.digest", "the folder holds another bundle", value=signed.predicate.get("bundle"),
            limit=release.bundle, where=release.path, next="muster verify",
        )  # fmt: skip
    return signed


def move(store: Store, wish: Wish, share: float) -> Channel:
    """The act. A canary that goes live leaves the canary channel."""
    chosen, channel = wish.release, wish.channel
    days = store.config.policy.canary.provisional_days
    expires = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="microseconds") if wish.provisional else ""
    mode: Mode = "provisional" if wish.provisional else "normal"
    with store.act("release.approve") as act:
        past = check_permitted(store, act.db, wish)
        pointed = point_channel(act, channel, chosen, share=share, mode=mode, expires=expires)
        canary = read_channels(act.db).get("canary")
        promoted = channel == "live" and canary is not None and canary.bundle == chosen.bundle
        if promoted:
            point_channel(act, "canary", None)
        if wish.override:
            row = schema.releases.c.id == chosen.id
            act.db.execute(update(schema.releases).where(row).values(override=wish.override))
        act.payload.update(
            channel=channel, release=chosen.id, bundle=chosen.bundle, verdict=chosen.verdict, mode=mode, share=share,
            expires=expires, override=wish.override, promoted=promoted,
            approved_until=expires or until(now(), store.config.policy.approval_days),
            returns={"from_event": past.seq, "n_fresh_test_labels": past.n_fresh} if past else {},
        )  # fmt: skip
    return pointed
