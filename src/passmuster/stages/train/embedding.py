"""How a rung embeds: the engine that will serve, chosen on the user's own items, and the pool through the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline
from passmuster.core.matrix import Matrix
from passmuster.core.records import Item, Payload
from passmuster.core.sampling import pool_order
from passmuster.learn.checkpoint import write_atomic
from passmuster.modality.base import EncoderGraph, Rung, n_sampled
from passmuster.runtime.engine import Engine, EngineChoice, choose_engine
from passmuster.runtime.speed import items_per_s
from passmuster.stages.train.run_folder import read_json
from passmuster.stages.train.step import Climb, Climbed, OutOfTimeError
from passmuster.stages.train.task import Task, size_of

BATCH = 64
# Characters in a batch of texts, the longest times their number: an encoder's memory grows with it. 64 texts of 700
# characters took 1.4 GiB, 16 a quarter of that in the same time per text.
BATCH_CHARS, FEWEST = 16_384, 8
N_COMPARED = 256  # items on which engines are compared
N_SINGLES = 24  # of them, asked one by one
PREPARE_SHARE = 0.1  # of the time for comparing engines, for preparing items
ENGINE_SHARE = 0.05  # of the time left, for comparing engines


@dataclass(frozen=True)
class Joined:
    """How the embedding of a rung is made of those of its parts (`Rung.parts`)."""

    parts: Sequence[Climbed]
    scales: np.ndarray  # (parts,)
    through: np.ndarray | None  # (d, e)

    def of(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """The rung's embeddings (n, e) from those of its parts, (n, d_i) each."""
        beside = np.hstack([float(s) * x for s, x in zip(self.scales, rows, strict=True)]).astype(np.float32)
        return beside if self.through is None else beside @ self.through


def parts_of(rung: Rung, before: Sequence[Climbed]) -> list[Climbed]:
    """The fitted rungs whose embeddings, each times a scale, are this rung's; none where it must embed by itself.

    Only where each is served in float32: a graph made smaller as a whole is not its parts made smaller.
    """
    fitted = {done.rung.name: done for done in before if done.choice.precision == "float32"}
    return [fitted[name] for name in rung.parts] if all(name in fitted for name in rung.parts) else []


def positions_seen(task: Task, rung: Rung, seed: int) -> np.ndarray:
    """Positions of the pool that a rung embeds, in order: all, or the labelled and a sample where embedding is dear."""
    if not rung.sampled:
        return np.arange(len(task.pool))
    order = pool_order(len(task.pool), seed)
    n = n_sampled(len(task.pool), len(task.labelled)) - len(task.labelled)
    return np.sort(np.concatenate([task.labelled, order[task.labels[order] < 0][:n]]))


def choose_how_to_embed(
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
        return float(1.0 / sum(1.0 / row[name] for row in rows))

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
    work: Callable[[Any], Any], batches: Sequence[Sized], alone: Sequence[Sized], seconds: float
) -> dict[str, float]:
    """Items a second of `work`, in batches and one by one; half of `seconds` for each."""
    return {
        "items_per_s": items_per_s(work, batches, [len(batch) for batch in batches], seconds=seconds / 2),
        "single_items_per_s": items_per_s(work, alone, [1] * len(alone), seconds=seconds / 2),
    }


def embed_seen(step: Climb, climbed: Climbed, *, stop: Deadline | None = None) -> Matrix:
    """A fitted rung's embeddings of the items it has seen, from the cache as far as they are there."""
    items = [step.task.pool[i] for i in climbed.seen], [step.task.payloads[i] for i in climbed.seen]
    return embed(step, climbed.graph, climbed.choice, climbed.folder, climbed.key, *items, stop=stop)


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
    joined: Joined | None = None,
) -> Matrix:
    """Embeddings (n, d) through the cache, by the engine that will serve; batches hold items of like size.

    With `joined`, from the embeddings of its parts.
    """
    prepare: Callable[[Sequence[Payload]], dict[str, np.ndarray]] | None = None
    engine: Engine | None = None

    def compute(positions: Sequence[int]) -> np.ndarray:
        nonlocal prepare, engine
        if joined is not None:
            some = [items[i] for i in positions], [payloads[i] for i in positions]
            there = [embed(step, p.graph, p.choice, p.folder, p.key, *some, stop=stop)[:] for p in joined.parts]
            return joined.of(there)
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
