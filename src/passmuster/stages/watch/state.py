"""What the watch knows between two records: one frozen value, kept as JSON beside the cursor it belongs to.

The live release has a detector per signal. A canary has no detectors of its own: it is compared with the live release's
concurrent errors. An observation counts for the release that made it, and only if it was made after the channel was
pointed there, so that late labels of an earlier stay accuse nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.digests import canonical_json
from passmuster.core.records import FailureRecord, TrafficRecord
from passmuster.signals import estimate
from passmuster.signals.base import Detector, Signal, observe
from passmuster.signals.canary import Comparison, compare
from passmuster.signals.find import signals
from passmuster.signals.unanswered import NAME as UNANSWERED
from passmuster.signals.unanswered import is_unanswered

FAILED_BEFORE_ASKED_AGAIN = 8  # requests; doubles each time
CURSOR = "watch"  # the name under which position and state are kept
N_EXAMPLES = 20
CANARY_SIGNAL = "canary.v1"
CANARY_UNANSWERED = "canary_unanswered.v1"


@dataclass(frozen=True)
class Watched:
    """The live release since `since` (ISO time), when the channel came to its `generation` by another hand than ours.

    `unwatched` says why a signal cannot be followed. `estimating` is accuracy without labels, where a report taught it.
    `alarmed` are the signals that the open `incident` rests on. What could not be decided at the first few requests
    without an answer is decided when there are more.
    """

    release: str
    bundle: str
    generation: int
    since: str
    detectors: Mapping[str, Detector]
    unwatched: Mapping[str, str]
    test_error_rate: float | None = None
    report: str = ""
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # signal -> latest flagged prediction ids
    predicted: Mapping[str, int] = field(default_factory=dict)  # class -> number of answers
    n_predictions: int = 0
    n_labels: int = 0
    first_at: str = ""
    last_at: str = ""
    incident: str = ""
    alarmed: tuple[str, ...] = ()
    estimating: estimate.Estimating | None = None
    failures_from: str = ""  # ISO time: of the requests before it, it was decided what to do
    n_failed_since: int = 0  # requests without an answer since then
    asks_again_at: int = FAILED_BEFORE_ASKED_AGAIN  # of these, when it is asked again whether another release answers


@dataclass(frozen=True)
class Trial:
    """A canary beside the live release, since `since`: what labels say of both, and which of them answers at all."""

    release: str
    generation: int
    live_release: str
    since: str
    comparison: Comparison
    examples: tuple[str, ...] = ()
    alarmed: bool = False
    answering: Comparison | None = None  # of requests that got no class, on either channel
    unanswered: tuple[str, ...] = ()  # latest ids of the canary's


@dataclass(frozen=True)
class WatchState:
    """Everything. `n_unmatched` labels name no known prediction; `n_corrected` came after the first was counted."""

    live: Watched | None = None
    trial: Trial | None = None
    n_read: int = 0
    n_unmatched: int = 0
    n_corrected: int = 0
    last_record: str = ""

    def pending(self) -> str:
        """The signal whose alarm has not been answered yet; "" when there is none."""
        if self.live is not None:
            for name, detector in self.live.detectors.items():
                if detector.fired and name not in self.live.alarmed:
                    return name
            estimating = self.live.estimating
            if estimating is not None and estimating.fired and estimate.NAME not in self.live.alarmed:
                return estimate.NAME
            if UNANSWERED in self.live.alarmed and self.live.n_failed_since >= self.live.asks_again_at:
                return UNANSWERED
        trial = self.trial
        if trial is None or trial.alarmed:
            return ""
        if trial.comparison.fired:
            return CANARY_SIGNAL
        return CANARY_UNANSWERED if trial.answering is not None and trial.answering.fired else ""


def pack(state: WatchState) -> bytes:
    """The state as canonical JSON."""
    return canonical_json(to_plain(state))


def unpack(data: bytes) -> WatchState:
    """The state that `pack` wrote."""
    return from_plain(WatchState, json.loads(data))


def see_answer(state: WatchState, record: TrafficRecord) -> WatchState:
    """The state after one answer."""
    state = _see_request(state, record, is_unanswered(record, ""))
    live = state.live
    if live is None or not _made_by_live(live, record):
        return state
    live = replace(
        live,
        predicted={**live.predicted, record.label: live.predicted.get(record.label, 0) + 1},
        n_predictions=live.n_predictions + 1,
        first_at=live.first_at or record.at,
        last_at=max(live.last_at, record.at),
        estimating=live.estimating and estimate.see(live.estimating, record.probability, record.novelty),
    )
    return replace(state, live=_observe(live, "prediction", record.id, lambda signal: signal.flag(record, "")))


def see_failure(state: WatchState, record: FailureRecord) -> WatchState:
    """The state after one item that got no answer."""
    return _see_request(state, record, True)


def _see_request(state: WatchState, record: TrafficRecord | FailureRecord, unanswered: bool) -> WatchState:
    """The state after one item, of which it is known whether it got a class."""
    live, trial = state.live, state.trial
    if live is not None and _made_by_live(live, record) and record.at >= live.failures_from:
        n_failed = live.n_failed_since + (unanswered and UNANSWERED in live.alarmed)
        live = _observe(replace(live, n_failed_since=n_failed), "request", record.id, lambda signal: unanswered)
    answering = trial.answering if trial is not None else None
    if trial is not None and answering is not None and record.at >= trial.since:
        if record.channel == "canary" and record.release == trial.release:
            ids = (*trial.unanswered, record.id)[-N_EXAMPLES:] if unanswered else trial.unanswered
            trial = replace(trial, answering=compare(answering, "canary", unanswered), unanswered=ids)
        elif record.channel == "live" and record.release == trial.live_release and not record.stands_in:
            trial = replace(trial, answering=compare(answering, "live", unanswered))
    return replace(state, live=live, trial=trial, n_read=state.n_read + 1, last_record=record.id)


def see_label(state: WatchState, record: TrafficRecord, label: str) -> WatchState:
    """The state after the first label of one answer."""
    state = replace(state, n_read=state.n_read + 1, last_record=record.id)
    if state.live is not None and _made_by_live(state.live, record):
        live = replace(state.live, n_labels=state.live.n_labels + 1)
        state = replace(state, live=_observe(live, "feedback", record.id, lambda signal: signal.flag(record, label)))
    trial = state.trial
    if trial is None or record.at < trial.since:
        return state
    error = record.label != label
    if record.channel == "canary" and record.release == trial.release:
        examples = (*trial.examples, record.id)[-N_EXAMPLES:] if error else trial.examples
        trial = replace(trial, comparison=compare(trial.comparison, "canary", error), examples=examples)
    elif record.channel == "live" and record.release == trial.live_release and not record.stands_in:
        trial = replace(trial, comparison=compare(trial.comparison, "live", error))
    return replace(state, trial=trial)


def _made_by_live(live: Watched, record: TrafficRecord | FailureRecord) -> bool:
    if record.stands_in:  # chosen by what the canary failed at: no sample of what comes
        return False
    return record.channel == "live" and record.release == live.release and record.at >= live.since


def _observe(live: Watched, observes: str, id: str, flagged: Callable[[Signal], bool]) -> Watched:
    """The release after one observation of the signals that observe such a thing; `id` is of the prediction."""
    detectors, examples = dict(live.detectors), dict(live.examples)
    for name, detector in live.detectors.items():
        if signals[name].observes != observes:
            continue
        flag = flagged(signals[name])
        detectors[name] = observe(detector, flag)
        if flag and not detector.fired:
            examples[name] = (*examples.get(name, ()), id)[-N_EXAMPLES:]
    return replace(live, detectors=detectors, examples=examples)
