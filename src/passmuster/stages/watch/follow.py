"""Following the channels: whoever is live now gets fresh detectors, at the base rates that its own test showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from passmuster.core.codec import from_plain
from passmuster.core.config import WatchPolicy
from passmuster.core.errors import MusterError, UsageError
from passmuster.core.records import Channel
from passmuster.runtime.bundle import open_bundle
from passmuster.signals.base import Detector, start
from passmuster.signals.canary import start_comparison
from passmuster.signals.estimate import Estimating, start_estimating
from passmuster.signals.find import N_SIGNALS, signals
from passmuster.signals.label_free import AccuracyEstimator
from passmuster.signals.novelty import novel_rate_bound
from passmuster.signals.unanswered import NAME as UNANSWERED
from passmuster.stages.watch.state import Trial, Watched, WatchState
from passmuster.store.releases import read_release, read_report
from passmuster.store.store import Store

# Of a canary's alpha, the part that goes to whether it answers at all: that is seen of every request, so it takes few.
FOR_ANSWERING = 0.1
CALIBRATION_SEED = 0  # the same base rate and policy give the same bound in every process
NO_REPORT = (
    "errors cannot be watched for: no test label says how often this release errs in good times; "
    "label some items for the test, then muster evaluate"
)


@dataclass(frozen=True)
class BaseRates:
    """Upper bounds of how often each signal flags in good times, and why where that is not known."""

    rates: Mapping[str, float]
    unknown: Mapping[str, str]
    test_error_rate: float | None
    report: str
    estimator: AccuracyEstimator | None = None


def follow(store: Store, state: WatchState, channels: Mapping[str, Channel]) -> WatchState:
    """The state for the channels as they are now; unchanged where nobody moved them."""
    live, canary = channels.get("live"), channels.get("canary")
    if live is None:
        return replace(state, live=None, trial=None)
    old = state.live
    if old is None or (old.release, old.generation) != (live.release, live.generation):
        old = _start_live(store, live)
    elif "errors.v1" in old.unwatched:
        old = _add_error_detector(store, old)
    if UNANSWERED not in old.detectors and UNANSWERED not in old.unwatched:  # begun before there was this signal
        begun, why = _start_detectors(store, _unanswered_base(store, live.bundle))
        old = replace(old, detectors={**old.detectors, **begun}, unwatched={**old.unwatched, **why})
    return replace(state, live=old, trial=_follow_canary(store, state.trial, live, canary))


def _follow_canary(store: Store, trial: Trial | None, live: Channel, canary: Channel | None) -> Trial | None:
    if canary is None:
        return None
    key = (canary.release, canary.generation, live.release)
    if trial is not None and (trial.release, trial.generation, trial.live_release) == key:
        return trial
    policy = store.config.policy.canary
    labels, answers = (
        start_comparison(policy.alpha * part, policy.smallest_error_increase, canary.share)
        for part in (1 - FOR_ANSWERING, FOR_ANSWERING)
    )
    return Trial(*key, since=max(canary.updated, live.updated), comparison=labels, answering=answers)


def _start_live(store: Store, live: Channel) -> Watched:
    base = base_rates(store, live)
    detectors, unwatched = _start_detectors(store, base)
    return Watched(
        release=live.release,
        bundle=live.bundle,
        generation=live.generation,
        since=live.updated,
        detectors=detectors,
        unwatched=unwatched,
        test_error_rate=base.test_error_rate,
        report=base.report,
        estimating=_start_estimating(store, base),
    )


def _start_estimating(store: Store, base: BaseRates) -> Estimating | None:
    if base.estimator is None:
        return None
    policy = store.config.policy
    least = policy.gates.get("accuracy.v1", {}).get("min")
    return start_estimating(base.estimator, policy.watch, None if least is None else float(least), N_SIGNALS)


def _start_detectors(store: Store, base: BaseRates) -> tuple[dict[str, Detector], dict[str, str]]:
    detectors: dict[str, Detector] = {}
    unwatched = dict(base.unknown)
    for name, rate in base.rates.items():
        try:
            detectors[name] = _fresh_detector(name, rate, store.config.policy.watch)
        except UsageError as problem:  # the base rate leaves no rise to see: said, not hidden
            unwatched[name] = str(problem)
    return detectors, unwatched


@lru_cache(maxsize=64)
def _fresh_detector(name: str, rate: float, policy: WatchPolicy) -> Detector:
    """A detector that has seen nothing. Its bound takes a second or two of simulation, so it is kept for the next time.

    All signals of the table share the declared rate, watched or not: none changes when another joins.
    """
    return start(name, signals[name], rate, policy, N_SIGNALS, rng=np.random.default_rng(CALIBRATION_SEED))


def _add_error_detector(store: Store, live: Watched) -> Watched:
    """The same, with errors watched from now on if a report has come meanwhile."""
    with store.read() as db:
        if read_report(db, live.bundle) is None or live.report:
            return live
    base = _error_base(store, live.bundle)
    rates = dict(base.rates)
    usual = _unanswered_base(store, live.bundle).rates[UNANSWERED]
    watched = live.detectors.get(UNANSWERED)
    if watched is not None and watched.mixture.null_rate != usual and UNANSWERED not in live.alarmed:
        rates[UNANSWERED] = usual  # the report says that it names no class more often than was allowed for
    detectors, unwatched = _start_detectors(store, replace(base, rates=rates))
    return replace(
        live,
        detectors={**live.detectors, **detectors},
        unwatched={**{k: v for k, v in live.unwatched.items() if k != "errors.v1"}, **unwatched},
        test_error_rate=base.test_error_rate,
        report=base.report,
        estimating=_start_estimating(store, base),
    )


def base_rates(store: Store, live: Channel) -> BaseRates:
    """What is known of good times: errors from the latest report on the bundle, novelty from its guard, and what the
    policy says of requests without an answer."""
    errors = _error_base(store, live.bundle)
    rates, unknown = dict(errors.rates), dict(errors.unknown)
    rate, why = _novelty_base(store, live)
    if rate is None:
        unknown["novelty.v1"] = why
    else:
        rates["novelty.v1"] = rate
    rates |= _unanswered_base(store, live.bundle).rates
    return replace(errors, rates=rates, unknown=unknown)


def _unanswered_base(store: Store, bundle: str) -> BaseRates:
    """What the policy allows, or more where the test showed that a model elsewhere names no class more often."""
    with store.read() as db:
        found = read_report(db, bundle)
    tested = found[1].metric("no_answer") if found else None
    allowed = store.config.policy.watch.usual_unanswered
    return BaseRates({UNANSWERED: max(allowed, tested.high) if tested else allowed}, {}, None, "")


def _error_base(store: Store, bundle: str) -> BaseRates:
    with store.read() as db:
        found = read_report(db, bundle)
    accuracy = found[1].metric("accuracy") if found else None
    if found is None or accuracy is None or accuracy.n == 0:
        return BaseRates({}, {"errors.v1": NO_REPORT}, None, "")
    # The upper end of the interval that the report shows: the promise holds even if the test was lucky.
    kept = (found[1].sections.get("estimated") or {}).get("estimator")
    estimator = from_plain(AccuracyEstimator, kept) if kept else None
    return BaseRates({"errors.v1": 1.0 - accuracy.low}, {}, 1.0 - accuracy.value, found[0], estimator)


def _novelty_base(store: Store, live: Channel) -> tuple[float | None, str]:
    try:
        with store.read() as db:
            release = read_release(db, live.release)
        guard = open_bundle(store.bundle_folder(release.path)).guard
    except MusterError as problem:
        return None, f"novelty cannot be watched for: {problem}"
    if "n_held" not in guard or "novelty_rate" not in guard:
        return None, "novelty cannot be watched for: the bundle's guard names no rate"
    rate = novel_rate_bound(float(guard["novelty_rate"]), int(guard["n_held"]))
    if rate >= 1.0:
        return None, "novelty cannot be watched for: the guard had no items held out to set its threshold"
    return rate, ""
