"""What an alarm leads to, as the policy says: withdraw, roll back, degrade, or only record it.

A release is put back only when it is measurably better on the labelled traffic of late: both bundles answer the same
stored inputs, and the exact McNemar test says so. Otherwise the live release abstains more, and labels are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from passmuster.core.errors import MusterError
from passmuster.core.paired import mcnemar_exact
from passmuster.core.records import Alarm, Channel, Release, TrafficRecord
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.signature import check_signature
from passmuster.store import keys
from passmuster.store.releases import previous_release, read_release
from passmuster.store.store import Store
from passmuster.store.traffic import TrafficReader

Kind = Literal["withdraw", "rollback", "degrade", "none"]


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
    facts: dict[str, Any] = {}
    if policy.on_alarm == "rollback-or-degrade":
        target, facts = better_release(store, reader, channel)
        if target is not None:
            return Response("rollback", f"rolled back to {target.id}", target, facts)
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
    with store.read() as db:
        before = previous_release(db, channel.name)
        if not before or before == channel.release:
            return None, {"rollback": "there is no release before this one"}
        target, present = read_release(db, before), read_release(db, channel.release)
    if target.verdict != "SHIP":  # the alarm of a machine does not let through what no person may
        return None, {"rollback": f"{target.id} has not passed the gates: {target.verdict}"}
    labelled = [
        (record, label)
        for record, label in reader.recent(store.config.policy.watch.recent_labels)
        if record.input is not None and record.channel != "shadow"
    ]
    if not labelled:
        return None, {"rollback": f"no labelled traffic to compare {target.id} on"}
    try:
        theirs, ours = (answers(store, release, labelled) for release in (target, present))
    except MusterError as problem:  # a bundle that is not whole is not rolled back to; the incident says why
        return None, {"rollback": f"{target.id} could not be compared: {problem}"}
    right = [(a == label, b == label) for a, b, (_, label) in zip(theirs, ours, labelled, strict=True)]
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


def answers(store: Store, release: Release, labelled: list[tuple[TrafficRecord, str]]) -> list[str]:
    """What a release answers to stored inputs, after its bundle was checked byte by byte."""
    bundle = open_bundle(store.bundle_folder(release.path))
    check_signature(bundle, keys.public_key(store.keys_folder))
    predictor = Predictor(bundle, threads=1)  # the server needs the cores more
    payloads = [predictor.modality.decode(record.input or b"", store.config.data) for record, _ in labelled]
    return [prediction.label for prediction in predictor.predict(payloads)]
