"""The inputs behind an incident: what was asked, what was answered, and what people have said since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from passmuster.core.records import FailureRecord, Incident, TrafficRecord
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader


@dataclass(frozen=True)
class InputShown:
    """One item with what was answered, or why nothing was; its input is None where that was erased.

    `label` is the latest, "" where there is none.
    """

    record: TrafficRecord | FailureRecord
    label: str
    why: str


def inputs_of(store: Store, incident: Incident) -> Iterator[InputShown]:
    """What raised the alarms, then what the incident asks labels for; each prediction once, one in memory at a time."""
    reader = TrafficReader(store.traffic_folder)
    alarms = [incident.alarm.evidence, *(f.get("evidence", {}) for f in incident.alarm.evidence.get("further", []))]
    why: dict[str, str] = {}
    for key, reason in (("examples", "raised the alarm"), ("label_next", "a label is asked for")):
        for evidence in alarms:
            for id in evidence.get(key, []):
                why.setdefault(id, reason)
    labels = reader.labels()
    for id, reason in why.items():
        record = reader.prediction(id) or reader.failures([id], inputs=True).get(id)
        if record is not None:
            yield InputShown(record, labels.get(id, ""), reason)
