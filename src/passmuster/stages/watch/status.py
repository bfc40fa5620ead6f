"""Where the watch stands, for people: observations, errors, each statistic against its bound, false alarms per year."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from passmuster.core.records import UNREAD, Channel, TrafficRecord
from passmuster.signals.base import Detector
from passmuster.signals.estimate import NAME, Estimating
from passmuster.signals.find import N_SIGNALS
from passmuster.stages.watch.state import CURSOR, WatchState, unpack
from passmuster.store.approvals import approval_lines
from passmuster.store.incidents import read_cursor, read_incidents
from passmuster.store.releases import read_channels
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader

SECONDS_PER_YEAR = 365.25 * 86_400
SHORTEST_S = 600.0  # of traffic, from which a year of it is reckoned; a burst is no year
N_COMPARED = 2_000  # latest answers, of a shadow and of others, that are compared


@dataclass(frozen=True)
class SignalStatus:
    """One signal on one channel."""

    signal: str
    channel: str
    n_seen: int
    n_flagged: int
    statistic: float
    bound: float
    base_rate: float | None
    fired: bool


@dataclass(frozen=True)
class EstimateStatus:
    """Accuracy of the latest whole block of answers, estimated without labels; `value` is None before the first."""

    n_seen: int
    block: int
    value: float | None
    low: float | None
    high: float | None
    highest: float  # upper end at the level that the declared rate of false alarms asks for
    bound: float
    fired: bool

    def words(self) -> str:
        """The same in a line."""
        if self.value is None:
            return f"{NAME}: {self.n_seen} of {self.block} answers for the first estimate"
        n_more = self.n_seen % self.block
        since = f" ({n_more:,} more since)" if n_more else ""
        return (
            f"{NAME}: {self.value:.1%} right on the latest {self.block} answers{since}, estimated without labels "
            f"({self.low:.1%} to {self.high:.1%}); asks for labels once it is surely below {self.bound:.1%} "
            f"(at most {self.highest:.1%} now){', ALARM' if self.fired else ''}"
        )


@dataclass(frozen=True)
class ShadowStatus:
    """A shadow release beside the live one, on the latest requests that both were asked about.

    Of `n` that both gave a class to, `n_same` are answered alike; of `n_labelled` with a label the shadow is right on
    `n_right`, the live release on `n_live_right`. To `n_unanswered` requests it gave no class.
    """

    release: str
    n: int
    n_same: int
    n_labelled: int
    n_right: int
    n_live_right: int
    n_unanswered: int = 0

    def words(self) -> str:
        """The same in a line.

        >>> ShadowStatus("r2", 400, 380, 50, 47, 44).words()
        'shadow r2: says the same as live on 380 of the latest 400; with a label: right on 47 of 50, live on 44'
        """
        silent = f"; no answer to {self.n_unanswered:,}" if self.n_unanswered else ""
        if not self.n:
            return f"shadow {self.release}: no request so far that it and the live release both answered{silent}"
        labelled = f"; with a label: right on {self.n_right} of {self.n_labelled}, live on {self.n_live_right}"
        same = f"says the same as live on {self.n_same:,} of the latest {self.n:,}"
        return f"shadow {self.release}: {same}{labelled if self.n_labelled else '; none has a label'}{silent}"


@dataclass(frozen=True)
class Status:
    """`false_alarms_per_year` is the most to expect at the traffic seen so far, all signals together; None when the
    traffic seen is too short to tell."""

    release: str
    canary: str
    n_predictions: int
    n_labels: int
    n_labels_unmatched: int
    n_labels_corrected: int
    signals: tuple[SignalStatus, ...]
    unwatched: Mapping[str, str]
    declared_observations_between_false_alarms: float
    false_alarms_per_year: float | None
    open_incidents: tuple[str, ...]
    estimate: EstimateStatus | None = None
    shadow: ShadowStatus | None = None
    approvals: tuple[str, ...] = ()  # what is to be said of those that end soon, or have ended

    def lines(self) -> list[str]:
        """The same in words."""
        if not self.release:
            return ["nothing is live: nothing to watch"]
        lines = [f"{self.release}: {self.n_predictions} predictions, {self.n_labels} labels"]
        for s in self.signals:
            base = "" if s.base_rate is None else f", at most {s.base_rate:.2%} in good times"
            where = "" if s.channel == "live" else f" on {s.channel}"
            lines.append(
                f"{s.signal}{where}: {s.n_flagged} of {s.n_seen}{base}; "
                f"statistic {in_digits(s.statistic)} of {in_digits(s.bound)}{', ALARM' if s.fired else ''}"
            )
        lines += [self.estimate.words()] if self.estimate else []
        lines += [f"{name}: {why}" for name, why in self.unwatched.items()]
        lines += [self.shadow.words()] if self.shadow else []
        declared = self.declared_observations_between_false_alarms
        yearly = self.false_alarms_per_year
        words = "" if yearly is None else f", at most {in_digits(yearly)} per year at the traffic seen"
        lines.append(f"false alarms: one in {declared:,.0f} predictions, all signals together{words}")
        lines += [f"open incident: {id}" for id in self.open_incidents]
        lines += self.approvals
        return lines


def in_digits(value: float) -> str:
    """Three significant digits, written out as people write numbers.

    >>> in_digits(20_341.7), in_digits(3.14159), in_digits(0.01234)
    ('20,300', '3.14', '0.0123')
    """
    return f"{float(f'{value:.3g}'):,.12g}"


def read_status(store: Store) -> Status:
    """The status after what has been read so far."""
    with store.read() as db:
        kept = read_cursor(db, CURSOR)
        incidents = read_incidents(db)
        channels = read_channels(db)
        approvals = approval_lines(db, store.config.policy.approval_days)
    state = unpack(kept[1]) if kept else WatchState()
    live, trial = state.live, state.trial
    found = [_signal_status(name, d) for name, d in live.detectors.items()] if live else []
    if trial is not None:
        c = trial.comparison
        found.append(
            SignalStatus(
                "canary.v1", "canary", c.n_canary, c.n_canary_errors, c.statistic, c.bound, None, c.fired
            )
        )  # fmt: skip
    declared = store.config.policy.watch.mean_observations_between_false_alarms
    if live is not None and live.detectors:
        declared = min(d.declared_between for d in live.detectors.values()) / N_SIGNALS
    return Status(
        release=live.release if live else "",
        canary=trial.release if trial else "",
        n_predictions=live.n_predictions if live else 0,
        n_labels=live.n_labels if live else 0,
        n_labels_unmatched=state.n_unmatched,
        n_labels_corrected=state.n_corrected,
        signals=tuple(found),
        unwatched=live.unwatched if live else {},
        declared_observations_between_false_alarms=declared,
        false_alarms_per_year=_per_year(state, declared),
        open_incidents=tuple(i.id for i in incidents if not i.closed),
        estimate=_estimate_status(live.estimating) if live and live.estimating else None,
        shadow=_shadow_status(store, channels),
        approvals=tuple(approvals),
    )


def _shadow_status(store: Store, channels: Mapping[str, Channel]) -> ShadowStatus | None:
    """The shadow's latest answers beside those of the release that is live; both stand in the traffic."""
    if "shadow" not in channels or "live" not in channels:
        return None
    shadow, live = channels["shadow"], channels["live"].release
    reader = TrafficReader(store.traffic_folder)
    of_both = {("shadow", shadow.release), ("live", live)}
    latest = reader.latest(N_COMPARED, of=lambda r: (r.channel, r.release) in of_both and r.at >= shadow.updated)
    said = {r.id: r.label for r in latest if isinstance(r, TrafficRecord) and UNREAD not in r.reasons}
    asked = {r.id: r.id.removesuffix(".shadow") for r in latest if r.channel == "shadow"}
    pairs = {twin: (said[id], said[twin]) for id, twin in asked.items() if id in said and twin in said}
    labels = reader.labels()
    labelled = {twin: pair for twin, pair in pairs.items() if labels.get(twin)}
    return ShadowStatus(
        release=shadow.release,
        n=len(pairs),
        n_same=sum(ours == theirs for ours, theirs in pairs.values()),
        n_labelled=len(labelled),
        n_right=sum(ours == labels[twin] for twin, (ours, _) in labelled.items()),
        n_live_right=sum(theirs == labels[twin] for twin, (_, theirs) in labelled.items()),
        n_unanswered=sum(id not in said for id in asked),
    )


def _signal_status(name: str, d: Detector) -> SignalStatus:
    return SignalStatus(name, "live", d.n_seen, d.n_flagged, d.statistic, d.bound, d.mixture.null_rate, d.fired)


def _estimate_status(e: Estimating) -> EstimateStatus:
    value, low, high = (e.latest.value, e.latest.low, e.latest.high) if e.latest else (None, None, None)
    return EstimateStatus(e.n_seen, e.block, value, low, high, e.highest, e.bound, e.fired)


def _per_year(state: WatchState, declared: float) -> float | None:
    live = state.live
    if live is None or not live.first_at or live.n_predictions < 2:
        return None
    seconds = (datetime.fromisoformat(live.last_at) - datetime.fromisoformat(live.first_at)).total_seconds()
    return live.n_predictions / seconds * SECONDS_PER_YEAR / declared if seconds >= SHORTEST_S else None
