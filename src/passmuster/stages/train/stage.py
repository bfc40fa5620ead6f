"""The stage itself: from a snapshot to an unsigned bundle within the time given.

    read what training may see → price every rung → climb while a rung's price fits the time left → choose by expected
    value → last head, guard, bundle → one ledger event

Killed at any point, the same command goes on from run folder and embedding cache, and ends with the same weights.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from passmuster.core.budget import Deadline, Machine, measure_machine
from passmuster.core.clock import now
from passmuster.core.codec import to_plain
from passmuster.core.config import TrainConfig
from passmuster.core.cost import Cost
from passmuster.core.errors import BudgetError, MusterError, ResourceError, UsageError
from passmuster.core.meter import MemoryOverError, Meter, ran_out_of_memory
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle
from passmuster.learn.priors import prior_gain
from passmuster.learn.select import Candidate, Standing, choose_rung
from passmuster.modality.find import modalities
from passmuster.stages.train.account import Account, used_before
from passmuster.stages.train.climb import Climb, Climbed, OutOfTimeError, climb, finish_s
from passmuster.stages.train.finish import behind, finish, rung_row
from passmuster.stages.train.limits import Limits, limits_of, time_of
from passmuster.stages.train.plan import FINISH_S, Quote, describe, heads_s, needs, quote_rungs
from passmuster.stages.train.run_folder import RunFolder, open_run, unfinished_run
from passmuster.stages.train.task import Task, read_task
from passmuster.store.releases import add_bundle, end_run
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store


@dataclass(frozen=True)
class TrainResult:
    """What a training left. `rungs` are the rows of ``rungs.json``; `seconds` counts from the start of the process."""

    bundle: str
    path: str
    run: str
    resumed: bool
    snapshot: str
    classes: tuple[str, ...]
    n_pool: int
    n_labels: int
    rung: str
    head: str
    rungs: tuple[Mapping[str, Any], ...]
    seconds: float
    budget_s: float
    limited_by: str  # "time" or "cost": which limit was the tighter
    peak_memory_bytes: int
    cost: Cost


def train(
    store: Store,
    *,
    budget_s: float | None = None,
    started_s_ago: float = 0.0,
    seed: int | None = None,
    snapshot: str = "",
    progress: Progress | None = None,
) -> TrainResult:
    """Learn from a snapshot and leave an unsigned bundle.

    Parameters
    ----------
    store : Store
        Its configuration names rungs, encoders, memory, and the defaults of the two below.
    budget_s : float
        Seconds, counted from `started_s_ago` seconds ago; the end comes by 1.02 times that plus 5 s.
    seed : int
        Of every random choice.
    snapshot : str
        First digits of a data-set version; the latest when empty.

    Raises
    ------
    DataError
        ``data.no_labels``, ``data.one_class``, ``data.too_few_labels``.
    BudgetError
        ``budget.time``, ``budget.cost`` or ``budget.memory``, before anything is learnt, when no rung fits.
    ResourceError
        ``lock.held`` when another training is under way; ``disk.full``; ``memory.over``.
    """
    config = store.config.train
    budget_s = time_of(store.config) if budget_s is None else budget_s
    seed = config.seed if seed is None else seed
    if seed < 0:
        raise UsageError("train.seed", "a seed is not negative", value=seed, next="muster train --seed 0")
    started = time.monotonic() - started_s_ago
    progress = progress or Silent()
    config = replace(config, time=f"{budget_s:g}s", seed=seed)
    with store.lock("train"), _disk_errors(store):
        with store.read() as db:
            version = read_snapshot(db, snapshot)
        arguments = _arguments(config, version.digest)
        left = unfinished_run(store, arguments)
        before = used_before(store.runs_folder / left) if left else None
        limits = limits_of(store.config, budget_s, spent_s=before.seconds if before else 0.0)
        _refuse_spent(limits)
        if line := limits.line():
            progress.say(line)
        deadline = Deadline(started + limits.seconds)
        meter = Meter(started_s_ago=started_s_ago)
        with _memory_errors(limits, meter), meter:
            modality = modalities[version.modality]
            task = read_task(store, version, modality, seed, progress)
            machine = measure_machine()
            quotes = []
            if left is None:  # a plan that was begun is not priced again
                quotes = quote_rungs(modality, config, machine, task.profile, deadline, limits)
            run = open_run(store, version.digest, arguments)
            if run.resumed:
                progress.say(f"going on with {run.id}")
            account = Account(run, meter, before, limits, store.config.cost)
            meter.report_to(account.keep)
            meter.limit_bytes = limits.memory_bytes  # before, too little memory is a refusal
            with _closing(store, run), _accounted(account):
                begun = {"machine": machine, "limits": limits.facts(), "quotes": describe(quotes)}
                plan = run.decide("plan", lambda: begun)
                step = Climb(store, task, run, Machine(**plan["machine"]), deadline, seed, progress, meter)
                climbed, left_out = _climb_all(step, plan["quotes"], limits)
                standings = _stand(task, climbed, limits)
                chosen = climbed[next(i for i, standing in enumerate(standings) if standing.chosen)]
                ended = time.monotonic()
                digest, path, facts = finish(step, chosen)
                facts["finish_s"] = time.monotonic() - ended
                rows = _rows(task, plan["quotes"], climbed, standings, left_out, facts["decide"])
                run.write("rungs.json", rows)
                meter.report_to(None)
                meter.limit_bytes = 0  # what is left is to write down what is done
                cost = account.close("done")
                result = TrainResult(
                    bundle=digest,
                    path=str(path),
                    run=run.id,
                    resumed=run.resumed,
                    snapshot=version.digest,
                    classes=task.classes,
                    n_pool=len(task.pool),
                    n_labels=len(task.labelled),
                    rung=chosen.rung.name,
                    head=chosen.best.kind,
                    rungs=tuple(rows),
                    seconds=time.monotonic() - started,
                    budget_s=budget_s,
                    limited_by=limits.by,
                    peak_memory_bytes=cost.peak_memory_bytes,
                    cost=cost,
                )
                _record(store, run, chosen, result, facts, limits)
    return result


def price(
    store: Store, *, started_s_ago: float = 0.0, snapshot: str = "", progress: Progress | None = None
) -> list[dict[str, Any]]:
    """What each rung would cost on the snapshot, without learning anything; raises as `train` would."""
    config = store.config.train
    limits = limits_of(store.config, time_of(store.config))
    deadline = Deadline.after(limits.seconds - started_s_ago)
    with store.read() as db:
        version = read_snapshot(db, snapshot)
    modality = modalities[version.modality]
    task = read_task(store, version, modality, config.seed, progress or Silent())
    quotes = describe(quote_rungs(modality, config, measure_machine(), task.profile, deadline, limits))
    return [{**row, "money": row["seconds"] * limits.per_s, "currency": limits.currency} for row in quotes]


def _arguments(config: TrainConfig, snapshot: str) -> dict[str, Any]:
    """What makes two trainings the same one."""
    return {
        "snapshot": snapshot,
        "time": config.time,
        "max_cost": config.max_cost,
        "seed": config.seed,
        "max_memory": config.max_memory,
        "rungs": config.rungs,
        "pretrained": config.pretrained,
        "encoders": config.encoders,
        "min_neighbour_agreement": config.min_neighbour_agreement,
    }


def _climb_all(step: Climb, quotes: list[dict[str, Any]], limits: Limits) -> tuple[list[Climbed], dict[str, str]]:
    """Every rung whose price fits the time left when its turn comes; and why the others were left out."""
    climbed: list[Climbed] = []
    left_out = {quote["rung"]: quote["refused"] for quote in quotes if quote["refused"]}
    wanted = [Quote(**quote) for quote in quotes if not quote["refused"]]
    heads = heads_s(step.machine, step.task.profile)
    for position, quote in enumerate(wanted):
        needed = quote.seconds + heads + finish_s(climbed)
        later_s = _later_s([later.seconds + heads for later in wanted[position + 1 :]], step.deadline.left_s - needed)
        verdict = step.run.decide(f"climb-{quote.rung}", lambda n=needed: _worth(step, limits, n, bool(climbed)))
        if verdict["refused"]:
            left_out[quote.rung] = verdict["refused"]
            step.progress.say(f"{quote.rung}: {verdict['refused']}")
            continue
        rung = step.task.modality.rungs[quote.rung]
        late = step.run.path / "decisions" / f"late-{quote.rung}.json"
        if late.is_file():
            left_out[quote.rung] = step.run.decide(f"late-{quote.rung}", dict)["refused"]
            continue
        try:
            climbed.append(climb(step, rung, quote, before=climbed, later_s=later_s))
        except OutOfTimeError as error:
            why = f"left out: the {limits.by} ran out while {error}"
        except (MemoryOverError, Exception) as error:
            if not climbed or not ran_out_of_memory(error):
                raise
            why = f"left out: it took more memory than {memory_given(limits)}"
        else:
            why = ""
        if why:  # outside the handler, which would keep alive what the rung had made
            step.meter.forgive()
            left_out[quote.rung] = step.run.decide(f"late-{quote.rung}", lambda why=why: {"refused": why})["refused"]
            step.progress.say(f"{quote.rung}: {left_out[quote.rung]}")
            continue
        best = climbed[-1].best
        step.progress.say(
            f"{rung.name}: cross-validated accuracy {best.accuracy:.3f}, log-loss {best.log_loss:.3f} ({best.kind})"
        )
    return climbed, left_out


def _later_s(prices: list[float], room_s: float) -> float:
    """What the rungs still to come will take: those that fit into the room, in their order.

    >>> _later_s([5.0, 100.0, 4.0], 10.0)
    9.0
    """
    taken = 0.0
    for price_s in prices:
        if taken + price_s <= room_s:
            taken += price_s
    return taken


def _worth(step: Climb, limits: Limits, needed_s: float, has_one: bool) -> dict[str, Any]:
    if has_one and needed_s > step.deadline.left_s:
        return {"refused": f"{limits.by}: needs {needs(needed_s, step.deadline, limits)} left"}
    return {"refused": ""}


def _stand(task: Task, climbed: list[Climbed], limits: Limits) -> list[Standing]:
    if not climbed:
        given = {"time": "time", "cost": "money"}[limits.by]
        option = {"time": "--time", "cost": "--max-cost"}[limits.by]
        raise BudgetError(
            f"budget.{limits.by}", f"no rung could be fitted in the {given} given", next=f"give it more: {option}"
        )
    name = task.modality.name
    return choose_rung([Candidate(c.rung.name, c.best.losses, prior_gain(name, c.rung.name)) for c in climbed])


def _rows(
    task: Task,
    quotes: list[dict[str, Any]],
    climbed: list[Climbed],
    standings: list[Standing],
    left_out: Mapping[str, str],
    decide: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Rows of ``rungs.json``: price, seconds, measured and expected gain, and where it did not help."""
    fitted = {c.rung.name: (c, s) for c, s in zip(climbed, standings, strict=True)}
    most_right = max(climbed, key=lambda c: c.best.accuracy)
    rows = []
    for quote in quotes:
        row: dict[str, Any] = {"rung": quote["rung"], "quote": quote}
        if quote["rung"] in fitted:
            done, standing = fitted[quote["rung"]]
            prior = prior_gain(task.modality.name, quote["rung"])
            row = {**row, **rung_row(done), "gain": standing.gain, "gain_se": standing.gain_se,
                   "expected_gain": standing.expected_gain, "prior": prior, "chosen": standing.chosen,
                   "helped": done is climbed[0] or standing.expected_gain > 0, "decide": decide,
                   "accuracy_behind": behind(done, most_right)}  # fmt: skip
        else:
            row = {**row, "chosen": False, "left_out": left_out[quote["rung"]]}
        rows.append(row)
    return rows


def _record(
    store: Store, run: RunFolder, chosen: Climbed, result: TrainResult, facts: Mapping[str, Any], limits: Limits
) -> None:
    """The act: bundle and end of the run, one event. What only a resume needs is removed afterwards."""
    run.note("done", bundle=result.bundle, seconds=result.seconds, **facts)
    record = {**run.arguments, "bundle": result.bundle, "rung": result.rung, "seconds": round(result.seconds, 2)}
    with store.act("train.done") as act:
        path = f"bundles/{result.bundle[:16]}"
        add_bundle(act.db, Bundle(result.bundle, result.snapshot, run.id, path, now()))
        end_run(act.db, run.id, "done", record)
        act.payload.update(
            run=run.id, bundle=result.bundle, snapshot=result.snapshot, rung=result.rung, head=result.head,
            seconds=round(result.seconds, 2), budget_s=result.budget_s, limits=limits.facts(),
            cost=to_plain(result.cost),
        )  # fmt: skip
    encoder = run.rung(chosen.rung.name).folder / "encoder.safetensors"
    shutil.copyfile(encoder, run.path / "encoder.safetensors")
    for served in run.path.glob("rungs/*/served.onnx"):
        served.unlink()


@contextlib.contextmanager
def _closing(store: Store, run: RunFolder) -> Iterator[None]:
    """Close a run that failed, so that the same command begins afresh; what a repeat may mend stays open to resume."""
    try:
        yield
    except ResourceError:
        raise
    except MusterError as error:
        with store.act("train.failed") as act:
            end_run(act.db, run.id, "failed", {**run.arguments, "error": error.code})
            act.payload.update(run=run.id, error=error.code)
        raise


def _refuse_spent(limits: Limits) -> None:
    """A run whose money was spent before it was killed does not go on: what is left must hold its end at least."""
    if limits.spent_s and limits.cost_s < FINISH_S:
        raise BudgetError(
            "budget.cost", "the processes of this run that were stopped have spent its money",
            value=limits.money(limits.spent_s), limit=f"{limits.max_cost:g} {limits.currency}",
            next=f"muster train --max-cost {limits.max_cost * 2:g} (begins anew; embeddings are kept)",
        )  # fmt: skip


@contextlib.contextmanager
def _accounted(account: Account) -> Iterator[None]:
    """Write down what a run took that was stopped by an error, for the process that goes on with it."""
    try:
        yield
    except BaseException:
        account.meter.report_to(None)
        with contextlib.suppress(ResourceError):  # the disk is full: the last beat's account stands
            account.close("stopped")
        raise


@contextlib.contextmanager
def _memory_errors(limits: Limits, meter: Meter) -> Iterator[None]:
    """Memory that ran out, by the limit or on the machine, as one clear error; the run stays open to go on."""
    try:
        yield
    except (MemoryOverError, Exception) as error:
        if not ran_out_of_memory(error):
            raise
        peak = meter.usage().peak_memory_bytes
        more = max(peak, limits.memory_bytes) * 1.25 / 2**20
        raise ResourceError(
            "memory.over", "training took more memory than it was given; what was finished before is kept",
            value=f"{peak / 2**20:.0f} MiB", limit=memory_given(limits),
            next=f"muster train --max-memory {more:.0f}m: it goes on where it stopped",
        ) from error  # fmt: skip


def memory_given(limits: Limits) -> str:
    """The memory limit, for people."""
    return f"{limits.memory_bytes / 2**20:.0f} MiB" if limits.memory_bytes else "what the machine has"


@contextlib.contextmanager
def _disk_errors(store: Store) -> Iterator[None]:
    """A full disk, wherever it strikes, as one clear error."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in str(error)
        if not full:
            raise
        raise ResourceError(
            "disk.full", "the disk is full; what was finished before is whole", where=store.root,
            next="free some disk and repeat the command: it goes on where it stopped",
        ) from error  # fmt: skip
