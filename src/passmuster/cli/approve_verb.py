"""`muster approve`: point a channel at a release that has earned it, or by a recorded exception."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from passmuster.cli.session import session_of

if TYPE_CHECKING:
    from passmuster.store.store import Store


class ChannelName(StrEnum):
    """The channels there are."""

    live = "live"
    canary = "canary"
    shadow = "shadow"


def approve(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="A release, or first digits of its bundle; the latest if none.")] = "",
    channel: Annotated[
        ChannelName | None,
        typer.Option(help="live unless named; a provisional one beside another: canary."),
    ] = None,
    override: Annotated[
        str, typer.Option(help="Why a held one may go on the canary, or one put back may return; recorded.")
    ] = "",
    provisional: Annotated[
        bool, typer.Option("--provisional", help="Serve an INSUFFICIENT one on a share, abstaining more, for a while.")
    ] = False,
    share: Annotated[float | None, typer.Option(help="Part of the requests, above 0 and up to 1.")] = None,
) -> None:
    """Check every byte of a release, then let a channel serve it."""
    from passmuster.stages.release import approve as run
    from passmuster.store.releases import read_channels, read_release

    session = session_of(context)
    store = session.store()
    with store.read() as db:
        live = read_channels(db).get("live")
        renewed = live is not None and live.mode == "provisional" and read_release(db, release).bundle == live.bundle
    beside = provisional and live is not None and not renewed
    named = channel.value if channel else "canary" if beside else "live"
    pointed = run(
        store, release, channel=named, override=override, provisional=provisional, share=share, dry_run=session.dry_run
    )
    would = "would serve" if session.dry_run else "serves"
    line = f"{pointed.name} {would} {pointed.release} ({pointed.share:.0%} of requests, {pointed.mode})"
    lines = [line]
    if not session.dry_run:
        lines += how_it_returned(store)
    if override:
        lines.append(f"by override, recorded: {override}")
    if not pointed.expires and not session.dry_run and pointed.name != "shadow":
        lines.append(f"approved for {store.config.policy.approval_days:g} days; then muster audit asks for it again")
    if pointed.expires:
        lines.append(f"until {pointed.expires[:19]}, or until the verdict is SHIP")
    session.done(pointed, lines, "muster serve" if pointed.name == "live" else "muster watch")


def how_it_returned(store: Store) -> list[str]:
    """Of the approval just made: that the bundle had been put back before, and on what it returns."""
    from passmuster.store import ledger

    with store.read() as db:
        *_, last = ledger.read(db, kind="release.approve")
    past = last.payload.get("returns")
    if not past:
        return []
    n = past["n_fresh_test_labels"]
    why = f"{n:,} test label{'' if n == 1 else 's'} fresher than that" if n else "a reason, without new evidence"
    return [f"it was put back before (event {past['from_event']}); it returns on {why}"]
