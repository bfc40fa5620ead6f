"""Which release answers an item, what it answers, and what is recorded of it. Runs in the batcher's thread."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from passmuster.core.clock import age_s, now
from passmuster.core.label_sets import split_label
from passmuster.core.records import Payload, Prediction, TrafficRecord
from passmuster.stages.serve.fleet import Lane, Lanes
from passmuster.stages.serve.meters import Meters

log = logging.getLogger("muster.serve")

PROVISIONAL = "provisional"


@dataclass(frozen=True)
class Asked:
    """One item of a request. `key` routes it ("" lets its id do so); `release` asks for one release by id."""

    payload: Payload
    key: str
    release: str
    arrived: float  # time.perf_counter() of the request


@dataclass(frozen=True)
class Answered:
    """An item's answer, where it came from, and what else is recorded of it."""

    id: str
    lane: Lane
    prediction: Prediction
    asked: Asked
    routing_key: str
    at: str
    latency_s: float

    def as_dict(self) -> dict[str, Any]:
        """What `POST /v1/predict` answers for the item."""
        p = self.prediction
        by_class = dict(zip(self.lane.predictor.classes, p.probabilities, strict=True))
        said = {"label": p.label} if p.whole is None else {"labels": scored(p.label, by_class)}
        return {
            "id": self.id,
            **said,
            "probability": p.probability,
            "probabilities": by_class,
            "prediction_set": p.prediction_set,
            "abstained": p.abstained,
            "reasons": p.reasons,
            "novelty": p.novelty,
            "release": self.lane.release.id,
            "channel": self.lane.channel.name,
        }


def scored(label: str, by_class: Mapping[str, float]) -> list[dict[str, Any]]:
    """The classes that a multi-label answer says, the most probable first.

    >>> scored('["broken","late"]', {"broken": 0.5, "late": 0.9, "lost": 0.1})
    [{'class': 'late', 'probability': 0.9}, {'class': 'broken', 'probability': 0.5}]
    """
    names = sorted(split_label(label), key=lambda name: (-by_class[name], name))
    return [{"class": name, "probability": by_class[name]} for name in names]


def answer(asked: Sequence[Asked], lanes: Lanes, keyed: Callable[[bytes], str]) -> list[Answered]:
    """Answers to items that share one batch; `lanes.main` is there.

    `keyed` is the store's: raw routing keys are not kept.
    """
    ids = [new_id() for _ in asked]
    routing_keys = [keyed((item.key or id).encode()) for id, item in zip(ids, asked, strict=True)]
    places = [choose_lane(lanes, key, item.release) for key, item in zip(routing_keys, asked, strict=True)]
    answers: dict[int, Answered] = {}
    for lane, positions in _by_lane(places):
        degraded = lane.channel.mode != "normal"
        predictions = lane.predictor.predict([asked[i].payload for i in positions], degraded=degraded)
        at, done = now(), time.perf_counter()
        for i, prediction in zip(positions, predictions, strict=True):
            if not places[i][1]:
                prediction = replace(prediction, abstained=True, reasons=(*prediction.reasons, PROVISIONAL))
            answers[i] = Answered(ids[i], lane, prediction, asked[i], routing_keys[i], at, done - asked[i].arrived)
    return [answers[i] for i in range(len(asked))]


def answer_in_shadow(answers: Sequence[Answered], lane: Lane, meters: Meters) -> list[Answered]:
    """What the shadow release would have answered to the same items; its failures are counted and harm nobody."""
    try:
        predictions = lane.predictor.predict([a.asked.payload for a in answers])
    except Exception as error:  # noqa: BLE001  (a shadow may fail in any way that a graph can)
        meters.shadow_failures.inc()
        log.warning("the shadow release %s failed: %s", lane.release.id, error)
        return []
    return [
        replace(a, id=f"{a.id}.shadow", lane=lane, prediction=prediction)
        for a, prediction in zip(answers, predictions, strict=True)
    ]


def choose_lane(lanes: Lanes, routing_key: str, release: str = "") -> tuple[Lane, bool]:
    """The lane for an item, and whether it may be answered there (a provisional lane answers only its share).

    A key keeps its place: the same key goes to the canary as long as the canary's share does not shrink.
    """
    if release:
        for lane in lanes.all():
            if lane.release.id == release:
                return lane, _may_answer(lane, routing_key)
    if lanes.canary is not None and position(routing_key) < lanes.canary.channel.share:
        return lanes.canary, _may_answer(lanes.canary, routing_key)
    assert lanes.main is not None, "the door refuses requests when nothing serves"
    return lanes.main, _may_answer(lanes.main, routing_key)


def _may_answer(lane: Lane, routing_key: str) -> bool:
    channel = lane.channel
    if channel.mode != "provisional":
        return True
    expired = bool(channel.expires) and age_s(channel.expires) > 0
    return not expired and position(routing_key) < channel.share


def position(routing_key: str) -> float:
    """Where a keyed hash (hexadecimal) lies in [0, 1).

    >>> position("8" + "0" * 31)
    0.5
    """
    return int(routing_key[:13], 16) / 16**13


def new_id() -> str:
    """A prediction id: 16 digits of time, so that ids sort, and 16 that nobody can guess."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


def _by_lane(places: Sequence[tuple[Lane, bool]]) -> list[tuple[Lane, list[int]]]:
    groups: dict[int, tuple[Lane, list[int]]] = {}
    for i, (lane, _) in enumerate(places):
        groups.setdefault(id(lane), (lane, []))[1].append(i)
    return list(groups.values())


def record_of(answered: Answered) -> TrafficRecord:
    """What is kept of an answer."""
    lane, prediction = answered.lane, answered.prediction
    return TrafficRecord(
        id=answered.id,
        at=answered.at,
        channel=lane.channel.name,
        release=lane.release.id,
        bundle=lane.release.bundle,
        routing_key=answered.routing_key,
        input=lane.predictor.modality.encode(answered.asked.payload),
        label=prediction.label,
        probability=prediction.probability,
        abstained=prediction.abstained,
        reasons=prediction.reasons,
        novelty=prediction.novelty,
        novel="novel" in prediction.reasons,
        latency_s=answered.latency_s,
    )
