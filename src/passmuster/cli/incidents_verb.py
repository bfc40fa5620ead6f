"""`muster incidents`: what happened, with its evidence; and closing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passmuster.cli.session import Session, session_of
from passmuster.core.errors import UsageError
from passmuster.core.label_sets import label_in_words

if TYPE_CHECKING:
    from passmuster.core.records import FailureRecord, Incident, TrafficRecord


def incidents(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID | show ID | resolve ID]", help="One incident; its inputs; or the one to close."),
    ] = None,
    resolve: Annotated[str, typer.Option(help="Close this incident.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder that images go to, with show.")] = None,
    note: Annotated[str, typer.Option(help="What was found; recorded.")] = "",
) -> None:
    """List incidents, show one or its inputs, or close one: muster incidents resolve ID --note "…"."""
    session = session_of(context)
    given = list(words or [])
    if resolve and given:
        raise UsageError("incidents.words", "name one incident", value=" ".join(given), next="muster incidents ID")
    if given[:1] == ["resolve"]:
        resolve, given = (given[1] if len(given) == 2 else ""), given[2:]
        if not resolve:
            raise UsageError("incidents.words", "name the incident to close", next="muster incidents")
    if given[:1] == ["show"]:
        if len(given) != 2:
            raise UsageError("incidents.words", "name the incident to show", next="muster incidents")
        show_inputs(session, given[1], out)
    elif resolve:
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
    from passmuster.core.records import harm_in_words
    from passmuster.stages.watch.resolve import find_incident
    from passmuster.stages.watch.status import in_digits

    with session.store().read() as db:
        incident = find_incident(db, name)
    lines = [_line(incident), f"release: {incident.release}", f"watermark: {incident.watermark}"]
    if incident.closed:
        lines.append(f"closed {incident.closed}: {incident.resolution}")
    alarm = incident.alarm
    lines.append(
        f"{alarm.signal}: statistic {in_digits(alarm.statistic)}, bound {in_digits(alarm.bound)}, "
        f"after {alarm.n_seen:,} seen"
    )
    own = _evidence_lines({k: v for k, v in alarm.evidence.items() if k != "further"}, "  ")
    lines += [line.replace("incidents show ID", f"incidents show {incident.id}") for line in own]
    for further in alarm.evidence.get("further", []):
        lines.append(
            f"{further['signal']} crossed its bound too, at {further['at'][:19].replace('T', ' ')}: statistic "
            f"{in_digits(further['statistic'])}, bound {in_digits(further['bound'])}, "
            f"after {further['n_seen']:,} seen; {harm_in_words(further['harm_points'], further['signal'])}; "
            f"{further['action']}"
        )
        lines += _evidence_lines(further["evidence"], "  ")
    lines.append(f'when looked into: muster incidents resolve {incident.id} --note "WHAT WAS FOUND"')
    session.done(incident, lines, "muster watch" if incident.closed else f"muster incidents show {incident.id}")


def show_inputs(session: Session, name: str, out: Path | None) -> None:
    """The texts or photos behind an incident, so that somebody can say what they are."""
    from passmuster.stages.watch import inputs_of
    from passmuster.stages.watch.resolve import find_incident

    store = session.store()
    with store.read() as db:
        incident = find_incident(db, name)
    is_text = store.config.project.modality == "text"
    folder = out or store.folder / f"incident-{incident.id}"
    lines, data = [_line(incident)], []
    for shown in inputs_of(store, incident):
        r = shown.record
        said = f"said to be {label_in_words(shown.label)}" if shown.label else shown.why
        answer = _answer_in_words(r)
        lines.append(f"{r.id}  {answer}; {said}")
        content = "erased, its time is over"
        if r.input is not None and is_text:
            content = " ".join(r.input.decode("utf-8", "replace").split())
        elif r.input is not None:
            path = folder / f"{r.id}.png"
            content = str(path)
            if not session.dry_run:
                folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(r.input)
        lines.append(f"    {content}")
        known = {"label": shown.label, "why": shown.why, "input": content}
        data.append({"id": r.id, "answer": getattr(r, "label", ""), "answer_in_words": answer, **known})
    after = f"""curl -s http://127.0.0.1:{store.config.serve.port}/v1/feedback -d '{{"id": "ID", "label": "LABEL"}}'"""
    if not any(row["answer"] for row in data):  # what got no answer has no prediction that a label could be of
        after = f'muster incidents resolve {incident.id} --note "WHAT WAS FOUND"'
    session.done({"incident": incident.id, "inputs": data}, lines, after)


def _answer_in_words(record: TrafficRecord | FailureRecord) -> str:
    from passmuster.core.records import TrafficRecord

    if isinstance(record, TrafficRecord):
        novel = ", novel" if record.novel else ""
        return f"answered {label_in_words(record.label)} ({record.probability:.0%}{novel})"
    return f"no answer ({record.code}: {record.why})"


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
    points = harm_in_words(incident.alarm.harm_points, incident.alarm.signal)
    when = incident.opened[:19].replace("T", " ")
    return f"{incident.id}  {state}  {when}  {incident.channel}: {incident.alarm.signal}, {points}; {incident.action}"


def _evidence_lines(evidence: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, value in evidence.items():
        words = name.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}{words}:", *_evidence_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for entry in value:
                lines.append(f"{indent}{words}:")
                lines += _evidence_lines(entry, indent + "  ")
        else:
            lines.append(f"{indent}{words}: {_short(value)}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_short(v) for v in value) or "none"
    return str(value)
