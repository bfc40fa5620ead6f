"""kill -9 of a watching process, wherever it strikes: no alarm is lost, none is doubled, no record counts twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import watch_case as case
from passmuster.stages.watch import watch_once
from passmuster.store.store import Store

ERRORS = [i % 20 == 0 for i in range(60)] + [True] * 60

# Watches the project in argv[1], and kills itself the n-th time that it comes to the named function of the loop.
DOOMED = """
import os, signal, sys
from pathlib import Path
from passmuster.stages.watch import loop
from passmuster.store.store import Store
folder, name, when, nth = sys.argv[1:]
real, calls = getattr(loop, name), []
def doomed(*given, **named):
    calls.append(1)
    if when == "before" and len(calls) == int(nth):
        os.kill(os.getpid(), signal.SIGKILL)
    found = real(*given, **named)
    if when == "after" and len(calls) == int(nth):
        os.kill(os.getpid(), signal.SIGKILL)
    return found
setattr(loop, name, doomed)
loop.step.__kwdefaults__["limit"] = 50
loop.watch_once(Store.open(Path(folder)))
"""


def settled(store: Store) -> None:
    """Everything was read and counted once, and there is one incident with its one event and its one move."""
    watch_once(store)
    state = case.state(store)
    assert state.live is not None
    assert (state.n_read, state.live.n_predictions, state.live.n_labels) == (240, 120, 120)
    assert state.live.detectors["errors.v1"].n_seen == 120
    assert state.n_corrected == 0
    (incident,) = case.incidents(store)
    (event,) = case.events(store)
    assert event.payload["incident"] == incident.id
    live = case.channels(store)["live"]
    assert (live.mode, live.generation) == ("degraded", 2)
    assert watch_once(store) == []


@pytest.mark.parametrize(
    ("name", "when", "nth"),
    [
        ("write_incident", "before", 1),  # the channel has moved, in a transaction that dies
        ("write_cursor", "after", 3),  # all is written, nothing is committed
        ("_tell", "before", 1),  # the act is committed, nobody has been told
        ("count_labels", "after", 2),  # a batch without an alarm, not committed
    ],
)
def test_a_kill_at_the_worst_moment(new_store, name: str, when: str, nth: int) -> None:
    store = case.project(new_store)
    case.Traffic(store).labelled(ERRORS)
    words = [sys.executable, "-c", DOOMED, str(store.folder), name, when, str(nth)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    committed = name == "_tell"
    assert len(case.incidents(store)) == len(case.events(store)) == int(committed)
    assert case.channels(store)["live"].mode == ("degraded" if committed else "normal")
    settled(store)


@pytest.mark.slow
def test_kills_at_random_moments(new_store) -> None:
    store = case.project(new_store)
    traffic, rng = case.Traffic(store), np.random.default_rng(0)
    parts = np.array_split(np.array(ERRORS), 6)
    for part in parts:
        process = subprocess.Popen(
            [sys.executable, "-m", "passmuster", "-q", "-C", str(store.folder), "watch", "--interval", "0.05s"],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            traffic.labelled([bool(error) for error in part])
            time.sleep(float(rng.uniform(0.5, 2.5)))
        finally:
            process.kill()
            process.wait()
    settled(store)
