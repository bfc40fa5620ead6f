"""The loop: read what has come, advance the state, act on an alarm; cursor, state, incident and channel move together.

One transaction holds the cursor, the state that belongs to it, and on an alarm the incident, the channel's move and the
one ledger event ``incident.open``. A kill at any moment leaves all of it or nothing: no alarm is lost, none is doubled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from passmuster.core.clock import age_s, now
from passmuster.core.codec import to_plain
from passmuster.core.digests import sha256_hex
from passmuster.core.errors import ResourceError
from passmuster.core.records import (
    Alarm,
    Channel,
    FailureRecord,
    FeedbackRecord,
    Incident,
    TrafficRecord,
    harm_in_words,
)
from passmuster.signals.base import rearm
from passmuster.signals.unanswered import NAME as UNANSWERED
from passmuster.stages.watch.evidence import raise_alarm
from passmuster.stages.watch.follow import follow
from passmuster.stages.watch.respond import Response, respond
from passmuster.stages.watch.state import (
    CANARY_SIGNAL,
    CANARY_UNANSWERED,
    CURSOR,
    FAILED_BEFORE_ASKED_AGAIN,
    WatchState,
    pack,
    see_answer,
    see_failure,
    see_label,
    unpack,
)
from passmuster.store.incidents import (
    count_labels,
    counted_labels,
    read_cursor,
    read_incidents,
    write_cursor,
    write_incident,
)
from passmuster.store.releases import point_channel, read_channels, read_release
from passmuster.store.store import Act, Store
from passmuster.store.traffic import expire_inputs
from passmuster.store.traffic_reader import TrafficReader
from passmuster.store.traffic_segments import Record

ACTOR = "watch"
EXPIRE_EVERY_S = 3_600.0
BATCH = 512  # records read at a time


@dataclass(frozen=True)
class Notice:
    """Something that changed, in one line. `incident` is its id, "" for what is no incident."""

    kind: str
    text: str
    incident: str = ""


def watch(store: Store, *, interval_s: float, stop: threading.Event) -> Iterator[Notice]:
    """Watch until `stop` is set, looking every `interval_s` seconds; yields what changes, as it changes.

    Raises
    ------
    ResourceError
        ``lock.held`` when another process watches this project.
    """
    with store.lock("watch"):
        next_expiry = 0.0
        while not stop.is_set():
            try:
                if time.monotonic() >= next_expiry:
                    next_expiry = time.monotonic() + EXPIRE_EVERY_S
                    yield from expire_old_inputs(store)
                yield from _catch_up(store, stop)
            except ResourceError as problem:
                if problem.code != "catalog.busy":
                    raise
                yield Notice("busy", f"the catalog was busy; trying again: {problem}")
            stop.wait(interval_s)


def watch_once(store: Store) -> list[Notice]:
    """Take in what is there, act on it, and return what changed."""
    with store.lock("watch"):
        return [*expire_old_inputs(store), *_catch_up(store, threading.Event())]


def expire_old_inputs(store: Store) -> list[Notice]:
    """Erase inputs whose retention has passed, as servers do, for a project that nobody serves at the moment."""
    keep_days = store.config.policy.traffic.keep_inputs_days
    n = expire_inputs(store.traffic_folder, keep_days=keep_days, now=now())
    if not n:
        return []
    with store.act("traffic.expire", actor=ACTOR) as act:
        act.payload["n_inputs"] = n
    return [Notice("expired", f"{n} inputs are erased: they were kept for {keep_days:g} days")]


def _catch_up(store: Store, stop: threading.Event) -> Iterator[Notice]:
    while not stop.is_set():
        n_read, notices = step(store)
        yield from notices
        if n_read == 0 and not notices:
            return


def step(store: Store, *, limit: int = BATCH) -> tuple[int, list[Notice]]:
    """One batch of records, or one alarm; returns how many records were read and what changed."""
    notices = expire(store)
    with store.read() as db:
        kept = read_cursor(db, CURSOR)
        channels = read_channels(db)
    position, state = (kept[0], unpack(kept[1])) if kept else ("", WatchState())
    reader = TrafficReader(store.traffic_folder)
    followed = follow(store, state, channels)
    notices += _moved(state, followed)
    if followed.pending():
        return 0, notices + _alarm(store, reader, position, followed, channels, [])
    records, after = reader.read(position, limit)
    advanced, counted, n_taken = advance(store, reader, followed, records)
    while n_taken < len(records):  # an alarm in the middle: read again up to there, so that the cursor stops with it
        records, after = reader.read(position, n_taken)
        advanced, counted, n_taken = advance(store, reader, followed, records)
    if advanced.pending():
        return len(records), notices + _alarm(store, reader, after, advanced, channels, counted)
    if records or advanced != state or kept is None:
        with store.note() as db:
            count_labels(db, counted)
            write_cursor(db, CURSOR, after, pack(advanced))
    return len(records), notices


def advance(
    store: Store, reader: TrafficReader, state: WatchState, records: list[Record]
) -> tuple[WatchState, list[str], int]:
    """The state after `records`, or after the one that raises an alarm; the predictions whose labels it counted."""
    labelled = list({r.prediction for r in records if isinstance(r, FeedbackRecord)})
    predictions = reader.predictions(labelled) if labelled else {}
    with store.read() as db:
        done = counted_labels(db, labelled)
    counted: list[str] = []
    for i, record in enumerate(records):
        if isinstance(record, TrafficRecord):
            state = see_answer(state, record)
        elif isinstance(record, FailureRecord):
            state = see_failure(state, record)
        elif record.prediction not in predictions:
            state = replace(state, n_read=state.n_read + 1, n_unmatched=state.n_unmatched + 1)
        elif record.prediction in done:
            # What was looked at cannot be unseen: the first label counts here, the latest wherever labels are read.
            state = replace(state, n_read=state.n_read + 1, n_corrected=state.n_corrected + 1)
        else:
            done.add(record.prediction)
            counted.append(record.prediction)
            state = see_label(state, predictions[record.prediction], record.label)
        if state.pending():
            return state, counted, i + 1
    return state, counted, len(records)


def expire(store: Store) -> list[Notice]:
    """Withdraw what was provisional and has had its time; each is one act."""
    with store.read() as db:
        due = [c for c in read_channels(db).values() if _is_due(c)]
    notices = []
    for channel in due:
        with store.act("channel.expire", actor=ACTOR) as act:
            if read_channels(act.db).get(channel.name) == channel:
                point_channel(act, channel.name, None)
                notices.append(Notice("expired", f"{channel.name} is withdrawn: {channel.release} was provisional"))
            act.payload.update(channel=channel.name, release=channel.release, withdrawn=bool(notices))
    return notices


def _is_due(channel: Channel) -> bool:
    return channel.mode == "provisional" and bool(channel.expires) and age_s(channel.expires) > 0


def _moved(old: WatchState, new: WatchState) -> list[Notice]:
    """What is followed from now on, where that changed."""
    notices = []
    if new.live is not None and (old.live is None or old.live.generation != new.live.generation):
        watched = ", ".join(f"{n} (at most {d.mixture.null_rate:.1%})" for n, d in new.live.detectors.items())
        notices.append(Notice("following", f"watching {new.live.release}: {watched or 'nothing can be watched'}"))
        notices += [Notice("unwatched", f"{name}: {why}") for name, why in new.live.unwatched.items()]
    elif new.live is not None and old.live is not None and old.live.unwatched != new.live.unwatched:
        notices.append(Notice("following", f"watching {new.live.release} for errors too: a report has come"))
    if new.live is None and old.live is not None:
        notices.append(Notice("following", "nothing is live: nothing to watch"))
    if new.trial is not None and (old.trial is None or old.trial.generation != new.trial.generation):
        notices.append(Notice("following", f"comparing the canary {new.trial.release} with {new.trial.live_release}"))
    return notices


def _alarm(
    store: Store,
    reader: TrafficReader,
    position: str,
    state: WatchState,
    channels: dict[str, Channel],
    counted: list[str],
) -> list[Notice]:
    """Answer the pending alarm: one act that moves the channel, writes the incident, and keeps cursor and state."""
    signal = state.pending()
    alarm = raise_alarm(store, reader, state, signal)
    channel = channels[alarm.channel]
    response = respond(store, reader, alarm, channel)
    incident = _incident(store, state, alarm, response, channel)
    again = bool(incident.alarm.evidence.get("further"))
    try:
        with store.act("incident.escalate" if again else "incident.open", actor=ACTOR) as act:
            if read_channels(act.db).get(alarm.channel) != channel:
                raise _MovedMeanwhile
            moved = _move(act, channel, response)
            write_incident(act, incident)
            count_labels(act.db, counted)
            write_cursor(act.db, CURSOR, position, pack(_answered(state, signal, incident.id, moved, response)))
            act.payload.update(
                incident=incident.id, channel=alarm.channel, signal=signal, action=response.kind,
                to=response.target.id if response.target else "", **{"from": channel.release},
            )  # fmt: skip
    except _MovedMeanwhile:
        return []  # nothing was written; the next step looks afresh
    return [Notice("alarm", _tell(incident, alarm, response), incident.id)]


class _MovedMeanwhile(Exception):
    """Somebody moved the channel between measuring and acting."""


def _move(act: Act, channel: Channel, response: Response) -> Channel | None:
    if response.kind == "withdraw":
        return point_channel(act, channel.name, None)
    if response.kind == "rollback":
        return point_channel(act, channel.name, response.target)
    if response.kind == "degrade":
        same = read_release(act.db, channel.release)
        return point_channel(act, channel.name, same, share=channel.share, mode="degraded")
    return None


def _incident(store: Store, state: WatchState, alarm: Alarm, response: Response, channel: Channel) -> Incident:
    """A new incident; or, while one is open on the live release, that one with a further alarm."""
    known = state.live.incident if state.live is not None and alarm.channel == "live" else ""
    with store.read() as db:
        open_one = next((i for i in read_incidents(db) if known and i.id == known and not i.closed), None)
    decided = {"action": response.kind, "decision": response.facts, "mode_before": channel.mode}
    if open_one is not None:
        entry = {**to_plain(alarm), "at": now(), **decided}
        further = [*open_one.alarm.evidence.get("further", []), entry]
        first = replace(open_one.alarm, evidence={**open_one.alarm.evidence, "further": further})
        action = f"{open_one.action}; then, on {alarm.signal}: {response.words}"
        return replace(open_one, alarm=first, action=action, watermark=state.last_record)
    id = "i-" + sha256_hex(f"{channel.name}|{channel.generation}|{alarm.signal}|{state.last_record}".encode())[:10]
    shown = replace(alarm, evidence={**alarm.evidence, **decided})
    return Incident(id, now(), channel.name, channel.release, shown, response.words, watermark=state.last_record)


def _answered(
    state: WatchState, signal: str, incident: str, moved: Channel | None, response: Response
) -> WatchState:  # fmt: skip
    """The state once the alarm has been answered; a release that was replaced is forgotten."""
    if signal in (CANARY_SIGNAL, CANARY_UNANSWERED):
        trial = replace(state.trial, alarmed=True) if state.trial is not None and moved is None else None
        return replace(state, trial=trial)
    live = state.live
    assert live is not None
    if moved is not None and moved.release != live.release:
        return replace(state, live=None, trial=None)
    generation = moved.generation if moved is not None else live.generation
    alarmed = tuple(dict.fromkeys((*live.alarmed, signal)))
    live = replace(live, generation=generation, incident=incident, alarmed=alarmed)
    if signal == UNANSWERED:
        again = live.asks_again_at * (2 if live.n_failed_since else 1)
        live = replace(live, n_failed_since=0, asks_again_at=again, failures_from=now())
        if response.kind == "recovered":
            detectors = {**live.detectors, signal: rearm(live.detectors[signal])}
            alarmed = tuple(name for name in alarmed if name != signal)
            live = replace(live, detectors=detectors, alarmed=alarmed, asks_again_at=FAILED_BEFORE_ASKED_AGAIN)
    return replace(state, live=live)


def _tell(incident: Incident, alarm: Alarm, response: Response) -> str:
    harm = harm_in_words(alarm.harm_points, alarm.signal)
    seen = f"{alarm.signal} on {alarm.channel} crossed its bound after {alarm.n_seen} observations, {harm}"
    return f"incident {incident.id}: {seen}; {response.words}"
