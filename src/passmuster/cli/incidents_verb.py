"""`muster incidents`: what happened, with its evidence; and closing it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passmuster.cli.session import Session, session_of
from passmuster.core.errors import UsageError

if TYPE_CHECKING:
    from passmuster.core.records import Incident


def incidents(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[ID | resolve ID]", help="One incident, or the one to close.")
    ] = None,
    resolve: Annotated[str, typer.Option(help="Close this incident.")] = "",
    note: Annotated[str, typer.Option(help="What was found; recorded.")] = "",
) -> None:
    """List incidents, show one with its evidence, or close one: muster incidents resolve ID --note "…"."""
    session = session_of(context)
    given = list(words or [])
    if resolve and given:
        raise UsageError("incidents.words", "name one incident", value=" ".join(given), next="muster incidents ID")
    if given[:1] == ["resolve"]:
        resolve, given = (given[1] if len(given) == 2 else ""), given[2:]
        if not resolve:
            raise UsageError("incidents.words", "name the incident to close", next="muster incidents")
    if resolve:
        close(session, resolve, note)
    elif len(given) > 1:
        raise UsageError("incidents.words", "one incident at a time", value=" ".join(given), next="muster incidents ID")
    elif given:
        show(session, given[0])
    else:
        show_all(session)


def show_all(session: Session) -> None:
    """Every incident, latest first, one line each."""
    from passmuster.store.incidents import read_incidents

    with session.store().read() as db:
        found = read_incidents(db)
    lines = [_line(incident) for incident in found] or ["no incident so far"]
    open_ones = [incident for incident in found if not incident.closed]
    session.done(found, lines, f"muster incidents {open_ones[0].id}" if open_ones else "muster watch")


def show(session: Session, name: str) -> None:
    """One incident with all its evidence."""
    from passmuster.stages.watch.resolve import find_incident

    with session.store().read() as db:
        incident = find_incident(db, name)
    lines = [_line(incident), f"release: {incident.release}", f"watermark: {incident.watermark}"]
    if incident.closed:
        lines.append(f"closed {incident.closed}: {incident.resolution}")
    alarm = incident.alarm
    lines.append(f"{alarm.signal}: statistic {alarm.statistic:.4g}, bound {alarm.bound:.4g}, after {alarm.n_seen} seen")
    lines += _evidence_lines(alarm.evidence, "  ")
    resolve = f'muster incidents resolve {incident.id} --note "WHAT WAS FOUND"'
    session.done(incident, lines, "muster watch" if incident.closed else resolve)


def close(session: Session, name: str, note: str) -> None:
    """Close one incident."""
    from passmuster.stages.watch.resolve import find_incident, resolve_incident

    store = session.store()
    if session.dry_run:
        with store.read() as db:
            incident = find_incident(db, name)
        session.done(incident, [f"would close {_line(incident)}"], f"muster incidents resolve {incident.id}")
        return
    closed, moved = resolve_incident(store, name, note=note)
    lines = [f"{closed.id} is closed: {closed.resolution}"]
    if moved is not None:
        lines.append(f"{moved.name} serves {moved.release} in mode {moved.mode}, and is watched afresh")
    session.done({"incident": closed, "channel": moved}, lines, "muster watch")


def _line(incident: Incident) -> str:
    from passmuster.core.records import harm_in_words

    state = "closed" if incident.closed else "OPEN"
    harm = incident.alarm.harm_points
    points = harm_in_words(harm)
    when = incident.opened[:19].replace("T", " ")
    return f"{incident.id}  {state}  {when}  {incident.channel}: {incident.alarm.signal}, {points}; {incident.action}"


def _evidence_lines(evidence: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, value in evidence.items():
        words = name.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}{words}:", *_evidence_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines.append(f"{indent}{words}:")
            lines += [f"{indent}  {json.dumps(entry)}" for entry in value]
        else:
            lines.append(f"{indent}{words}: {_short(value)}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_short(v) for v in value) or "none"
    return str(value)
