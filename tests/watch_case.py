"""Traffic for the watch, written by hand: pictures that a release answered, and labels that came later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import serving_case as case
from passmuster.core.clock import now
from passmuster.core.config import Config, WatchPolicy
from passmuster.core.records import Event, FeedbackRecord, Incident, Metric, Release, Report, TrafficRecord
from passmuster.core.statistics import wilson
from passmuster.modality.find import modalities
from passmuster.stages.watch.state import CURSOR, WatchState, unpack
from passmuster.store import ledger
from passmuster.store.incidents import read_cursor, read_incidents
from passmuster.store.releases import add_report, read_channels, read_release
from passmuster.store.store import Store
from passmuster.store.traffic import TrafficWriter
from passmuster.store.traffic_segments import Record

RIGHT, WRONG = "light", "dark"  # what every release answers here, and what it should not have
POLICY = WatchPolicy(mean_observations_between_false_alarms=500.0)


def project(new_store: Any, *, report: bool = True, watch: WatchPolicy = POLICY) -> Store:
    """An image project with release r1 live and, unless told otherwise, a report that it errs on 5 % of 400."""
    config = Config()
    store = new_store("image", replace(config, policy=replace(config.policy, watch=watch)))
    r1 = case.release(store, "r1")
    case.point(store, "live", r1)
    if report:
        add_evidence(store, r1)
    return store


def add_evidence(store: Store, release: Release, n_right: int = 380, n: int = 400) -> None:
    """A report on a release's bundle."""
    found = wilson(n_right, n)
    accuracy = Metric("accuracy", found.value, found.low, found.high, n)
    report = Report(release.bundle, "5" * 64, now(), "image", case.CLASSES, n, 1, (accuracy,), {}, {})
    with store.act("evaluate.done") as act:
        add_report(act.db, report)


class Traffic:
    """Writes answers and labels as a server of the project would; ids count up."""

    def __init__(self, store: Store) -> None:
        self.store, self.n = store, 0
        self.writer = TrafficWriter(store.traffic_folder, "test")
        self.rng = np.random.default_rng(0)

    def answer(self, **how: Any) -> TrafficRecord:
        """One answer of what the channel points at."""
        return self.answers(1, **how)[0]

    def answers(self, n: int, *, channel: str = "live", **how: Any) -> list[TrafficRecord]:
        """So many answers of what the channel points at."""
        with self.store.read() as db:
            found = read_release(db, read_channels(db)[channel].release)
        return [self._answer(found, channel, **how) for _ in range(n)]

    def _answer(self, found: Release, channel: str, novel: bool = False, **changed: Any) -> TrafficRecord:
        self.n += 1
        pixels = case.picture(0.75, self.rng)
        record = TrafficRecord(
            id=f"p{self.n:06d}", at=now(), channel=channel, release=found.id, bundle=found.bundle, routing_key="00",
            input=modalities["image"].encode(pixels), label=RIGHT, probability=0.9, abstained=novel,
            reasons=("novel",) if novel else (), novelty=1.0, novel=novel, latency_s=0.001,
        )  # fmt: skip
        return replace(record, **changed)

    def label(self, record: TrafficRecord, error: bool) -> FeedbackRecord:
        return FeedbackRecord(record.id, WRONG if error else RIGHT, "ana", now())

    def write(self, records: Sequence[Record]) -> None:
        self.writer.append(records)

    def labelled(self, errors: Sequence[bool], **how: Any) -> list[TrafficRecord]:
        """Answers, each followed by its label; written, and returned."""
        answers, records = self.answers(len(errors), **how), []
        for answer, error in zip(answers, errors, strict=True):
            records += [answer, self.label(answer, error)]
        self.write(records)
        return answers


def state(store: Store) -> WatchState:
    with store.read() as db:
        kept = read_cursor(db, CURSOR)
    return unpack(kept[1]) if kept else WatchState()


def incidents(store: Store) -> list[Incident]:
    with store.read() as db:
        return read_incidents(db)


def channels(store: Store) -> dict[str, Any]:
    with store.read() as db:
        return read_channels(db)


def events(store: Store, prefix: str = "incident.") -> list[Event]:
    with store.read() as db:
        return [event for event in ledger.read(db) if event.kind.startswith(prefix)]
