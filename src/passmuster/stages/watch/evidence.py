"""What an incident shows: the numbers behind the alarm, what moved most, examples, and what to label next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from passmuster.core.errors import MusterError
from passmuster.core.label_sets import classes_in
from passmuster.core.records import Alarm, TrafficRecord
from passmuster.core.statistics import wilson
from passmuster.runtime.answers import task_of
from passmuster.runtime.bundle import open_bundle
from passmuster.signals.base import change
from passmuster.signals.estimate import NAME as ESTIMATE
from passmuster.signals.explain import explain_shift, population_stability
from passmuster.signals.unanswered import NAME as UNANSWERED
from passmuster.stages.watch.state import CANARY_SIGNAL, CANARY_UNANSWERED, Trial, Watched, WatchState
from passmuster.store.releases import read_release
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader

OF_RELEASE = "upper bound of what was known when the release went live"
OF_UNANSWERED = "what policy.watch.usual_unanswered allows, or the upper bound of the test where that is more"
N_ASK = 40  # labels that the incident asks for
LEAST_LABELS = 10  # below this many labels no harm is estimated


def raise_alarm(store: Store, reader: TrafficReader, state: WatchState, signal: str) -> Alarm:
    """The alarm of `signal`, which has crossed its bound, with its evidence."""
    latest = reader.recent(_window(store), labelled_only=False)
    recent = [(r, label) for r, label in latest if r.channel != "shadow" and not r.stands_in]
    ask = {
        "label_next": [r.id for r, label in recent if not label][:N_ASK],
        "how": 'muster incidents show ID, then POST /v1/feedback {"id": ..., "label": ...} for these predictions',
        "n_labels_unmatched": state.n_unmatched,
        "n_labels_corrected_later": state.n_corrected,
    }
    if signal in (CANARY_SIGNAL, CANARY_UNANSWERED):
        assert state.trial is not None
        return _canary_alarm(reader, state.trial, signal, ask)
    assert state.live is not None
    mine = [(r, label) for r, label in recent if r.release == state.live.release and r.channel == "live"]
    return _live_alarm(store, reader, state.live, signal, mine, ask)


def _window(store: Store) -> int:
    return store.config.policy.watch.recent_labels


def _live_alarm(
    store: Store, reader: TrafficReader, live: Watched, signal: str, recent: Sequence[tuple[TrafficRecord, str]],
    ask: dict[str, Any],
) -> Alarm:  # fmt: skip
    if signal == ESTIMATE:
        return _estimated_alarm(live, recent, ask)
    detector = live.detectors[signal]
    began = change(detector)
    rate = wilson(began.n_flagged, began.n)
    evidence = {
        "release": live.release,
        "base_rate": detector.mixture.null_rate,
        "base_rate_is": OF_UNANSWERED if signal == UNANSWERED else OF_RELEASE,
        "rises_watched_for": list(detector.mixture.alternatives),
        "declared_observations_between_false_alarms": detector.declared_between,
        "n_flagged": detector.n_flagged,
        "since_change": {
            "after_observation": began.began, "n": began.n, "n_flagged": began.n_flagged, "rate": rate.value,
            "low": rate.low, "high": rate.high,
        },
        "test_error_rate": live.test_error_rate,
        "report": live.report,
        "examples": list(live.examples.get(signal, ())),
        **(_why_unanswered(reader, live.examples.get(signal, ())) if signal == UNANSWERED else
           {"labels_of_no_class": _strange_labels(store, live, recent), "shift": _shift(live, recent), **ask}),
    }  # fmt: skip
    harm, words, measured = _harm(live, signal, rate.value if began.n else 0.0, recent)
    evidence |= {"harm": words, "harm_is_measured": measured}
    return Alarm(signal, "live", detector.statistic, detector.bound, detector.n_seen, harm, evidence)


def _estimated_alarm(live: Watched, recent: Sequence[tuple[TrafficRecord, str]], ask: dict[str, Any]) -> Alarm:
    """Estimated accuracy too low: the estimate, what it is held against, and labels if there are any."""
    e = live.estimating
    assert e is not None
    assert e.latest is not None
    harm, words, measured = _harm(live, ESTIMATE, 0.0, recent)
    latest = e.latest
    evidence = {
        "release": live.release,
        "estimated": f"accuracy is estimated at {latest.value:.1%} ({latest.low:.1%} to {latest.high:.1%})",
        "estimated_from": "how sure answers are and how novel their items, over a block of answers; no labels",
        "answers": e.block,
        "accuracy_of_the_test": e.estimator.accuracy,
        "mean_error_on_faults_held_out": e.estimator.mean_error,
        "asks_below": e.bound,
        "upper_end": e.highest,
        "level_of_the_upper_end": (1 + e.level) / 2,
        "declared_observations_between_false_alarms": e.declared_between,
        "test_error_rate": live.test_error_rate,
        "report": live.report,
        "examples": [],
        "shift": _shift(live, recent),
        "harm": words,
        "harm_is_measured": measured,
        **ask,
    }
    return Alarm(ESTIMATE, "live", e.highest, e.bound, e.n_seen, harm, evidence)


def _harm(
    live: Watched, signal: str, rate: float, recent: Sequence[tuple[TrafficRecord, str]]
) -> tuple[float | None, str, bool]:
    """Accuracy points lost against the test, how that is known, and whether labels show that any were lost.

    Novelty is no harm: that is measured when the interval of errors among the latest labels lies above the test's rate.
    """
    if signal == UNANSWERED:
        words = "share of requests without an answer since the change, minus what good times allow"
        return 100 * (rate - live.detectors[signal].mixture.null_rate), words, True
    if live.test_error_rate is None:
        return None, "unknown: there is no test to compare with", False
    if signal == "errors.v1":
        return 100 * (rate - live.test_error_rate), "error rate since the change, minus that of the test", True
    labels = [(r, label) for r, label in recent if label and r.at >= live.since]
    if len(labels) < LEAST_LABELS:
        what = "accuracy is only estimated" if signal == ESTIMATE else "inputs changed"
        words = f"unknown without labels: {what}, and only labels can say whether answers got worse"
        return None, words, False
    found = wilson(sum(r.label != label for r, label in labels), len(labels))
    words = f"errors among the {len(labels)} latest labels, minus the error rate of the test"
    return 100 * (found.value - live.test_error_rate), words, found.low > live.test_error_rate


def _shift(live: Watched, recent: Sequence[tuple[TrafficRecord, str]]) -> dict[str, Any]:
    """How the predicted classes of the latest answers differ from those before; it explains, it raises no alarm.

    The latest are at most half of what was answered, so that there is something to compare them with.
    """
    recent = [pair for pair in recent if live.since <= pair[0].at <= live.last_at][: live.n_predictions // 2]
    current = Counter(r.label for r, _ in recent)
    reference = {k: max(0, n - current.get(k, 0)) for k, n in live.predicted.items()}
    return {
        "of": "predicted classes, latest answers against those before",
        "n_current": sum(current.values()),
        "n_reference": sum(reference.values()),
        "population_stability_index": population_stability(reference, current),
        "moved_most": explain_shift(reference, current),
        "novel_share_latest": sum(r.novel for r, _ in recent) / max(1, len(recent)),
        "mean_probability_latest": sum(r.probability for r, _ in recent) / max(1, len(recent)),
    }


def _canary_alarm(reader: TrafficReader, trial: Trial, signal: str, ask: dict[str, Any]) -> Alarm:
    answering = signal == CANARY_UNANSWERED and trial.answering is not None
    c = trial.answering if answering and trial.answering is not None else trial.comparison
    what, examples = ("requests without an answer", trial.unanswered) if answering else ("errors", trial.examples)
    canary, live = wilson(c.n_canary_errors, c.n_canary), wilson(c.n_live_errors, c.n_live)
    evidence = {
        "release": trial.release,
        "live_release": trial.live_release,
        "compared": what,
        "alpha": c.alpha,
        "canary": {"n": c.n_canary, "n_errors": c.n_canary_errors, "rate": canary.value, "high": canary.high},
        "live": {"n": c.n_live, "n_errors": c.n_live_errors, "rate": live.value, "high": live.high},
        "n_blocks": c.n_blocks,
        "live_answers_per_block" if answering else "live_labels_per_block": c.n_live_per_block,
        "examples": list(examples),
        **(_why_unanswered(reader, examples) if answering else {}),
        "harm": f"share of {what}, canary minus live release, over the same time",
        **({} if answering else ask),
    }
    harm = 100 * (canary.value - live.value) if c.n_live else None
    return Alarm(signal, "canary", c.statistic, c.bound, c.n_canary, harm, evidence)


def _strange_labels(store: Store, live: Watched, recent: Sequence[tuple[TrafficRecord, str]]) -> list[str]:
    """Labels of late that name nothing the release can say: a class that is new, or a slip of whoever labels."""
    with store.read() as db:
        release = read_release(db, live.release)
    try:
        bundle = open_bundle(store.bundle_folder(release.path))
    except MusterError as problem:  # an alarm is raised all the same
        return [f"not known: {problem}"]
    task, classes = task_of(bundle.head), bundle.manifest.classes
    names = Counter(name for _, label in recent if label for name in classes_in(label, task) if name not in classes)
    return [f"{name} ({n})" for name, n in names.most_common(5)]


def _why_unanswered(reader: TrafficReader, ids: Sequence[str]) -> dict[str, Any]:
    """What was said in the place of answers, each once, with how often among these."""
    said = Counter(f"{f.code}: {f.why}" for f in reader.failures(ids).values())
    if rest := len(ids) - sum(said.values()):
        said["an answer that names no class"] = rest
    return {"why": [f"{n} of the latest {len(ids)}: {words}" for words, n in said.most_common(5)]}
