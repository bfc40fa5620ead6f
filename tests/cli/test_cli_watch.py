"""`muster watch` and `muster incidents`; as processes, without what only training needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import command_case
import watch_case as case
from command_case import without_training
from passmuster.core.records import FailureRecord, FeedbackRecord
from passmuster.core.statistics import wilson
from passmuster.stages.watch import watch_once

BAD = [True] * 60


def muster(folder: Path, *words: str, expect: int = 0) -> str:
    """What the command says on stdout."""
    ended = command_case.muster(folder, *words)
    assert ended.returncode == expect, ended.stdout + ended.stderr
    return ended.stdout


def answered(folder: Path, *words: str) -> Any:
    return json.loads(muster(folder, "--json", *words))["data"]


def test_watch_once_then_the_incident_from_list_to_closed(new_store) -> None:
    store = case.project(new_store)
    case.Traffic(store).labelled(BAD)
    words = without_training(store.folder, "watch", "--once")
    said = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "watching r1: errors.v1 (at most 7.6%), novelty.v1" in said
    assert "degraded" in said
    assert "false alarms: one in 500 predictions" in said
    assert said.endswith("Next: muster incidents\n")
    (incident,) = case.incidents(store)
    listed = muster(store.folder, "incidents")
    assert f"{incident.id}  OPEN" in listed
    assert f"Next: muster incidents {incident.id}" in listed
    shown = muster(store.folder, "incidents", incident.id)
    assert f"base rate: {1 - wilson(380, 400).low:.4g}" in shown
    assert "label next:" in shown
    assert f"muster incidents show {incident.id}, then POST" in shown, "the id is known: nobody has to put it in"
    assert "e+" not in shown
    assert f"Next: muster incidents show {incident.id}" in shown
    assert answered(store.folder, "incidents", incident.id)["alarm"]["signal"] == "errors.v1"
    muster(store.folder, "incidents", "resolve", incident.id, expect=2)  # without a note
    muster(store.folder, "--dry-run", "incidents", "resolve", incident.id)
    assert not case.incidents(store)[0].closed
    closed = answered(store.folder, "incidents", "resolve", incident.id, "--note", "the lamp")
    assert closed["incident"]["resolution"] == "the lamp"
    assert closed["channel"]["mode"] == "normal"
    assert "closed" in muster(store.folder, "incidents")
    muster(store.folder, "incidents", "--resolve", incident.id, "--note", "again", expect=2)


def test_the_loop_tells_each_change_and_ends_in_order(new_store) -> None:
    store = case.project(new_store)
    case.Traffic(store).labelled(BAD)
    words = without_training(store.folder, "-q", "--json", "watch", "--interval", "0.1s")
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=one_thread)
    assert process.stdout is not None
    try:
        told = [json.loads(process.stdout.readline())["notice"]["kind"] for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        end = json.loads(process.stdout.read())
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert told == ["following", "alarm"]
    assert end["ok"]
    assert end["data"]["status"]["open_incidents"] == [case.incidents(store)[0].id]


def test_no_incident_is_said(new_store) -> None:
    store = case.project(new_store)
    assert "no incident so far" in muster(store.folder, "incidents")
    dry = muster(store.folder, "--dry-run", "watch")
    assert "nothing was read" in dry
    assert case.state(store).live is None


@pytest.mark.parametrize(
    ("words", "code", "expect"),
    [
        (["incidents", "i-none"], "incident.none", 8),
        (["incidents", "resolve"], "incidents.words", 2),
        (["incidents", "a", "b"], "incidents.words", 2),
        (["incidents", "a", "--resolve", "b"], "incidents.words", 2),
        (["watch", "--interval", "0.001s"], "watch.interval", 2),
        (["watch", "--interval", "soon"], "budget.duration", 2),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_code(new_store, words: list[str], code: str, expect: int) -> None:
    store = case.project(new_store)
    error = json.loads(muster(store.folder, "--json", *words, expect=expect))["error"]
    assert error["code"] == code
    assert error["next"] or code == "budget.duration"


def test_two_watches_do_not_run_at_once(new_store) -> None:
    store = case.project(new_store)
    with store.lock("watch"):
        error = json.loads(muster(store.folder, "--json", "watch", "--once", expect=6))["error"]
    assert error["code"] == "lock.held"


def test_the_photos_behind_an_incident_can_be_looked_at_and_labelled(new_store, tmp_path: Path) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    answers = traffic.answers(20, novel=True)
    traffic.write(answers)
    watch_once(store)
    traffic.write([FeedbackRecord(answers[0].id, "dark", "ana", answers[0].at)])
    (incident,) = case.incidents(store)
    told = muster(store.folder, "incidents", "show", incident.id, "--out", str(tmp_path / "out"))
    ids = incident.alarm.evidence["examples"]
    assert {p.stem for p in (tmp_path / "out").glob("*.png")} >= set(ids)
    assert (tmp_path / "out" / f"{answers[0].id}.png").read_bytes() == answers[0].input
    assert f"{answers[0].id}  answered light (90%, novel); said to be dark" in told
    assert f"{answers[1].id}  answered light (90%, novel); raised the alarm" in told
    assert "/v1/feedback" in told
    muster(store.folder, "incidents", "show", expect=2)


def test_a_further_alarm_is_told_in_words(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(20, novel=True))
    watch_once(store)
    traffic.labelled(BAD)
    watch_once(store)
    (incident,) = case.incidents(store)
    told = muster(store.folder, "incidents", incident.id)
    assert "\nerrors.v1 crossed its bound too, at " in told
    assert "accuracy points lost; degrade\n  base rate: " in told
    assert "{" not in told.replace('{"id": ..., "label": ...}', "")


def test_an_incident_of_requests_without_an_answer_asks_for_no_labels(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    lost = [{name: getattr(a, name) for name in ("id", "at", "channel", "release", "bundle", "routing_key", "input")}
            for a in traffic.answers(6)]  # fmt: skip
    traffic.write([FailureRecord(**one, code="endpoint.unanswered", why="status 502") for one in lost])
    watch_once(store)
    (incident,) = case.incidents(store)
    shown = muster(store.folder, "incidents", "show", incident.id, "--out", str(store.folder / "out"))
    assert "no answer (endpoint.unanswered: status 502); raised the alarm" in shown
    assert f'Next: muster incidents resolve {incident.id} --note "WHAT WAS FOUND"' in shown
    assert "usual_unanswered" in muster(store.folder, "incidents", incident.id)
