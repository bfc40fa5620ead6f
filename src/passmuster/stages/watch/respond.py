"""What an alarm leads to, as the policy says: withdraw, roll back, degrade, or only record it.

A release is put back only when it is measurably better on the labelled traffic of late: both bundles answer the same
stored inputs, and the exact McNemar test says so. Otherwise the live release abstains more, and labels are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import Any, Literal

from passmuster.core.errors import MusterError
from passmuster.core.paired import mcnemar_exact
from passmuster.core.records import UNREAD, Alarm, Channel, FailureRecord, Release, TrafficRecord
from passmuster.core.waiting import Waiters
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.engine import HTTP
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.signature import check_signature
from passmuster.signals.estimate import NAME as ESTIMATE
from passmuster.signals.unanswered import NAME as UNANSWERED
from passmuster.store import keys
from passmuster.store.releases import held_since, previous_release, read_release
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader

N_AGAIN = 10  # latest requests without an answer that releases are asked about again
ASKED_FOR_S = 30.0  # at most, of each release
N_AT_ONCE = 4  # stored inputs in memory at a time, while releases are compared

Kind = Literal["withdraw", "rollback", "degrade", "ask", "recovered", "none"]


@dataclass(frozen=True)
class Response:
    """What to do with the channel, in words for the incident, and the facts that decided."""

    kind: Kind
    words: str
    target: Release | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def respond(store: Store, reader: TrafficReader, alarm: Alarm, channel: Channel) -> Response:
    """Decide what `alarm` on `channel` leads to; changes nothing."""
    policy = store.config.policy.watch
    if policy.on_alarm == "record":
        return Response("none", "recorded only, as the policy says")
    if channel.name != "live":
        return Response("withdraw", f"the {channel.name} was withdrawn")
    if alarm.signal == UNANSWERED:  # to abstain more, or to ask for labels, would bring no answer
        if policy.on_alarm == "degrade":
            return Response("none", "nothing was changed: the policy lets no other release take its place")
        target, facts = answering_release(store, reader, channel)
        if target is not None:
            return Response("rollback", f"rolled back to {target.id}, which answers", target, facts)
        kind: Kind = "recovered" if facts.get("recovered") else "none"
        return Response(kind, f"nothing was changed: {facts['rollback']}", None, facts)
    facts = {}
    if policy.on_alarm == "rollback-or-degrade":
        target, facts = better_release(store, reader, channel)
        if target is not None:
            return Response("rollback", f"rolled back to {target.id}", target, facts)
    if alarm.signal == "novelty.v1" and policy.on_novelty == "ask" and not alarm.evidence["harm_is_measured"]:
        return Response("ask", "nothing was changed: inputs are new, labels for them are asked for", None, facts)
    if alarm.signal == ESTIMATE and not alarm.evidence["harm_is_measured"]:
        return Response("ask", f"nothing was changed: {alarm.evidence['estimated']}, labels are asked for", None, facts)
    if channel.mode == "provisional":
        if alarm.signal == "errors.v1":
            return Response(
                "withdraw", "the provisional release was withdrawn: the evidence is against it", None, facts
            )
        return Response("none", "provisional already: it abstains below a high probability", None, facts)
    if channel.mode == "degraded":
        return Response("none", "degraded already", None, facts)
    return Response("degrade", "degraded: answers below a high probability are withheld", None, facts)


def better_release(store: Store, reader: TrafficReader, channel: Channel) -> tuple[Release | None, dict[str, Any]]:
    """The release before this one if it is measurably better on recent labelled traffic, and what was measured."""
    target, why_not = _release_before(store, channel)
    if target is None:
        return None, {"rollback": why_not}
    with store.read() as db:
        present = read_release(db, channel.release)
    recent = reader.recent(store.config.policy.watch.recent_labels)
    labels = {record.id: label for record, label in recent if record.channel != "shadow"}
    try:
        right = compare(store, reader, target, present, labels)
    except MusterError as problem:  # a bundle that is not whole is not rolled back to; the incident says why
        return None, {"rollback": f"{target.id} could not be compared: {problem}"}
    if not right:
        return None, {"rollback": f"no labelled traffic to compare {target.id} on"}
    only_target, only_present = sum(a and not b for a, b in right), sum(b and not a for a, b in right)
    p = mcnemar_exact(only_target, only_present)
    alpha = store.config.policy.alpha
    measured = {
        "candidate": target.id,
        "n": len(right),
        "accuracy_candidate": sum(a for a, _ in right) / len(right),
        "accuracy_present": sum(b for _, b in right) / len(right),
        "only_candidate_right": only_target,
        "only_present_right": only_present,
        "p_mcnemar": p,
        "alpha": alpha,
    }
    better = only_target > only_present and p <= alpha
    words = f"{target.id} is {'' if better else 'not '}measurably better on recent labelled traffic"
    return (target if better else None), {"rollback": words, "compared": measured}


def _release_before(store: Store, channel: Channel) -> tuple[Release | None, str]:
    """The release that a machine may put back, or why there is none."""
    with store.read() as db:
        before = previous_release(db, channel.name)
        if not before or before == channel.release:
            return None, "there is no release before this one"
        target = read_release(db, before)
        held = held_since(db, target)
    if target.verdict != "SHIP":  # the alarm of a machine does not let through what no person may
        return None, f"{target.id} has not passed the gates: {target.verdict}"
    if held is not None:
        return None, f"the bundle of {target.id} was judged again since and held: {held.id}"
    return target, ""


def answering_release(
    store: Store, reader: TrafficReader, channel: Channel
) -> tuple[Release | None, dict[str, Any]]:  # fmt: skip
    """The release before this one if it measurably answers more of what this one failed at, both asked now; and what
    was measured. With fewer failures than can show that, it is asked again when there are more.
    """
    target, why_not = _release_before(store, channel)

    def failed(record: TrafficRecord | FailureRecord) -> bool:
        own = (record.channel, record.release) == (channel.name, channel.release) and record.at >= channel.updated
        return own and not record.stands_in and (isinstance(record, FailureRecord) or UNREAD in record.reasons)

    ids = [record.id for record in reader.latest(N_AGAIN, of=failed)]
    kept: dict[str, TrafficRecord | FailureRecord] = {**reader.failures(ids, inputs=True)}
    kept |= reader.predictions(ids, inputs=True)
    inputs = {id: record.input for id, record in kept.items() if record.input is not None}
    if not inputs:
        return None, {"rollback": why_not or "no input is kept that a release could be asked about again"}
    ours = unanswered_now(store, channel.release, inputs)
    if not ours:
        n = len(inputs)
        return None, {"rollback": f"{channel.release} answers again, all {n} that it had failed at", "recovered": True}
    if target is None:
        return None, {"rollback": why_not}
    theirs = unanswered_now(store, target.id, inputs)
    only_target, only_present = len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys())
    p, alpha = mcnemar_exact(only_target, only_present), store.config.policy.alpha
    measured = {
        "candidate": target.id,
        "n": len(inputs),
        "unanswered_by_candidate": len(theirs),
        "unanswered_by_present": len(ours),
        "p_mcnemar": p,
        "alpha": alpha,
        **({"why_candidate_failed": next(iter(theirs.values()))} if theirs else {}),
    }
    if only_target > only_present and p <= alpha:
        return target, {"rollback": f"{target.id} answers what {channel.release} does not", "compared": measured}
    few = only_target > only_present
    words = f"{target.id} {'answers more, of too few to tell yet' if few else 'does not answer more'}"
    return None, {"rollback": words, "compared": measured}


def unanswered_now(store: Store, release_id: str, inputs: Mapping[str, bytes]) -> dict[str, str]:
    """Those of `inputs` that a release gives no class to when it is asked now, by id, and why not.

    A model elsewhere is asked about all of them at once, and what has not come after `ASKED_FOR_S` counts as no answer:
    the watch has other things to look at.
    """
    with store.read() as db:
        release = read_release(db, release_id)
    try:
        predictor = checked_predictor(store, release)
    except MusterError as problem:  # a bundle that is not whole answers nothing
        return dict.fromkeys(inputs, problem.code)

    def ask(data: bytes) -> str:
        try:
            prediction = predictor.predict([predictor.modality.decode(data, store.config.data)])[0]
        except Exception as problem:  # noqa: BLE001  (a graph can fail in any way, and that is what is asked here)
            return problem.code if isinstance(problem, MusterError) else type(problem).__name__
        return "an answer that names no class" if UNREAD in prediction.reasons else ""

    if predictor.bundle.manifest.engine.name != HTTP:
        told = {id: ask(data) for id, data in inputs.items()}
    else:
        waiters = Waiters(len(inputs), "muster-ask-again")
        asked = {id: waiters.submit(ask, data) for id, data in inputs.items()}
        wait(asked.values(), timeout=ASKED_FOR_S)
        told = {id: one.result() if one.done() else "no answer in time" for id, one in asked.items()}
    return {id: why for id, why in told.items() if why}


def compare(
    store: Store, reader: TrafficReader, target: Release, present: Release, labels: Mapping[str, str]
) -> list[tuple[bool, bool]]:
    """For each labelled prediction whose input is still there: whether `target` is right, and whether `present` is.

    Inputs may be large: a few at a time are read, decoded and answered.
    """
    predictors = [checked_predictor(store, release) for release in (target, present)]
    decode, ids = predictors[0].modality.decode, list(labels)
    right: list[tuple[bool, bool]] = []
    for start in range(0, len(ids), N_AT_ONCE):
        found = reader.predictions(ids[start : start + N_AT_ONCE], inputs=True)
        there = {id: record.input for id, record in found.items() if record.input is not None}
        payloads = [decode(data, store.config.data) for data in there.values()]
        theirs, ours = ([p.label for p in predictor.predict(payloads)] for predictor in predictors)
        right += [(a == labels[id], b == labels[id]) for id, a, b in zip(there, theirs, ours, strict=True)]
    return right


def checked_predictor(store: Store, release: Release) -> Predictor:
    """A release's predictor, after its bundle was checked byte by byte."""
    bundle = open_bundle(store.bundle_folder(release.path))
    check_signature(bundle, keys.public_key(store.keys_folder))
    return Predictor(bundle, threads=1)  # the server needs the cores more
