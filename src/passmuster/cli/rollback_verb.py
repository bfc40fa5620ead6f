"""`muster rollback`: point a channel back, for a recorded reason."""

from __future__ import annotations

from typing import Annotated

import typer

from passmuster.cli.approve_verb import ChannelName
from passmuster.cli.session import session_of
from passmuster.core.errors import UsageError


def rollback(
    context: typer.Context,
    channel: Annotated[ChannelName, typer.Argument(help="The channel to point back.")] = ChannelName.live,
    reason: Annotated[str, typer.Option(help="Why; recorded in the ledger.")] = "",
    to: Annotated[str, typer.Option(help="The release to go back to; the one before when left out.")] = "",
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Put nothing in its place: nothing answers on the channel any more.")
    ] = False,
) -> None:
    """Put the release before this one back; a canary with none before it is withdrawn."""
    from passmuster.stages.release import rollback as run

    session = session_of(context)
    if not reason:
        raise UsageError(
            "rollback.reason", "a rollback needs a reason", next=f'muster rollback {channel.value} --reason "REASON"'
        )
    pointed = run(session.store(), channel.value, reason=reason, to=to, withdraw=withdraw, dry_run=session.dry_run)
    would, gone = ("would serve", "would be withdrawn") if session.dry_run else ("serves", "is withdrawn")
    line = f"{pointed.name} {would} {pointed.release} again" if pointed.release else f"{pointed.name} {gone}"
    if not pointed.release and pointed.name == "live":
        line += ": nothing answers until another release is approved"
    lines = [line]
    if pointed.release and pointed.mode != "normal":
        lines.append(f"on the terms of its approval: {pointed.mode}, {pointed.share:.0%} of requests get an answer")
    after = "muster incidents" if pointed.release or pointed.name != "live" else "muster status"
    session.done(pointed, [*lines, f"reason, recorded: {reason}"], after)
