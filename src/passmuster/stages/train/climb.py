"""One step of the ladder: fit a rung, choose its engine, embed with it, and judge heads on labels they did not see."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.matrix import Matrix
from passmuster.core.meter import Meter, resident_bytes
from passmuster.core.progress import Progress
from passmuster.core.records import Item, Payload
from passmuster.learn.checkpoint import write_atomic
from passmuster.learn.discriminant import cross_validate_discriminant
from passmuster.learn.heads import CrossValidated, Scaling, cross_validate_logistic
from passmuster.learn.label_set_heads import LabelSetsCrossValidated, cross_validate_label_sets
from passmuster.learn.propagation import Propagation, Spreading, neighbour_graph, propagation_bytes, propagation_s
from passmuster.learn.self_training import SelfTraining, earns_its_place, self_training_s
from passmuster.modality.base import Encoder, EncoderGraph, FitView, Rung
from passmuster.runtime.bundle import encoder_key
from passmuster.runtime.engine import Engine, EngineChoice, choose_engine
from passmuster.runtime.speed import items_per_s
from passmuster.stages.train.plan import FINISH_S, Quote, head_kind, heads_s
from passmuster.stages.train.run_folder import RunFolder, read_json
from passmuster.stages.train.task import Task, size_of
from passmuster.stages.train.taught import judge_taught
from passmuster.store.store import Store

BATCH = 64
# Characters in a batch of texts, the longest times their number: an encoder's memory grows with it. 64 texts of 700
# characters took 1.4 GiB, 16 a quarter of that in the same time per text.
BATCH_CHARS, FEWEST = 16_384, 8
N_COMPARED = 256  # items on which engines are compared
N_SINGLES = 24  # of them, asked one by one
PREPARE_SHARE = 0.1  # of the time for comparing engines, for preparing items
# Share of the time left that is kept, for a fit that uses its whole deadline, for embedding and propagation after it.
AFTER_FIT_SHARE = 0.22
ENGINE_SHARE = 0.05  # of the time left, for comparing engines
MIN_SPREAD_ITEMS = 200
QUICK_WORK = 2e11  # operations; propagation that takes fewer is judged on every repeat, else on one


Judged = CrossValidated | LabelSetsCrossValidated


class OutOfTimeError(Exception):
    """A rung that is not the first would break the deadline; it is left out."""


@dataclass
class Phases:
    """Seconds and peak memory of the phases of a rung, one after the other."""

    meter: Meter
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.meter.mark_peak()

    def end(self, name: str) -> None:
        """The phase that was under way is over; the next begins."""
        now = time.monotonic()
        self.seconds[name], self._began = now - self._began, now
        self.peak_bytes[name] = self.meter.mark_peak()


@dataclass(frozen=True)
class Climbed:
    """A fitted rung. `tried` are the heads, the best first; `spread_over` are positions of the pool, or None.

    The one head of a multi-label task is a `LabelSetsCrossValidated`.
    """

    rung: Rung
    encoder: Encoder
    graph: EncoderGraph  # as served: after the choice of precision
    choice: EngineChoice
    folder: Path
    key: str
    tried: tuple[Judged, ...]
    spread_over: np.ndarray | None
    last_fit_s: float  # expected of the best head's fit on all labels
    engines: list[dict[str, Any]]
    phases: Phases

    @property
    def best(self) -> Judged:
        return self.tried[0]


@dataclass(frozen=True)
class Climb:
    """What every step of the ladder shares."""

    store: Store
    task: Task
    run: RunFolder
    machine: Machine
    deadline: Deadline
    seed: int
    progress: Progress
    meter: Meter
    held_bytes: int = 0  # by this process when the machine was looked at

    def memory_room_bytes(self) -> int:
        """Memory that may still be taken, by the run's limit and by what the machine had free when it began."""
        there_was = self.machine.memory_bytes + self.held_bytes
        return min(self.meter.limit_bytes or there_was, there_was) - resident_bytes()

    @property
    def head_kind(self) -> str:
        """The head that every rung is judged by, settled once in a run: what fits the time left when it is asked."""
        left_s = self.deadline.left_s
        decision = self.run.decide("head", lambda: {"kind": head_kind(self.machine, self.task.profile, left_s)})
        return str(decision["kind"])

    @property
    def heads_s(self) -> float:
        """Seconds of its cross-validation."""
        return heads_s(self.machine, self.task.profile, self.head_kind)

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of its own for each use, so that one use does not move another."""
        return np.random.default_rng([self.seed, *(zlib.crc32(name.encode()) for name in names)])


def climb(step: Climb, rung: Rung, quote: Quote, *, before: Sequence[Climbed], later_s: float) -> Climbed:
    """Fit `rung` and judge heads on it. `before` are the rungs fitted already, `later_s` what those after it will need.

    Raises
    ------
    OutOfTimeError
        When the deadline would be broken and there is a fitted rung already.
    """
    run, task = step.run, step.task
    phases = Phases(step.meter)
    step.progress.say(f"{rung.name}: fitting (about {quote.seconds:.0f} s)")
    end_s = step.heads_s + finish_s(before)
    room = end_s + max(0.5, AFTER_FIT_SHARE * max(0.0, step.deadline.left_s))
    encoders = {fitted.rung.name: fitted.encoder for fitted in before}
    labels = task.labels if task.targets is None else np.full(len(task.pool), -1)  # no rung reads sets of classes
    view = FitView(task.payloads, labels, len(task.classes), step.store.config.train, encoders)
    stop = step.deadline.sooner(room)
    judged = None
    if rung.held_out is not None:
        losses = [(fitted.rung.name, fitted.best.losses) for fitted in before]
        judged = judge_taught(run, task, rung, view, stop, step.rng("held out", rung.name), losses, step.head_kind)
        phases.end("judge")
        if judged is None:
            raise OutOfTimeError("teaching it for each fold")
    encoder = _fitted(step, rung, view, stop)
    original = rung.export(encoder)
    phases.end("fit")
    parts = _parts(rung, encoder, before)
    served, choice, engines, folder = _engine(step, rung, original, [part for part, _ in parts])
    phases.end("engine")
    graph = replace(original, onnx=served)
    key = encoder_key(served, choice, graph.preprocess, graph.assets)
    stop = step.deadline.sooner(end_s) if before else None
    pool = embed(step, graph, choice, folder, key, task.pool, task.payloads, stop=stop, parts=parts)
    embed(step, graph, choice, folder, key, task.reference, task.reference_payloads, stop=stop, parts=parts)
    phases.end("embed")
    tried, spread_over, last_fit_s = _judge(step, rung, pool, later_s, judged)
    phases.end("heads")
    for result in tried:
        run.note("head", rung=rung.name, head=result.kind, log_loss=result.log_loss, accuracy=result.accuracy)
    return Climbed(rung, encoder, graph, choice, folder, key, tried, spread_over, last_fit_s, engines, phases)


def finish_s(fitted: Sequence[Climbed]) -> float:
    """Seconds to keep for the end, whichever of these rungs is chosen."""
    return FINISH_S + max((rung.last_fit_s for rung in fitted), default=0.0)


def _fitted(step: Climb, rung: Rung, view: FitView, deadline: Deadline) -> Encoder:
    """The rung's encoder, from the run folder when an earlier process had finished it."""
    checkpoint = step.run.rung(rung.name)
    if checkpoint.load("encoder") is None:
        encoder = rung.fit(view, deadline, checkpoint, step.rng("fit", rung.name))
        if rung.write_folder is not None:
            rung.write_folder(encoder, checkpoint.folder / "transformers")
        checkpoint.save("encoder", encoder.arrays, encoder.settings)
        speed = dict(encoder.settings.get("speed", {}))  # tokens a second and their like, where a rung measured it
        if "utilisation" in speed:
            step.progress.say(f"{rung.name}: {speed['utilisation']:.0%} of the measured peak of matrix products")
        step.run.note("fitted", rung=rung.name, deadline_left_s=deadline.left_s, **speed)
    saved = checkpoint.load("encoder")  # read back, so that a run and its resumption go on from the same thing
    assert saved is not None
    return Encoder(rung.name, *saved)


def _parts(rung: Rung, encoder: Encoder, before: Sequence[Climbed]) -> list[tuple[Climbed, float]]:
    """The fitted rungs whose embeddings, each times its scale, are this rung's; none where it must embed by itself.

    Only where each is served in float32: a graph made smaller as a whole is not its parts made smaller.
    """
    fitted = {done.rung.name: done for done in before if done.choice.precision == "float32"}
    if not rung.parts or not all(name in fitted for name in rung.parts):
        return []
    return [(fitted[name], float(s)) for name, s in zip(rung.parts, encoder.arrays["scales"], strict=True)]


def _engine(
    step: Climb, rung: Rung, graph: EncoderGraph, parts: Sequence[Climbed]
) -> tuple[bytes, EngineChoice, list[dict[str, Any]], Path]:
    """The graph as it will be served, measured on some of the pool; the measurement is made once per run.

    Of a graph that is `parts` side by side the speeds are known: theirs, one after the other.
    """
    folder = step.run.rung(rung.name).folder
    assets = folder / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    for name, data in graph.assets.items():
        if not (assets / name).is_file() or (assets / name).read_bytes() != data:
            write_atomic(assets / name, data)
    decision = folder / "engine.json"
    if not decision.is_file() and parts:
        row = _one_after_the_other([part.engines for part in parts], len(graph.onnx))
        write_atomic(folder / "served.onnx", graph.onnx)
        facts = {"name": parts[0].choice.name, "precision": "float32", "measured": [row]}
        write_atomic(decision, json.dumps(facts, indent=1).encode())
    if not decision.is_file():
        payloads = step.task.payloads
        n = min(N_COMPARED, len(payloads))
        chosen = np.sort(step.rng("engine", rung.name).choice(len(payloads), n, replace=False))
        prepare = step.task.modality.preparer(graph.preprocess, assets)
        batches = list(batches_of([payloads[i] for i in chosen]))
        alone = [[payloads[i]] for i in chosen[:N_SINGLES]]
        feeds = [prepare(batch) for batch in batches]
        seconds = min(5.0, max(0.2, ENGINE_SHARE * step.deadline.left_s))
        served, choice, engines = choose_engine(
            graph.onnx,
            feeds,
            min_neighbour_agreement=step.store.config.train.min_neighbour_agreement,
            seconds=seconds,
            singles=[prepare(one) for one in alone],
        )
        prepared = speed_of(prepare, batches, alone, PREPARE_SHARE * seconds)
        write_atomic(folder / "served.onnx", served)
        facts = {
            "name": choice.name,
            "precision": choice.precision,
            "measured": [{**row, "prepare": prepared} for row in engines],
        }
        write_atomic(decision, json.dumps(facts, indent=1).encode())
    facts = read_json(decision)
    choice = EngineChoice(facts["name"], facts["precision"])
    return (folder / "served.onnx").read_bytes(), choice, facts["measured"], assets


def _one_after_the_other(engines: Sequence[Sequence[dict[str, Any]]], graph_bytes: int) -> dict[str, Any]:
    """A measurement put together from those of parts in float32: the times of an item are added."""

    def speed(rows: Sequence[dict[str, Any]], name: str) -> float:
        return 1.0 / sum(1.0 / row[name] for row in rows)

    taken = [next(row for row in rows if row["precision"] == "float32") for rows in engines]
    names = ("items_per_s", "single_items_per_s")
    return {
        **taken[0],
        **{name: speed(taken, name) for name in names},
        "graph_bytes": graph_bytes,
        "prepare": {name: speed([row["prepare"] for row in taken], name) for name in names},
        "reason": "its parts were measured",
    }


def batches_of(payloads: Sequence[Payload]) -> Iterator[list[Payload]]:
    """The items in their order, 64 at a time; fewer where texts are long, but eight at least.

    >>> [len(batch) for batch in batches_of(["x" * 100] * 100)], [len(b) for b in batches_of(["x" * 1000] * 20)]
    ([64, 36], [16, 4])
    """
    batch: list[Payload] = []
    longest = 0
    for payload in payloads:
        longest = max(longest, len(payload) if isinstance(payload, str) else 0)
        if len(batch) == BATCH or (len(batch) >= FEWEST and (len(batch) + 1) * longest > BATCH_CHARS):
            yield batch
            batch, longest = [], len(payload) if isinstance(payload, str) else 0
        batch.append(payload)
    if batch:
        yield batch


def speed_of(
    work: Callable[[Any], Any], batches: Sequence[Sequence[Any]], alone: Sequence[Sequence[Any]], seconds: float
) -> dict[str, float]:
    """Items a second of `work`, in batches and one by one; half of `seconds` for each."""
    return {
        "items_per_s": items_per_s(work, batches, [len(batch) for batch in batches], seconds=seconds / 2),
        "single_items_per_s": items_per_s(work, alone, [1] * len(alone), seconds=seconds / 2),
    }


def embed(
    step: Climb,
    graph: EncoderGraph,
    choice: EngineChoice,
    assets: Path,
    key: str,
    items: Sequence[Item],
    payloads: Sequence[Payload],
    *,
    stop: Deadline | None = None,
    parts: Sequence[tuple[Climbed, float]] = (),
) -> Matrix:
    """Embeddings (n, d) through the cache, by the engine that will serve; batches hold items of like size.

    With `parts`, from their embeddings, each times its scale.
    """
    prepare: Callable[[Sequence[Payload]], dict[str, np.ndarray]] | None = None
    engine: Engine | None = None

    def compute(positions: Sequence[int]) -> np.ndarray:
        nonlocal prepare, engine
        if parts:
            some = [items[i] for i in positions], [payloads[i] for i in positions]
            rows = [s * embed(step, p.graph, p.choice, p.folder, p.key, *some, stop=stop)[:] for p, s in parts]
            return np.hstack(rows).astype(np.float32)
        if engine is None or prepare is None:
            engine = Engine(graph.onnx, choice)
            prepare = step.task.modality.preparer(graph.preprocess, assets)
        order = np.argsort([size_of(payloads[i]) for i in positions], kind="stable")
        blocks: list[np.ndarray] = []
        for batch in batches_of([payloads[positions[i]] for i in order]):
            if stop is not None and stop.passed:
                raise OutOfTimeError("embedding")
            blocks.append(engine.run(prepare(batch))["embedding"])
        found = np.concatenate(blocks)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return np.asarray(found[back], dtype=np.float32)

    return step.store.embeddings(key).open([item.blob for item in items], compute, progress=step.progress)


def _judge(
    step: Climb, rung: Rung, pool: Matrix, later_s: float, judged: tuple[CrossValidated, ...] | None = None
) -> tuple[tuple[Judged, ...], np.ndarray | None, float]:
    """Heads on these embeddings by cross-validated log-loss, the best first; over what labels spread; the last fit.

    `judged` are heads that were judged elsewhere, because these embeddings have seen the labels.
    """
    task = step.task
    if judged is not None and judged[0].kind == "logistic":
        return judged, None, 0.0
    scaling = Scaling.of(pool)
    labelled = scaling.apply(pool[task.labelled])
    if task.targets is not None:  # labels are not spread: what that is worth for sets of classes was not measured
        decide_at = step.store.config.train.decide_at
        return (cross_validate_label_sets(labelled, task.targets, task.folds, decide_at),), None, 0.0
    labels = task.labels[task.labelled]
    n_classes = len(task.classes)
    if step.head_kind == "discriminant":
        return (cross_validate_discriminant(labelled, labels, task.folds, n_classes),), None, 0.0
    if judged is None:
        logistic = cross_validate_logistic(labelled, labels, task.folds, n_classes)
    else:
        logistic = next(head for head in judged if head.kind == "logistic")
    decision = step.run.decide(f"spread-{rung.name}", lambda: _how_to_spread(step, pool.shape[1], later_s))
    if not decision["n_items"]:
        return (logistic,), None, 0.0
    chosen = spread_positions(task, int(decision["n_items"]), step.rng("spread"))
    last_s = _pool_heads_s(step.machine.matmul_gflops * 1e9, len(chosen), pool.shape[1], n_classes, 1)
    if judged is not None:
        return judged, chosen, last_s
    x, folds = scaling.apply(pool[chosen]), task.folds[: int(decision["n_repeats"])]
    spread = prepare_propagation(task, x, chosen).cross_validate(logistic, folds)
    trained = prepare_self_training(task, x, chosen).cross_validate(logistic, folds)
    tried = sorted((logistic, spread), key=lambda result: result.log_loss)
    tried.insert(0 if earns_its_place(trained, tried) else len(tried), trained)
    return tuple(tried), chosen, last_s


def _pool_heads_s(flops_per_s: float, n_items: int, d: int, n_classes: int, n_fits: int) -> float:
    """Seconds of so many fits of every head that learns from the pool."""
    spread = propagation_s(flops_per_s, n_items, d, n_classes, n_fits)
    return spread + self_training_s(flops_per_s, n_items, d, n_classes, n_fits)


def _how_to_spread(step: Climb, d: int, later_s: float) -> dict[str, Any]:
    """Over how many items labels spread, and on how many repeats that is judged, in the time and memory there are."""
    task = step.task
    n_labels, n_pool, n_classes = len(task.labelled), len(task.pool), len(task.classes)
    n_folds = int(task.folds.max()) + 1
    room_s = step.deadline.left_s - later_s - FINISH_S
    speed = step.machine.matmul_gflops * 1e9
    fewest = n_labels + MIN_SPREAD_ITEMS
    if n_pool < fewest:
        return {"n_items": 0, "why": "hardly any unlabelled items"}
    wanted = min(n_pool, step.store.config.train.spread_items + n_labels)
    in_memory = int(step.memory_room_bytes() / propagation_bytes(1, d, n_classes))
    n_items = min(wanted, in_memory)
    if n_items < fewest:
        return {"n_items": 0, "why": f"no memory for it: room for {max(0, in_memory):,} items"}
    while True:
        once = _pool_heads_s(speed, n_items, d, n_classes, n_folds + 1)
        if once <= room_s:
            break
        n_items = int(n_items * 0.8)
        if n_items < fewest:
            return {"n_items": 0, "why": f"no time: {max(0.0, room_s):.1f} s left for it"}
    every = _pool_heads_s(speed, n_items, d, n_classes, n_folds * len(task.folds) + 1)
    n_repeats = len(task.folds) if every <= room_s and every * speed <= QUICK_WORK else 1
    return {"n_items": n_items, "n_repeats": n_repeats, "of": n_pool, "expected_s": round(once, 2)}


def spread_positions(task: Task, n_items: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of the pool that labels spread over: every labelled item, and a sample of the others."""
    unlabelled = np.flatnonzero(task.labels < 0)
    n_sampled = min(len(unlabelled), n_items - len(task.labelled))
    return np.sort(np.concatenate([task.labelled, rng.choice(unlabelled, n_sampled, replace=False)]))


def prepare_propagation(task: Task, x: np.ndarray, chosen: np.ndarray) -> Propagation:
    """The graph over the items `chosen` of the pool, scaled as `x` (chosen, d), and where their labels lie."""
    labelled = np.searchsorted(chosen, task.labelled)
    settings = Spreading()
    return Propagation(
        x, neighbour_graph(x, settings), labelled, task.labels[task.labelled], len(task.classes), settings
    )


def prepare_self_training(task: Task, x: np.ndarray, chosen: np.ndarray) -> SelfTraining:
    """The items `chosen` of the pool, scaled as `x` (chosen, d), and where their labels lie."""
    return SelfTraining(x, np.searchsorted(chosen, task.labelled), task.labels[task.labelled], len(task.classes))


# Heads that learn from the pool as well as from the labels, by the kind that ``head.json`` names.
POOL_HEADS: dict[str, Callable[[Task, np.ndarray, np.ndarray], Propagation | SelfTraining]] = {
    "propagation": prepare_propagation,
    "self-training": prepare_self_training,
}
