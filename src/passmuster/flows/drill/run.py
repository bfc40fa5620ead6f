"""The drill: plant each fault in a copy of the project, evaluate and judge it like any candidate, tell what held."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from passmuster.core.config import Config
from passmuster.core.errors import IntegrityError, MusterError, NotFoundError, UsageError
from passmuster.core.label_sets import MULTI
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, GateResult, Release, Report
from passmuster.flows.drill.advice import HEAVY, labels_to_stop, would_stop
from passmuster.flows.drill.base import DrillResult, Fault, Group, NotHereError, State, Trial, words_of
from passmuster.flows.drill.bought import (
    MOST_QUESTIONS,
    Bought,
    QuestionsSpentError,
    is_bought,
    refuse_too_many,
    too_many,
)
from passmuster.flows.drill.find import faults
from passmuster.flows.drill.memo import Memo
from passmuster.flows.drill.scene import Scene, take_apart
from passmuster.flows.drill.scratch import copy_bundle, scratch_copy
from passmuster.metrics.gates import Decision, chosen_gates, decide
from passmuster.runtime.answers import task_of
from passmuster.runtime.bundle import LoadedBundle, open_bundle
from passmuster.runtime.endpoint import read_asking
from passmuster.runtime.release import open_checked
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.draft import Scope
from passmuster.stages.evaluate.gather import count_evidence
from passmuster.store.releases import add_release, point_channel, read_bundle, read_channels, read_report
from passmuster.store.seal import open_test
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

WORSE = {"passed": 0, "not applicable": 0, "insufficient": 1, "failed": 2}
BY_A_TENTH = 1.1
SAME_PROBABILITY, SAME_SET_SIZE = 0.001, 0.01  # means over test items that change less say the same
GROUPS = get_args(Group)
CHEAP = Scope(n_corrupted=0, n_fit=1, n_classes_left_out=0, n_resamples=100, n_timed=0, n_again=0, page=False)


@dataclass(frozen=True)
class Judged:
    """A report and what the policy says of it."""

    report: Report
    decision: Decision

    @property
    def accuracy(self) -> float | None:
        metric = self.report.metric("accuracy")
        return None if metric is None else metric.value


def drill_gates(
    store: Store,
    bundle: str = "",
    *,
    only: Sequence[str] = (),
    seed: int = 0,
    most_questions: int = MOST_QUESTIONS,
    progress: Progress | None = None,
) -> DrillResult:
    """Plant every fault of the table, or those named, into copies of the live bundle (else the latest evaluated one).

    The project is only read, but for one event: that the test was opened, for a drill, which does not count as a look.
    A model behind an address is asked of each item once, and never more than `most_questions` in all: a fault that
    needs more is "not here".

    Raises
    ------
    NotFoundError
        ``bundle.none``; ``report.none`` where the bundle was never evaluated.
    UsageError
        ``fault.unknown``, ``drill.label_sets``, ``drill.questions``, and those of the policy.
    NetworkError
        ``endpoint.unanswered``.
    """
    chosen = sorted(only or faults, key=lambda name: GROUPS.index(faults[name].group))
    progress = progress or Silent()
    with rehearsal(store, bundle, most_questions=most_questions, progress=progress) as drill:
        healthy = drill.healthy.decision
        trials = tuple(
            drill.trial(name, seed=seed) for name in progress.track(chosen, "planting faults", total=len(chosen))
        )
        n = drill.base.memo.bought.n_asked
        return DrillResult(
            drill.bundle.digest, drill.base.n_test, healthy.outcome, healthy.gates, trials, n, n * drill.price
        )  # fmt: skip


@dataclass(frozen=True)
class Rehearsal:
    """A copy of the project in which faults are planted, one after the other, and the healthy copy's verdict."""

    project: Store
    bundle: Bundle
    base: Scene
    scope: Scope
    healthy: Judged
    price: float = 0.0  # of one question to an endpoint, in the project's currency

    def trial(self, name: str, *, seed: int = 0) -> Trial:
        """Plant one fault, and see what holds."""
        start = time.monotonic()
        self.base.seed = seed
        found = try_fault(self.project, self.base, name, faults[name], self.healthy, self.scope)
        return replace(found, seconds=round(time.monotonic() - start, 2))


@contextmanager
def rehearsal(
    store: Store, bundle: str = "", *, most_questions: int = MOST_QUESTIONS, progress: Progress | None = None
) -> Iterator[Rehearsal]:
    """The copy of a project, its healthy bundle live and judged; gone afterwards. Raises as `drill_gates` does."""
    progress = progress or Silent()
    chosen_gates(store.config.policy)
    healthy = healthy_bundle(store, bundle)
    with store.read() as db:
        snapshot = read_snapshot(db)
    loaded = open_checked(store, healthy)
    if is_bought(loaded):
        refuse_too_many(loaded, n_first(store, healthy), most_questions)
    price = price_of(store, healthy)
    open_test(store, snapshot, "drill")
    memo = Memo(bought=Bought(most_questions))
    with scratch_copy(store, [healthy]) as copy:
        base = prepare(copy, healthy, memo)
        base.remember(store)
        scope = scope_of(store.config, memo)
        progress.say(f"the healthy copy of {healthy.digest[:16]} first: what it does not pass itself stops nothing")
        if is_bought(loaded):
            progress.say(questions_in_words(loaded, most_questions, price, store.config))
        try:
            first = judged(base, base.write(base.parts, "healthy", taught=False), scope, progress=Silent())
        except QuestionsSpentError as spent:
            raise too_many(loaded, str(spent), most_questions, 2 * most_questions) from spent
        base.n_test = first.report.n_test
        yield Rehearsal(store, healthy, base, scope, first, price)


def n_first(store: Store, bundle: Bundle) -> int:
    """Of how many items the healthy copy is asked at least: the labelled test, and what its import kept."""
    path = store.runs_folder / bundle.run / "parity.npz"
    n_kept = 0
    if bundle.run and path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            n_kept = len(kept["keys"])
    return count_evidence(store, bundle) + n_kept


def price_of(store: Store, bundle: Bundle) -> float:
    """What one answer costs, as the last report says it; 0.0 where no price was named."""
    with store.read() as db:
        found = read_report(db, bundle.digest)
    section: Any = {} if found is None else found[1].sections.get("endpoint") or {}
    return float(section.get("per_million") or 0.0) / 1e6


def questions_in_words(bundle: LoadedBundle, most: int, price: float, config: Config) -> str:
    """How many questions go where, and what they may cost."""
    cost = f", at most about {most * price:.2g} {config.cost.currency}" if price else ""
    url = read_asking(bundle.graph).endpoint.url
    return f"{url} is asked of each item once, at most {most:,} questions in this drill{cost}"


def healthy_bundle(store: Store, name: str) -> Bundle:
    """The bundle to spoil: the one named, else the live one, else the latest; it must have been evaluated before.

    Otherwise a drill would say of an untested candidate how it does on the test, without counting.
    """
    with store.read() as db:
        live = read_channels(db).get("live")
        found = read_bundle(db, name or (live.bundle if live else ""))
        if read_report(db, found.digest) is None:
            raise NotFoundError(
                "report.none", "a drill spoils a bundle that was evaluated, and this one was not",
                value=found.digest[:16], next=f"muster evaluate {found.digest[:16]}",
            )  # fmt: skip
    return found


def prepare(copy: Store, healthy: Bundle, memo: Memo) -> Scene:
    """The scene, with the healthy bundle live in the copy."""
    loaded = open_bundle(copy.bundle_folder(healthy.path))
    if task_of(loaded.head) == MULTI:
        raise UsageError("drill.label_sets", "faults are planted in models that say one class; this one says sets")
    release = Release("drill-healthy", healthy.digest, "SHIP", healthy.path, healthy.created)
    with copy.act("release.approve") as act:
        add_release(act.db, release)
        point_channel(act, "live", release)
    return Scene(copy, healthy, loaded, take_apart(loaded), memo, n_test=0)


def scope_of(config: Config, memo: Memo) -> Scope:
    """What must be measured for this policy: of what is slow, only what a gate of it reads."""
    wanted = {HEAVY[name] for name in config.policy.gates if name in HEAVY}
    asked: dict[str, Any] = {"n_corrupted": config.evaluate.n_corrupted, "n_attacked": config.evaluate.n_attacked}
    return replace(CHEAP, open=memo.open, **{count: asked[count] for count in wanted})


def judged(scene: Scene, bundle: Bundle, scope: Scope, *, progress: Progress) -> Judged:
    """Evaluate a bundle of the copy, and judge it as if this were the first look."""
    report = evaluate(scene.store, bundle.digest, progress=progress, scope=scope).report
    return Judged(report, decide(report, scene.store.config.policy, n_looks=1.0))


def try_fault(project: Store, base: Scene, name: str, fault: Fault, first: Judged, scope: Scope) -> Trial:
    """Plant one fault, and see what holds."""
    trial = Trial(name, fault.summary, fault.group, fault.touches, "not here")
    try:
        if fault.group == "tampering":
            return tampered(project, base, fault, trial)
        if fault.in_data:  # in a copy of its own
            with scratch_copy(project, [base.bundle]) as copy:
                scene = prepare(copy, base.bundle, base.memo)
                scene.n_test, scene.seed = base.n_test, base.seed
                return spoilt(scene, fault, first, scope, trial)
        return spoilt(base, fault, first, scope, trial)
    except NotHereError as reason:
        return replace(trial, reasons=(str(reason),))


def spoilt(scene: Scene, fault: Fault, first: Judged, scope: Scope, trial: Trial) -> Trial:
    """Write what the fault makes of the bundle, and judge it."""
    parts = fault.plant(scene)
    assert parts is not None
    try:
        bundle = scene.write(parts, trial.fault, taught=fault.taught)
        found = judged(scene, bundle, scope, progress=Silent())
    except MusterError as error:
        if error.code == "endpoint.unanswered":  # that says nothing of the fault
            raise
        return replace(trial, state="stopped", stopped_by=(words_of(error),), reasons=(str(error),))
    if bundle.digest != scene.bundle.digest:
        scene.drop(bundle)
    if fault.group in ("packaging", "training") and not fault.unseen and same(found.report, first.report):
        nothing = "no answer to a test item is another, nor surer, nor withheld"
        return replace(trial, state="changes nothing", reasons=(nothing,), accuracy_change=0.0)
    stopped = newly_held(first.decision, found.decision)
    change = None if found.accuracy is None or first.accuracy is None else found.accuracy - first.accuracy
    return replace(
        trial,
        state="stopped" if stopped else "unstopped",
        stopped_by=tuple(gate.gate for gate in stopped),
        outcome=found.decision.outcome,
        accuracy_change=change,
        reasons=tuple(gate.reason for gate in stopped),
        would_stop=None if stopped else would_stop(first.report, found.report, scene.store.config.policy),
        n_labels_to_stop=None if stopped else labels_to_stop(found.report, scene.store.config.policy),
    )


def same(report: Report, healthy: Report) -> bool:
    """Whether two reports tell of the same answers and abstentions, and on average of (nearly) the same probability.

    What is noticed as strange, and the size of prediction sets, are the same too: a fault of the guard changes those.
    """
    new, old = (r.sections["answers"] for r in (report, healthy))
    if any(new[key] != old[key] for key in ("keys", "predicted", "abstained")) or report.classes != healthy.classes:
        return False
    moved = sum(abs(a - b) for a, b in zip(new["probability"], old["probability"])) / max(1, len(new["keys"]))
    guard: Any = report.sections["versions"].get("guard") or {}
    sizes = abs(guard.get("set_size", 0.0) - guard.get("set_size_live", 0.0))
    noticed = guard.get("missed", 0) == guard.get("noticed", 0) == 0
    return bool(moved <= SAME_PROBABILITY and noticed and sizes <= SAME_SET_SIZE)


def newly_held(healthy: Decision, faulty: Decision) -> list[GateResult]:
    """Gates that hold the faulty copy, and hold it more than the healthy one.

    A gate that holds both counts when it holds the faulty one by a tenth more: a test with some copies that leak hides
    further ones from the outcome, and not from the gate.
    """
    before = {gate.gate: gate for gate in healthy.gates}
    worse = [gate for gate in faulty.gates if holds_more(gate, before[gate.gate])]
    return sorted(worse, key=lambda gate: -WORSE[gate.state])


def holds_more(faulty: GateResult, healthy: GateResult) -> bool:
    """Whether a gate holds the one more than the other."""
    if faulty.state != "failed" or healthy.state != "failed":
        return WORSE[faulty.state] > WORSE[healthy.state]
    far = [abs(g.value - g.bound) if g.value is not None and g.bound is not None else 0.0 for g in (faulty, healthy)]
    return far[0] > BY_A_TENTH * far[1] > 0


def tampered(project: Store, base: Scene, fault: Fault, trial: Trial) -> Trial:
    """Change bytes in a copy on the disk, and ask `verify` about it."""
    from passmuster.flows.verify import verify

    with scratch_copy(project, [base.bundle]) as copy:
        copy_bundle(project, copy, base.bundle)
        folder, catalog = copy.bundle_folder(base.bundle.path), copy.root / "catalog.db"
        copy.close()
        before = set(verify(project, [folder, catalog]).problems)
        scene = Scene(copy, base.bundle, base.healthy, base.parts, base.memo, base.n_test)
        fault.plant(scene)
        copy.close()
        try:
            new = [p for p in verify(project, [folder, catalog]).problems if p not in before]
        except IntegrityError as error:
            new = [str(error)]
    state: State = "stopped" if new else "unstopped"
    return replace(trial, state=state, stopped_by=("verify",) if new else (), reasons=tuple(new[:3]))
