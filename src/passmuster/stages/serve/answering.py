"""Which release answers an item, what it answers, and what is recorded of it. Runs in the batcher's thread."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from passmuster.core.clock import age_s, now
from passmuster.core.errors import MusterError
from passmuster.core.label_sets import split_label
from passmuster.core.records import FailureRecord, Payload, Prediction, TrafficRecord
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.stages.serve.asking import in_short
from passmuster.stages.serve.fleet import Lane, Lanes

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

    @property
    def by_class(self) -> dict[str, float]:
        """Probability by class; that an answer names none is no class, so they may add up to less than 1."""
        by_class = dict(zip(self.lane.predictor.classes, self.prediction.probabilities, strict=True))
        by_class.pop(NO_ANSWER, None)
        return by_class

    def as_dict(self) -> dict[str, Any]:
        """What `POST /v1/predict` answers for the item."""
        p = self.prediction
        by_class = self.by_class
        said = {"label": p.label} if p.whole is None else {"labels": scored(p.label, by_class)}
        return {
            "id": self.id,
            **said,
            "probability": p.probability,
            "probabilities": by_class,
            "prediction_set": [name for name in p.prediction_set if name != NO_ANSWER],
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


@dataclass(frozen=True)
class Failed:
    """An item that a release gave no answer to."""

    id: str
    lane: Lane
    error: Exception
    asked: Asked
    routing_key: str
    at: str


def answer(
    asked: Sequence[Asked], lanes: Lanes, keyed: Callable[[bytes], str]
) -> tuple[list[Answered | Failed], list[Failed]]:
    """Each item's answer, or its failure; and what the canary failed at, for which the main lane stepped in.

    The items share one batch; `lanes.main` is there. A caller who asked for one release by id gets that one or none.
    `keyed` is the store's: raw routing keys are not kept.
    """
    ids = [new_id() for _ in asked]
    routing_keys = [keyed((item.key or id).encode()) for id, item in zip(ids, asked, strict=True)]
    places = [choose_lane(lanes, key, item.release) for key, item in zip(routing_keys, asked, strict=True)]
    found: dict[int, Answered | Failed] = {}
    covered: list[Failed] = []
    for lane, positions in _by_lane(places):
        found |= _ask(lane, positions, asked, ids, routing_keys)
        if lane is not lanes.main and lanes.main is not None:
            missed = [i for i in positions if isinstance(found[i], Failed) and not asked[i].release]
            covered += [failed for i in missed if isinstance(failed := found[i], Failed)]
            for i in missed:
                ids[i], places[i] = new_id(), (lanes.main, _may_answer(lanes.main, routing_keys[i]))
            found |= _ask(lanes.main, missed, asked, ids, routing_keys)
    for i, (_, may_answer) in enumerate(places):
        one = found[i]
        if not may_answer and isinstance(one, Answered):
            withheld = replace(one.prediction, abstained=True, reasons=(*one.prediction.reasons, PROVISIONAL))
            found[i] = replace(one, prediction=withheld)
    return [found[i] for i in range(len(asked))], covered


def _ask(
    lane: Lane, positions: Sequence[int], asked: Sequence[Asked], ids: Sequence[str], routing_keys: Sequence[str]
) -> dict[int, Answered | Failed]:
    """What a lane says to the items at `positions`."""
    if not positions:
        return {}
    said = lane.asker.ask([asked[i].payload for i in positions], degraded=lane.channel.mode != "normal")
    at, done = now(), time.perf_counter()
    return {
        i: Failed(ids[i], lane, one, asked[i], routing_keys[i], at) if isinstance(one, Exception)
        else Answered(ids[i], lane, one, asked[i], routing_keys[i], at, done - asked[i].arrived)
        for i, one in zip(positions, said, strict=True)
    }  # fmt: skip


def answer_in_shadow(answers: Sequence[Answered], lane: Lane) -> list[Answered | Failed]:
    """What the shadow release says to the same items; its failures are kept and harm nobody."""
    at = now()
    said = lane.asker.ask([a.asked.payload for a in answers])
    return [
        Failed(f"{a.id}.shadow", lane, one, a.asked, a.routing_key, at) if isinstance(one, Exception)
        else replace(a, id=f"{a.id}.shadow", lane=lane, prediction=one)
        for a, one in zip(answers, said, strict=True)
    ]  # fmt: skip


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


def record_of(answered: Answered | Failed) -> TrafficRecord | FailureRecord:
    """What is kept of an answer, or of its lack."""
    if isinstance(answered, Failed):
        return _record_of_failure(answered)
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


def _record_of_failure(failed: Failed) -> FailureRecord:
    return FailureRecord(
        id=failed.id,
        at=failed.at,
        channel=failed.lane.channel.name,
        release=failed.lane.release.id,
        bundle=failed.lane.release.bundle,
        routing_key=failed.routing_key,
        input=failed.lane.predictor.modality.encode(failed.asked.payload),
        code=failure_code(failed.error),
        why=in_short(failed.error),
    )


def failure_code(error: Exception) -> str:
    """What a failure is counted under.

    >>> failure_code(ValueError("no such thing")), failure_code(MusterError("graph.run", "it broke"))
    ('serve.bug', 'graph.run')
    """
    return error.code if isinstance(error, MusterError) else "serve.bug"
