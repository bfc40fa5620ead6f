"""Whether the release before the live one does better: on recent labelled traffic, or in answering at all.

Both are asked about the same stored inputs, and the exact McNemar test has to say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import wait
from typing import Any

from passmuster.core.errors import MusterError
from passmuster.core.paired import mcnemar_exact
from passmuster.core.records import UNREAD, Channel, FailureRecord, Release, TrafficRecord
from passmuster.core.waiting import Waiters
from passmuster.runtime.engine import HTTP
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.release import open_release
from passmuster.store.releases import held_since, previous_release, read_release
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader

N_AGAIN = 10  # latest requests without an answer that releases are asked about again
ASKED_FOR_S = 30.0  # at most, of each release
N_AT_ONCE = 4  # stored inputs in memory at a time, while releases are compared


def release_before(store: Store, channel: Channel) -> tuple[Release | None, str]:
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


def better_release(store: Store, reader: TrafficReader, channel: Channel) -> tuple[Release | None, dict[str, Any]]:
    """The release before this one if it is measurably better on recent labelled traffic, and what was measured."""
    target, why_not = release_before(store, channel)
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


def answering_release(
    store: Store, reader: TrafficReader, channel: Channel
) -> tuple[Release | None, dict[str, Any]]:  # fmt: skip
    """The release before this one if it measurably answers more of what this one failed at, both asked now; and what
    was measured. With fewer failures than can show that, it is asked again when there are more.
    """
    target, why_not = release_before(store, channel)

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
        predictor = predictor_of(store, release)
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
    predictors = [predictor_of(store, release) for release in (target, present)]
    decode, ids = predictors[0].modality.decode, list(labels)
    right: list[tuple[bool, bool]] = []
    for start in range(0, len(ids), N_AT_ONCE):
        found = reader.predictions(ids[start : start + N_AT_ONCE], inputs=True)
        there = {id: record.input for id, record in found.items() if record.input is not None}
        payloads = [decode(data, store.config.data) for data in there.values()]
        theirs, ours = ([p.label for p in predictor.predict(payloads)] for predictor in predictors)
        right += [(a == labels[id], b == labels[id]) for id, a, b in zip(there, theirs, ours, strict=True)]
    return right


def predictor_of(store: Store, release: Release) -> Predictor:
    """A release's predictor, its bundle checked; with one thread, because the server needs the cores more."""
    return Predictor(open_release(store, release), threads=1)
