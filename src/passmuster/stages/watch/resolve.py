"""Closing an incident: what was found, by whom, and the channel back to normal."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from passmuster.core.clock import now
from passmuster.core.errors import UsageError
from passmuster.core.records import Channel, Incident
from passmuster.store.incidents import read_incidents, write_incident
from passmuster.store.naming import the_one_named
from passmuster.store.releases import point_channel, read_channels, read_release
from passmuster.store.store import Act, Store


def find_incident(db: Connection, name: str) -> Incident:
    """The incident whose id starts with `name`.

    Raises
    ------
    NotFoundError
        ``incident.none``.
    UsageError
        ``incident.ambiguous`` when several do.
    """
    found = {incident.id: incident for incident in read_incidents(db)}
    return found[the_one_named(name, found, noun="incident", what="incident", next="muster incidents")]


def resolve_incident(store: Store, name: str, *, note: str) -> tuple[Incident, Channel | None]:
    """Close an incident; if its release is still in the channel, that goes back to normal and is watched afresh.

    Returns the closed incident and the channel where it moved.

    Raises
    ------
    UsageError
        ``incident.note`` without a note; ``incident.closed`` when it was closed before.
    """
    if not note.strip():
        raise UsageError(
            "incident.note", "say what was found", next=f'muster incidents resolve {name} --note "WHAT WAS FOUND"'
        )
    with store.act("incident.resolve") as act:
        incident = find_incident(act.db, name)
        if incident.closed:
            raise UsageError("incident.closed", "this incident is closed already", value=incident.closed)
        closed = replace(incident, closed=now(), resolution=note.strip())
        write_incident(act, closed)
        moved = _back_to_normal(act, closed)
        act.payload.update(incident=incident.id, channel=incident.channel, mode=moved.mode if moved else "")
    return closed, moved


def _back_to_normal(act: Act, incident: Incident) -> Channel | None:
    """The channel's next generation, which makes the watch begin anew; None when another release is there by now."""
    db = act.db
    channel = read_channels(db).get(incident.channel)
    if channel is None or channel.release != incident.release:
        return None
    others = [
        i for i in read_incidents(db) if not i.closed and i.channel == channel.name and i.release == channel.release
    ]
    if others:
        return None
    return point_channel(
        act,
        channel.name,
        read_release(db, channel.release),
        share=channel.share,
        mode="normal" if channel.mode == "degraded" else channel.mode,
        expires=channel.expires,
    )
