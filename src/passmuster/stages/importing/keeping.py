"""What an import leaves beside the graph: what the bundle says of itself, the run folder, and the ledger's event."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from passmuster.core.clock import now
from passmuster.core.codec import to_plain
from passmuster.core.config_file import render_policy
from passmuster.core.records import Bundle, Snapshot
from passmuster.learn.checkpoint import write_atomic
from passmuster.metrics.costs import refuse_unknown
from passmuster.runtime.bundle import encoder_key, write_bundle
from passmuster.runtime.engine import EngineChoice
from passmuster.runtime.guard import novelty_of
from passmuster.runtime.reference import payload_statistics
from passmuster.stages.importing.asking import Sample
from passmuster.stages.importing.learnt import FILE as LEARNT
from passmuster.stages.importing.learnt import Learnt
from passmuster.stages.importing.rewrite import LOGITS
from passmuster.store.releases import add_bundle, end_run, start_run
from passmuster.store.store import Store

N_PARITY = 500
KIND = "imported"


@dataclass(frozen=True)
class ImportResult:
    """What an import left. `temperature` and `n_calibration` are 1 and 0 when the scores were taken as they are.

    `n_learnt` items were said to be what it learnt from, and `learnt` is the SHA-256 of their keyed digests; 0 and ""
    when nothing was said.
    """

    bundle: str
    path: str
    run: str
    snapshot: str
    classes: tuple[str, ...]
    source: Mapping[str, Any]
    scores: str
    embedding: str
    novelty: str
    temperature: float
    n_calibration: int
    n_asked: int
    n_learnt: int
    learnt: str
    notes: tuple[str, ...]
    asking: Mapping[str, Any] = field(default_factory=dict)  # of an endpoint: how long answers took, and what they cost


def describe_head(result: ImportResult) -> dict[str, Any]:
    """What ``head.json`` says: where the model is from, and what its answers are."""
    return {
        "schema": 1,
        "kind": KIND,
        "source": dict(result.source),
        "scores": result.scores,
        "temperature": round(result.temperature, 6),
        "n_calibration": result.n_calibration,
        "embedding": result.embedding,
        "learnt": {"n": result.n_learnt, "sha256": result.learnt},
        "lacks": [] if result.embedding else ["embedding"],
    }


def describe_reference(
    snapshot: Snapshot, classes: Sequence[str], sample: Sample, answered: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Counts and sizes of the items that the guard was fitted on, and what the model said of them."""
    said = np.bincount(answered[LOGITS].argmax(axis=1), minlength=len(classes))
    return {
        "schema": 1,
        "n_pool": snapshot.n_items.get("train", 0),
        "n_reference": snapshot.n_items.get("reference", 0),
        "n_asked": len(sample.items),
        "answers_per_class": dict(zip(classes, said.tolist(), strict=True)),
        **payload_statistics(sample.payloads),
    }


def keep(
    store: Store,
    snapshot: Snapshot,
    result: ImportResult,
    sample: Sample,
    learnt: Learnt,
    *,
    answered: Mapping[str, np.ndarray],
    as_it_came: np.ndarray,
    engine: EngineChoice,
    graph: bytes,
    preprocess: Mapping[str, Any],
    assets: Mapping[str, bytes],
    guard: Mapping[str, np.ndarray],
) -> ImportResult:
    """Write the bundle, the run folder and the event; returns the result with their names.

    `answered` is what the bundle says of the sample, and `as_it_came` (n, c) the logits that it should be.
    """
    refuse_unknown([*result.classes, *snapshot.classes], store.config.policy.costs.when)
    said = answered["embedding"], answered["logits"]
    run = f"import-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    prepared = {"schema": 1, "modality": snapshot.modality, **preprocess}
    digest, where = write_bundle(
        store.bundles_folder,
        modality=snapshot.modality,
        classes=result.classes,
        snapshot=snapshot.digest,
        run=run,
        rung=str(result.source["format"]),
        head=describe_head(result),
        engine=engine,
        encoder_key=encoder_key(graph, engine, prepared, assets) if result.embedding else "",
        graph=graph,
        preprocess=prepared,
        assets=assets,
        guard=guard,
        reference=describe_reference(snapshot, result.classes, sample, answered),
        policy_toml=render_policy(store.config),
    )
    result = replace(result, bundle=digest, path=str(where), run=run)
    keep_parity(
        store, run, sample, as_it_came, answered[LOGITS], result.classes, novelty_of(guard, *said),
        guard["novelty_threshold"],
    )  # fmt: skip
    if learnt.digests:
        write_atomic(store.runs_folder / run / LEARNT, learnt.data)
    record(store, result)
    return result


def keep_parity(
    store: Store, run: str, sample: Sample, logits: np.ndarray, served: np.ndarray, classes: Sequence[str],
    novelty: np.ndarray, threshold: np.ndarray,
) -> None:  # fmt: skip
    """Keys and logits of the model as it came, those of the bundle that was written (`served`), and what its guard
    makes of them, in the run folder.

    Evaluation compares them with what the bundle answers. Logits (n, c) and `novelty` (n,) are of the whole sample.
    """
    rng = np.random.default_rng([store.config.train.seed, 4])
    chosen = np.sort(rng.permutation(len(sample.items))[:N_PARITY])
    buffer = io.BytesIO()
    keys = np.array([sample.items[int(i)].key for i in chosen])
    named = np.array(classes, dtype=np.str_)
    np.savez(
        buffer, allow_pickle=False, keys=keys, logits=logits[chosen].astype(np.float32), classes=named,
        served=served[chosen].astype(np.float32), novelty=novelty[chosen], novelty_threshold=threshold,
    )  # fmt: skip
    write_atomic(store.runs_folder / run / "parity.npz", buffer.getvalue())


def record(store: Store, result: ImportResult) -> None:
    """The act: bundle and run, one event."""
    facts = {
        "source": dict(result.source), "classes": list(result.classes), "scores": result.scores,
        "temperature": result.temperature, "n_calibration": result.n_calibration,
        "learnt": {"n": result.n_learnt, "sha256": result.learnt}, "asking": dict(result.asking),
    }  # fmt: skip
    plain = json.loads(json.dumps(to_plain(facts)))
    write_atomic(store.runs_folder / result.run / "args.json", json.dumps(plain, indent=1).encode())
    with store.act("import.done") as act:
        start_run(act.db, result.run, "import", result.snapshot, plain)
        end_run(act.db, result.run, "done", {**plain, "bundle": result.bundle})
        path = f"bundles/{result.bundle[:16]}"
        add_bundle(act.db, Bundle(result.bundle, result.snapshot, result.run, path, now(), "imported"))
        act.payload.update(run=result.run, bundle=result.bundle, snapshot=result.snapshot, **plain)
