"""Which release answers an item, what it answers, and what is recorded of it. Runs in the batcher's thread."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from passmuster.core.clock import age_s, now
from passmuster.core.errors import MusterError
from passmuster.core.label_sets import split_label
from passmuster.core.records import UNREAD, FailureRecord, Payload, Prediction, TrafficRecord
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
class Placed:
    """An item with the lane that is to answer it, and whether it may be answered there; `stands_in` where another lane
    was to, and did not."""

    id: str
    asked: Asked
    routing_key: str
    lane: Lane
    may_answer: bool
    stands_in: bool = False


@dataclass(frozen=True)
class Failed:
    """An item that got no answer at all, at the time `at` (ISO)."""

    item: Placed
    at: str
    error: Exception


@dataclass(frozen=True)
class Answered:
    """An item's answer at the time `at` (ISO), after `latency_s` seconds."""

    item: Placed
    at: str
    prediction: Prediction
    latency_s: float

    @property
    def lane(self) -> Lane:
        """Where it came from."""
        return self.item.lane

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
            "id": self.item.id,
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


def place(asked: Sequence[Asked], lanes: Lanes, keyed: Callable[[bytes], str]) -> list[Placed]:
    """Where each item goes; `lanes.main` is there. `keyed` is the store's: raw routing keys are not kept."""
    found = []
    for item in asked:
        id = new_id()
        routing_key = keyed((item.key or id).encode())
        found.append(Placed(id, item, routing_key, *choose_lane(lanes, routing_key, item.release)))
    return found


def answer(
    placed: Sequence[Placed], lanes: Lanes, *, patience_s: float, canary_s: float
) -> tuple[list[Answered | Failed], list[Answered | Failed]]:
    """Each item's answer, or its failure; and what the canary gave no class to, for which the main lane stepped in.

    A model that is away has `patience_s` for its answers, on the canary `canary_s`. A caller who asked for one release
    by id gets that one or none.
    """
    end = time.perf_counter() + patience_s
    found: dict[int, Answered | Failed] = {}
    covered: list[Answered | Failed] = []
    for lane, positions in _by_lane([item.lane for item in placed]):
        main = lanes.main
        stands_in = main is not None and lane is not main
        left_s = end - time.perf_counter()
        found |= _ask(lane, [(i, placed[i]) for i in positions], min(canary_s, left_s) if stands_in else left_s)
        if main is None or not stands_in:
            continue
        missed = [i for i in positions if not placed[i].asked.release and not _has_class(found[i])]
        covered += [found[i] for i in missed]
        again = [(i, stand_in(placed[i], main)) for i in missed]
        found |= _ask(main, again, end - time.perf_counter())
    return [found[i] for i in range(len(placed))], covered


def stand_in(item: Placed, main: Lane) -> Placed:
    """The same item for the main lane, after the one that was to answer it did not."""
    may_answer = _may_answer(main, item.routing_key)
    return replace(item, id=new_id(), lane=main, may_answer=may_answer, stands_in=True)


def _has_class(one: Answered | Failed) -> bool:
    return isinstance(one, Answered) and UNREAD not in one.prediction.reasons


def _ask(lane: Lane, placed: Sequence[tuple[int, Placed]], patience_s: float) -> dict[int, Answered | Failed]:
    """What a lane says to items, by their positions."""
    if not placed:
        return {}
    payloads = [item.asked.payload for _, item in placed]
    said = lane.asker.ask(payloads, degraded=lane.channel.mode != "normal", patience_s=patience_s)
    at, done = now(), time.perf_counter()
    found: dict[int, Answered | Failed] = {}
    for (i, item), one in zip(placed, said, strict=True):
        if isinstance(one, Exception):
            found[i] = Failed(item, at, one)
            continue
        if not item.may_answer:
            one = replace(one, abstained=True, reasons=(*one.reasons, PROVISIONAL))
        found[i] = Answered(item, at, one, done - item.asked.arrived)
    return found


def answer_in_shadow(
    answers: Sequence[Answered], lane: Lane, patience_s: float = math.inf
) -> list[Answered | Failed]:  # fmt: skip
    """What the shadow release says to the same items; its failures are kept and harm nobody."""
    items = [replace(one.item, id=f"{one.item.id}.shadow", lane=lane, stands_in=False) for one in answers]
    said = lane.asker.ask([item.asked.payload for item in items], patience_s=patience_s)
    return [
        Failed(item, one.at, told) if isinstance(told, Exception) else replace(one, item=item, prediction=told)
        for one, item, told in zip(answers, items, said, strict=True)
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


def _by_lane(lanes: Sequence[Lane]) -> list[tuple[Lane, list[int]]]:
    groups: dict[int, tuple[Lane, list[int]]] = {}
    for i, lane in enumerate(lanes):
        groups.setdefault(id(lane), (lane, []))[1].append(i)
    return list(groups.values())


def record_of(one: Answered | Failed) -> TrafficRecord | FailureRecord:
    """What is kept of an answer, or of its lack."""
    item, lane = one.item, one.item.lane
    asked: dict[str, Any] = {
        "id": item.id,
        "at": one.at,
        "channel": lane.channel.name,
        "release": lane.release.id,
        "bundle": lane.release.bundle,
        "routing_key": item.routing_key,
        "input": lane.predictor.modality.encode(item.asked.payload),
        "stands_in": item.stands_in,
    }
    if isinstance(one, Failed):
        return FailureRecord(**asked, code=failure_code(one.error), why=in_short(one.error))
    prediction = one.prediction
    return TrafficRecord(
        **asked,
        label=prediction.label,
        probability=prediction.probability,
        abstained=prediction.abstained,
        reasons=prediction.reasons,
        novelty=prediction.novelty,
        novel="novel" in prediction.reasons,
        latency_s=one.latency_s,
    )


def failure_code(error: Exception) -> str:
    """What a failure is counted under.

    >>> failure_code(ValueError("no such thing")), failure_code(MusterError("graph.run", "it broke"))
    ('serve.bug', 'graph.run')
    """
    return error.code if isinstance(error, MusterError) else "serve.bug"
