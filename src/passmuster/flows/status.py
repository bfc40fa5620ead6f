"""Where a project stands: its data and labels, the looks its test has had, its bundles, what answers, what comes next.

Nothing is opened, counted or changed by asking.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from passmuster.core.clock import now
from passmuster.core.config import Config
from passmuster.core.errors import NotFoundError
from passmuster.core.records import Bundle, Channel, Label, Metric, Release, Snapshot
from passmuster.flows.dead_live import waits_for_live, way_past
from passmuster.flows.next_steps import first_verdict, more_evidence, n_left_out, step_after
from passmuster.flows.release import why_evaluate
from passmuster.metrics.gates.thresholds import Threshold, decided, history
from passmuster.runtime.release import not_as_kept
from passmuster.stages.release.deposed import deposition
from passmuster.stages.release.sign import gates_digest
from passmuster.store import ledger
from passmuster.store.approvals import approval_lines, how_it_came, how_it_went
from passmuster.store.incidents import read_incidents
from passmuster.store.items import read_labels
from passmuster.store.locks import is_held
from passmuster.store.releases import read_bundles, read_channels, read_releases, read_report, read_runs, read_verdict
from passmuster.store.seal import count_looks, keys_of
from passmuster.store.snapshots import read_findings, read_snapshot
from passmuster.store.store import Store


@dataclass(frozen=True)
class Candidate:
    """A bundle: what it was made by, and as far as it was judged, how. `channels` answer with its latest release.

    `rung` is what it was trained on, "" where it was imported. `n_labels_since` labels for learning came, or were
    corrected, after it was made. `n_more_labels` for the test would probably decide a verdict of INSUFFICIENT, where
    that can be foretold; `n_left_out` items that were drawn for it and left would, before others. `outdated` says why
    its report is not of today, "" where it is or there is none; `edited` whether the policy's gates are others than
    those it was judged by; `put_back` when and why it was rolled back from, where nothing has been learnt of it since.
    `unopened` is what is wrong with its files, looked at where it answers or is the latest; `waits_for_live` whether
    its verdict is open because the live release did not open.
    """

    bundle: str
    created: str
    origin: str
    rung: str
    accuracy: Metric | None
    verdict: str
    n_more_labels: int | None
    n_left_out: int
    release: str
    channels: tuple[str, ...]
    n_labels_since: int
    outdated: str
    edited: bool = False
    put_back: str = ""
    unopened: str = ""
    waits_for_live: bool = False


@dataclass(frozen=True)
class ProjectStatus:
    """Of the project and its latest dataset version (None before the first); `candidates` latest first.

    `n_labels` counts labelled items for learning ("train", without those held out for the guard, which are not learnt
    from) and for evidence ("test") as of now. `n_looks` of
    `max_looks` that the policy allows have been had at those test labels; evidence may grow, which makes old looks
    count less. `training` is a run that has begun and not ended, `under_way` whether its process lives.
    """

    name: str
    modality: str
    snapshot: Snapshot | None
    n_labels: Mapping[str, int]
    n_looks: float
    max_looks: int
    n_findings: Mapping[str, int]
    candidates: tuple[Candidate, ...]
    n_bundles: int
    channels: Mapping[str, Channel]
    came: Mapping[str, str]  # to a channel: how its release came there, in words
    open_incidents: tuple[str, ...]
    notes: tuple[str, ...]
    training: str
    under_way: bool
    next: str
    withdrawn: str = ""  # how the live channel came to point at nothing, where it once pointed at something
    thresholds: tuple[Threshold, ...] = ()  # every number that a release was judged by, with its values so far


def project_status(store: Store, *, n_shown: int = 10) -> ProjectStatus:
    """Read where the project stands, with its `n_shown` latest bundles and those that answer on a channel."""
    project, policy = store.config.project, store.config.policy
    with store.read() as db:
        try:
            snapshot = read_snapshot(db)
        except NotFoundError:  # nothing was added yet
            snapshot = None
        pool = set() if snapshot is None else set(keys_of(db, snapshot.digest, "train"))
        learnt = {key: label for key, label in read_labels(db, role="train").items() if key in pool}
        told = read_labels(db, role="test")
        in_test = set() if snapshot is None else set(keys_of(db, snapshot.digest, "test"))
        n_labels = {"train": len(learnt), "test": len(in_test & set(told))}
        n_looks = 0.0 if snapshot is None else count_looks(db, snapshot.digest, now())
        severities = [] if snapshot is None else [str(found.severity) for found in read_findings(db, snapshot.digest)]
        channels, runs = read_channels(db), read_runs(db, kind="train")
        rungs = {str(run["id"]): str(run["record"].get("rung", "")) for run in runs}
        bundles, releases = read_bundles(db), read_releases(db)
        answering = {channel.bundle for channel in channels.values()}
        shown = [bundle for i, bundle in enumerate(bundles) if i < n_shown or bundle.digest in answering]
        judged_by = {e.payload["release"]: e.payload.get("gates_policy") for e in ledger.read(db, kind="release.sign")}
        gates = gates_digest(policy)
        edited = {name for name, digest in judged_by.items() if digest not in (None, gates)}
        candidates = tuple(
            candidate(db, bundle, rungs, releases, channels, learnt, edited, store.config) for bundle in shown
        )
        candidates = tuple(
            replace(row, unopened=not_as_kept(store, bundle) if i == 0 or bundle.digest in answering else "")
            for i, (row, bundle) in enumerate(zip(candidates, shown, strict=True))
        )
        dead = any("live" in row.channels and row.unopened for row in candidates)
        past, withdrawn = way_past(store, db) if dead else "", how_it_went(db, "live")
        if not dead:
            candidates = tuple(as_live_opens(row, channels) for row in candidates)
        came = {name: how_it_came(db, channel) for name, channel in channels.items()}
        incidents = tuple(incident.id for incident in read_incidents(db) if not incident.closed)
        notes = tuple(approval_lines(db, policy.approval_days))
        asked = tuple(history(decided(ledger.read(db, kind="release.sign")), policy))
    training = next((str(run["id"]) for run in runs if run["status"] == "running"), "")
    under_way = bool(training) and is_held(store.root / "train.lock.db")
    stopped, n_unlabelled = bool(training) and not under_way, len(in_test) - n_labels["test"]
    n_findings = {severity: severities.count(severity) for severity in sorted(set(severities))}
    following = what_next(
        snapshot, n_labels, candidates, incidents, n_unlabelled=n_unlabelled, training=stopped, past=past
    )
    return ProjectStatus(
        project.name, project.modality, snapshot, n_labels, n_looks, policy.max_looks, n_findings, candidates,
        len(bundles), channels, came, incidents, notes, training, under_way, following, withdrawn, asked,
    )  # fmt: skip


def candidate(
    db: Connection,
    bundle: Bundle,
    rungs: Mapping[str, str],
    releases: list[Release],
    channels: Mapping[str, Channel],
    learnt: Mapping[str, Label],
    edited: Collection[str],
    config: Config,
) -> Candidate:
    """What is known of one bundle: `rungs` of runs; of the labels for learning as of now, those that came after it;
    `edited` are the releases that other gates judged than those of today."""
    report, verdict = read_report(db, bundle.digest), read_verdict(db, bundle.digest)
    trained = bundle.origin == "trained" and bundle.snapshot
    read = read_snapshot(db, bundle.snapshot).labels_read if trained else 0
    known = read_labels(db, role="train", first=read) if trained else learnt
    release = next((release.id for release in releases if release.bundle == bundle.digest), "")
    past = deposition(db, bundle.digest, "live", None if report is None else report[1])
    return Candidate(
        bundle=bundle.digest,
        created=bundle.created,
        origin=bundle.origin,
        rung=rungs.get(bundle.run, ""),
        accuracy=None if report is None else report[1].metric("accuracy"),
        verdict="" if verdict is None else verdict[0].outcome,
        n_more_labels=None if verdict is None else verdict[0].n_more_labels,
        n_left_out=0 if verdict is None else n_left_out(verdict[0]),
        release=release,
        channels=tuple(sorted(name for name, channel in channels.items() if channel.bundle == bundle.digest)),
        n_labels_since=sum(key not in known or known[key].label != fact.label for key, fact in learnt.items()),
        outdated=why_evaluate(db, bundle, config) if report else "",
        edited=release in edited,
        put_back=f"put back on {past.at[:10]}: {past.why}" if past is not None and not past.n_fresh else "",
        waits_for_live=verdict is not None and waits_for_live(verdict[0]),
    )


def as_live_opens(row: Candidate, channels: Mapping[str, Channel]) -> Candidate:
    """The row where no live release stands in the way any more: what waited for one is to be judged again."""
    if not row.waits_for_live or row.outdated:
        return row
    return replace(row, outdated="the live release opens again" if "live" in channels else "nothing is live any more")


def what_next(
    snapshot: Snapshot | None,
    n_labels: Mapping[str, int],
    candidates: tuple[Candidate, ...],
    incidents: tuple[str, ...],
    *,
    n_unlabelled: int,
    training: bool,
    past: str = "",
) -> str:
    """The command that brings the project on. `n_unlabelled` test items wait for a label; `training` is a run that
    has begun, and whose process is gone; `past` leads past a live release that does not open."""
    if incidents:
        return f"muster incidents {incidents[0]}"
    if snapshot is None:
        return "muster add PATH"
    if training:
        return "muster train, as it was begun: it goes on where it stopped"
    if not candidates:
        return "muster train" if n_labels["train"] else "muster label --serve"
    latest = candidates[0]
    if (latest.unopened or past) and (words := around_what_is_broken(latest, past)):
        return words
    if "live" in latest.channels and latest.n_labels_since:
        return "muster train"
    if latest.verdict == "INSUFFICIENT" and "live" not in latest.channels:
        if latest.outdated:
            return f"muster release {latest.bundle[:16]}"
        return f"{more_evidence(latest.n_more_labels, n_unlabelled, latest.n_left_out)}, then muster release"
    if latest.put_back and latest.verdict == "SHIP":
        evidence = more_evidence(None, n_unlabelled)
        return f"{evidence}, then muster release {latest.bundle[:16]}; or muster train ({latest.put_back})"
    if latest.edited and latest.verdict:
        return f"muster release {latest.bundle[:16]} (the policy was edited since its verdict)"
    if latest.outdated and latest.verdict == "SHIP" and "live" not in latest.channels:
        return f"muster release {latest.bundle[:16]} ({latest.outdated})"
    if not latest.verdict and latest.accuracy is None and not latest.channels:
        return first_verdict(n_labels["test"], n_unlabelled, latest.bundle)
    return step_after(latest.bundle, latest.verdict, latest.release, latest.channels, origin=latest.origin)


def around_what_is_broken(latest: Candidate, past: str) -> str:
    """What comes next where the latest bundle does not open, or the live release does not; "" where that is no matter:
    a model that was compared with it while it opened goes its way."""
    back = past if past and "--withdraw" not in past else ""
    if back:
        return f"{back} (the live release does not open, the one before it does)"
    if latest.unopened:
        again = "muster import it again" if latest.origin == "imported" else "muster train"
        return f"restore .muster/bundles/{latest.bundle[:16]} from a backup, or {again} (it does not open)"
    if latest.waits_for_live and not latest.outdated:
        return f"{past}, then muster release {latest.bundle[:16]} (the live release does not open)"
    return "" if latest.verdict and not latest.outdated else f"muster release {latest.bundle[:16]}"


def count_test(store: Store) -> tuple[int, int]:
    """Items of the latest dataset version's test that have a label, and that have none."""
    with store.read() as db:
        inside = set(keys_of(db, read_snapshot(db).digest, "test"))
        told = inside & set(read_labels(db, role="test"))
    return len(told), len(inside) - len(told)
