"""The stage itself: from a snapshot to an unsigned bundle within the time given.

    read what training may see → price every rung → climb while a rung's price fits the time left → choose by expected
    value → last head, guard, bundle → one ledger event

Killed at any point, the same command goes on from run folder and embedding cache, and ends with the same weights.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from passmuster.core.budget import Deadline, Machine, measure_machine
from passmuster.core.clock import now
from passmuster.core.codec import to_plain
from passmuster.core.config import TrainConfig
from passmuster.core.cost import Cost
from passmuster.core.errors import UsageError
from passmuster.core.label_sets import MULTI
from passmuster.core.meter import Meter, resident_bytes
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Snapshot
from passmuster.learn.device import on_device
from passmuster.metrics.conformal import set_methods
from passmuster.metrics.costs import refuse_unknown
from passmuster.metrics.novelty import refuse_unknown_detector
from passmuster.modality.find import modalities
from passmuster.runtime.label_sets import refuse_detector, refuse_single_label
from passmuster.stages.train.account import Account, used_before
from passmuster.stages.train.failures import accounted, closing, disk_errors, memory_errors, refuse_spent
from passmuster.stages.train.finish import finish
from passmuster.stages.train.ladder import climb_all, rows_of, stand
from passmuster.stages.train.limits import Limits, limits_of, time_of
from passmuster.stages.train.pace import pace_of
from passmuster.stages.train.plan import describe, quote_rungs, refuse_unserved
from passmuster.stages.train.run_folder import RunFolder, open_run, unfinished_run
from passmuster.stages.train.step import Climb, Climbed
from passmuster.stages.train.task import read_task
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
        ``lock.held`` when another training is under way; ``disk.full``; ``memory.over``; ``device.none``.
    """
    config = store.config.train
    budget_s = time_of(store.config) if budget_s is None else budget_s
    seed = config.seed if seed is None else seed
    if seed < 0:
        raise UsageError("train.seed", "a seed is not negative", value=seed, next="muster train --seed 0")
    set_methods[store.config.policy.guard.sets]
    refuse_unknown_detector(store.config.policy.guard.novelty)
    started = time.monotonic() - started_s_ago
    progress = progress or Silent()
    config = replace(config, time=f"{budget_s:g}s", seed=seed)
    if config.serve:
        modalities[store.config.project.modality].rungs[config.serve]  # likewise an unknown rung
    with on_device(config.device), store.lock("train"), disk_errors(store):
        with store.read() as db:
            version = read_snapshot(db, snapshot)
        if version.task == MULTI:
            refuse_detector(store.config.policy.guard)
            refuse_single_label(store.config.policy)
        refuse_unknown(version.classes, store.config.policy.costs.when)
        arguments = _arguments(config, version)
        left = unfinished_run(store, arguments)
        before = used_before(store.runs_folder / left) if left else None
        limits = limits_of(store.config, budget_s, spent_s=before.seconds if before else 0.0)
        refuse_spent(limits)
        if line := limits.line():
            progress.say(line)
        deadline = Deadline(started + limits.seconds)
        meter = Meter(started_s_ago=started_s_ago)
        with memory_errors(limits, meter), meter:
            modality = modalities[version.modality]
            task = read_task(store, version, modality, seed, progress)
            machine, held = measure_machine(), resident_bytes()
            quotes = []
            if left is None:  # a plan that was begun is not priced again
                quotes = quote_rungs(modality, config, machine, task.profile, deadline, limits)
                refuse_unserved(quotes, config.serve)
            run = open_run(store, version.digest, arguments)
            if run.resumed:
                progress.say(f"going on with {run.id}")
            account = Account(run, meter, before, limits, store.config.cost)
            meter.report_to(account.keep)
            meter.limit_bytes = limits.memory_bytes  # before, too little memory is a refusal
            with closing(store, run), accounted(account):
                begun = {"machine": machine, "limits": limits.facts(), "quotes": describe(quotes)}
                plan = run.decide("plan", lambda: begun)
                step = Climb(store, task, run, Machine(**plan["machine"]), deadline, seed, progress, meter, held)
                climbed, left_out = climb_all(step, plan["quotes"], limits)
                standings = stand(task, climbed, limits, config.serve, left_out)
                chosen = climbed[next(i for i, standing in enumerate(standings) if standing.chosen)]
                ended = time.monotonic()
                digest, path, facts = finish(step.at_pace(pace_of(climbed)), chosen)
                facts["finish_s"] = time.monotonic() - ended
                rows = rows_of(task, plan["quotes"], climbed, standings, left_out, facts["decide"])
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
    with on_device(config.device):
        limits = limits_of(store.config, time_of(store.config))
        deadline = Deadline.after(limits.seconds - started_s_ago)
        with store.read() as db:
            version = read_snapshot(db, snapshot)
        modality = modalities[version.modality]
        task = read_task(store, version, modality, config.seed, progress or Silent())
        quotes = describe(quote_rungs(modality, config, measure_machine(), task.profile, deadline, limits))
    return [{**row, "money": row["seconds"] * limits.per_s, "currency": limits.currency} for row in quotes]


def _arguments(config: TrainConfig, snapshot: Snapshot) -> dict[str, Any]:
    """What makes two trainings the same one."""
    return {
        **({"decide_at": config.decide_at} if snapshot.task == MULTI else {}),
        **({"device": config.device} if config.device != "auto" else {}),
        "snapshot": snapshot.digest,
        "time": config.time,
        "max_cost": config.max_cost,
        "seed": config.seed,
        "max_memory": config.max_memory,
        "rungs": config.rungs,
        "serve": config.serve,
        "pretrained": config.pretrained,
        "encoders": config.encoders,
        "image_encoder_sha256": config.image_encoder_sha256,
        "image_pooling": config.image_pooling,
        "min_neighbour_agreement": config.min_neighbour_agreement,
        "spread_items": config.spread_items,
    }


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
