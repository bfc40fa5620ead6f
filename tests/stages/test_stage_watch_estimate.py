"""The watch estimates accuracy without labels: it says so, asks for labels, and acts only when labels show harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import serving_case
import watch_case as case
from passmuster.core.clock import now
from passmuster.core.codec import to_plain
from passmuster.core.config import WatchPolicy
from passmuster.core.records import Metric, Report
from passmuster.core.statistics import wilson
from passmuster.signals.label_free import AccuracyEstimator
from passmuster.stages.watch import read_status, watch_once
from passmuster.store.releases import add_report, read_release
from passmuster.store.store import Store

TAUGHT = AccuracyEstimator(
    ("confidence", "above", "familiarity"), 0.95, 400, 8, 0.02, 0.6, tuple(np.linspace(0, 2, 100).tolist()),
    (0.9, 1.0, 0.5), (2.0, 1.2, 0.5), (0.0,) * 3, (0.0,) * 3, (0.5, 0.5, 0.0), 1.0, 12.0, 0.9, 0.05,
)  # fmt: skip
POLICY = WatchPolicy(mean_observations_between_false_alarms=2_000.0, estimated_answers=100)
UNSURE = {"probability": 0.5}


def project(new_store, policy: WatchPolicy = POLICY) -> Store:
    """r1 is live, and its report taught an estimator."""
    store = case.project(new_store, report=False, watch=policy)
    add_report_of(store)
    return store


def add_report_of(store: Store) -> None:
    with store.read() as db:
        r1 = read_release(db, "r1")
    found = wilson(380, 400)
    accuracy = Metric("accuracy", found.value, found.low, found.high, 400)
    sections = {"estimated": {"estimator": to_plain(TAUGHT)}}
    report = Report(
        r1.bundle, "5" * 64, now(), "image", serving_case.CLASSES, 400, 1, (accuracy,), {}, sections
    )  # fmt: skip
    with store.act("evaluate.done") as act:
        add_report(act.db, report)


def test_quiet_answers_are_estimated_and_shown(new_store) -> None:
    store = project(new_store)
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(60))
    watch_once(store)
    assert "estimate.v1: 60 of 100 answers for the first estimate" in read_status(store).lines()
    traffic.write(traffic.answers(240))
    watch_once(store)
    (line,) = [line for line in read_status(store).lines() if line.startswith("estimate.v1")]
    assert line.startswith("estimate.v1: 95.0% right on the latest 100 answers, estimated without labels (")
    assert "asks for labels once it is surely below 90.0% (at most " in line
    assert line.endswith(" now)")
    assert "more since" not in line
    traffic.write(traffic.answers(30))
    watch_once(store)
    assert any("the latest 100 answers (30 more since), estimated" in line for line in read_status(store).lines())
    assert case.incidents(store) == []


def test_unsure_answers_ask_for_labels_and_change_nothing(new_store) -> None:
    store = project(new_store)
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(100) + traffic.answers(100, **UNSURE) + traffic.answers(5))
    (_, notice) = watch_once(store)
    (incident,) = case.incidents(store)
    evidence = incident.alarm.evidence
    assert (incident.alarm.signal, incident.alarm.n_seen, evidence["action"]) == ("estimate.v1", 200, "ask")
    assert incident.alarm.harm_points is None
    assert "accuracy is estimated at" in incident.action
    assert "labels are asked for" in notice.text
    assert "unknown without labels" in evidence["harm"]
    assert len(evidence["label_next"]) == 40
    assert incident.alarm.statistic < incident.alarm.bound == pytest.approx(0.9)
    assert case.channels(store)["live"].mode == "normal"
    assert "ALARM" in next(line for line in read_status(store).lines() if line.startswith("estimate.v1"))
    traffic.write(traffic.answers(100, **UNSURE))
    assert watch_once(store) == []  # one incident, while it is open


def test_labels_that_show_harm_act(new_store) -> None:
    store = project(new_store)
    traffic = case.Traffic(store)
    answers = traffic.answers(95, **UNSURE)
    told = [traffic.label(answer, error=i % 7 == 0) for i, answer in enumerate(answers[:42])]
    traffic.write([*answers, *told, *traffic.answers(5, **UNSURE)])
    watch_once(store)
    (incident,) = case.incidents(store)
    assert incident.alarm.signal == "estimate.v1"
    assert incident.alarm.evidence["harm_is_measured"]
    assert incident.alarm.evidence["action"] == "degrade"


def test_a_report_that_comes_later_teaches(new_store) -> None:
    store = case.project(new_store, report=False, watch=POLICY)
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(30))
    watch_once(store)
    assert read_status(store).estimate is None
    add_report_of(store)
    traffic.write(traffic.answers(10))
    watch_once(store)
    estimate = read_status(store).estimate
    assert estimate is not None
    assert estimate.n_seen == 10


def test_a_policy_that_wants_none_has_none(new_store) -> None:
    store = project(new_store, replace(POLICY, estimated_answers=0))
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(150, **UNSURE))
    watch_once(store)
    assert read_status(store).estimate is None
    assert case.incidents(store) == []
