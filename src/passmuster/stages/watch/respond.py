"""What an alarm leads to, as the policy says: withdraw, roll back, degrade, ask for labels, or only record it.

A release is put back only where `passmuster.stages.watch.earlier` has measured that it does better. Otherwise the live
release abstains more, and labels are asked for; where it gives no answer at all, neither would bring one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from passmuster.core.records import Alarm, Channel, Release
from passmuster.signals.estimate import NAME as ESTIMATE
from passmuster.signals.unanswered import NAME as UNANSWERED
from passmuster.stages.watch.earlier import answering_release, better_release
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader

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
