"""`muster watch`: follow the traffic, and act when a signal crosses its bound."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from typing import Annotated

import typer

from passmuster.cli.session import Session, session_of
from passmuster.core.budget import parse_duration_s
from passmuster.core.errors import UsageError

STATUS_EVERY_S = 60.0


def watch(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Take in what is there, act on it, and end.")] = False,
    interval: Annotated[str, typer.Option(help="How often to look, for example 1s.")] = "1s",
) -> None:
    """Watch the traffic; open an incident, roll back or degrade when errors or novelty rise."""
    from passmuster.stages.watch import read_status, watch_once

    session = session_of(context)
    store = session.store()
    if session.dry_run:
        status = read_status(store)
        session.done(status, ["nothing was read; where the watch stands:", *status.lines()], "muster watch")
        return
    if once:
        notices = watch_once(store)
        status = read_status(store)
        session.done(
            {"notices": notices, "status": status},
            [*(notice.text for notice in notices), *status.lines()],
            "muster incidents" if status.open_incidents else "muster watch",
        )
        return
    follow_until_stopped(session, seconds(interval))


def seconds(interval: str) -> float:
    """The interval, at least 50 ms so that looking costs nothing."""
    found = parse_duration_s(interval)
    if found < 0.05:
        raise UsageError(
            "watch.interval",
            "the interval is too short",
            value=interval,
            limit="0.05s",
            next="muster watch --interval 1s",
        )
    return found


def follow_until_stopped(session: Session, interval_s: float) -> None:
    """Watch until a signal asks to stop; one line on stdout per change, the status on stderr now and then."""
    from passmuster.stages.watch import read_status, watch

    store, stop = session.store(), threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    reporter = threading.Thread(target=_report, args=(session, stop), daemon=True)
    if not session.quiet:
        reporter.start()
    for notice in watch(store, interval_s=interval_s, stop=stop):
        tell = {"schema": 1, "verb": "watch", "notice": notice.__dict__}
        print(json.dumps(tell) if session.as_json else notice.text, flush=True)
    status = read_status(store)
    session.done({"notices": [], "status": status}, status.lines(), "muster incidents")


def _report(session: Session, stop: threading.Event) -> None:
    from passmuster.stages.watch import read_status

    store = session.store()
    while not stop.wait(STATUS_EVERY_S):
        clock = time.strftime("%H:%M:%S")
        print(f"{clock} {' · '.join(read_status(store).lines())}", file=sys.stderr, flush=True)
