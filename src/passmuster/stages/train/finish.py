"""The end of a training: the chosen rung's head on all labels, the guard, parity with the trained model, the bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.config import MIN_REFERENCE_ITEMS
from passmuster.core.config_file import render_policy
from passmuster.core.label_sets import MULTI
from passmuster.core.matrix import Matrix, blocks_of, mean_and_square
from passmuster.learn.blend import Blended
from passmuster.learn.checkpoint import write_atomic
from passmuster.learn.discriminant import fit_discriminant
from passmuster.learn.graph import append_head
from passmuster.learn.heads import CrossValidated, Head, Scaling, standard_error
from passmuster.learn.label_set_heads import LabelSetsCrossValidated
from passmuster.learn.one_vs_rest import fit_one_vs_rest, sigmoid
from passmuster.learn.pool_heads import fit_judged
from passmuster.learn.shares import label_shares, share_shift
from passmuster.learn.vector_scaling import VectorScaling, choose_vector_scaling
from passmuster.runtime.answers import prices_of
from passmuster.runtime.bundle import write_bundle
from passmuster.runtime.engine import Engine
from passmuster.runtime.guard import apply_guard, fit_guard, novelty_of
from passmuster.runtime.label_sets import fit_label_sets_guard
from passmuster.runtime.reference import payload_statistics
from passmuster.runtime.risk import risk_in_words, risk_of
from passmuster.stages.train.distilling import fit_student
from passmuster.stages.train.embedding import BATCH, batches_of, embed, embed_seen, speed_of
from passmuster.stages.train.guarding import choose_guard
from passmuster.stages.train.pace import FLOAT32, N_PARITY
from passmuster.stages.train.step import Climb, Climbed, Judged
from passmuster.stages.train.task import Task, size_of

MAX_GUARD_ITEMS = 5_000  # that the novelty detector learns as ordinary
MAX_SHARE_ITEMS = 100_000  # of the pool that say how large classes are: more would move a share by less than 0.002
HELD_SHARE = 0.2
DECIDE_S = 0.1  # for timing the guard


def finish(step: Climb, chosen: Climbed) -> tuple[str, Path, dict[str, Any]]:
    """Write the bundle of the chosen rung; returns its digest, its folder, and facts for the run folder."""
    task = step.task
    pool = embed_seen(step, chosen)
    held = embed(step, chosen.graph, chosen.choice, chosen.folder, chosen.key, task.reference, task.reference_payloads)
    if chosen.teacher is None:
        head = fit_head(task, chosen, pool)
    else:
        taught = embed_seen(step, chosen.teacher)
        head = fit_student(task, chosen, pool, fit_head(task, chosen.teacher, taught), taught)
    shift = np.zeros(len(task.classes), np.float32)
    oof, vector = chosen.best.calibrated, None
    if not isinstance(chosen.best, LabelSetsCrossValidated):
        vector = choose_vector_scaling(oof, chosen.best.labels, step.rng("calibration"))
    if vector is not None:
        head, oof = vector.folded(head), vector.apply(oof)
    if task.targets is None:
        answered = pool[_sample(step, "shares", len(pool), MAX_SHARE_ITEMS)]
        shift = share_shift(head.logits(answered), label_shares(task.labels[task.labelled], len(task.classes)))
        head = replace(head, bias=head.bias + shift)  # classes as large as in the pool, not as among the labels
    guard, guard_facts = _guard(step, chosen, head, oof + shift, pool, held)  # out of fold, as served
    digest, path = write_bundle(
        step.store.bundles_folder,
        modality=task.modality.name,
        classes=task.classes,
        snapshot=task.snapshot.digest,
        run=step.run.id,
        rung=chosen.rung.name,
        head={**describe_head(chosen), "calibration": describe_calibration(vector), "guard": guard_facts},
        engine=chosen.choice,
        encoder_key=chosen.key,
        graph=append_head(chosen.graph.onnx, head.weight, head.bias),
        preprocess=chosen.graph.preprocess,
        assets=chosen.graph.assets,
        guard=guard,
        reference=describe_reference(task, pool, head, step.store.config.train.decide_at),
        policy_toml=render_policy(step.store.config),
    )
    _write_parity(step, chosen, head, pool, guard)
    return digest, path, {"guard": guard_facts, "decide": _decide_speed(guard, step, pool[:BATCH], head)}


def _sample(step: Climb, use: str, n: int, most: int) -> np.ndarray:
    """All of `n` positions, or so many of them, in order."""
    return np.arange(n) if n <= most else np.sort(step.rng(use).choice(n, most, replace=False))


def fit_head(task: Task, chosen: Climbed, pool: Matrix) -> Head:
    """The head on all training labels, with the penalty and temperature that cross-validation found.

    `pool` are the embeddings of the items that the rung has seen.
    """
    scaling = Scaling.of(pool)
    labels, labelled = task.labels[task.labelled], chosen.rows(task.labelled)
    best = chosen.best
    if isinstance(best, LabelSetsCrossValidated):
        weight, bias = fit_one_vs_rest(scaling.apply(pool[labelled]), best.targets, c=best.c)
        folded = scaling.fold(weight, bias, best.temperature)
        return replace(folded, bias=folded.bias + best.shift)
    if best.kind == "discriminant":
        x = scaling.apply(pool[labelled])
        weight, bias = fit_discriminant(x, labels, len(task.classes), shrinkage=best.c)
    else:
        over = task.labelled if chosen.spread_over is None else chosen.spread_over
        heads = [head for head in chosen.tried if isinstance(head, CrossValidated)]
        x, place = scaling.apply(pool[chosen.rows(over)]), np.searchsorted(over, task.labelled)
        weight, bias = fit_judged(heads, x, place, labels, len(task.classes))
    return scaling.fold(weight, bias, best.temperature)


def describe_head(chosen: Climbed) -> dict[str, Any]:
    """What ``head.json`` says of the head."""
    best = chosen.best
    sets = isinstance(best, LabelSetsCrossValidated)
    return {
        "schema": 1,
        **({"task": MULTI} if sets else {}),
        "kind": best.kind,
        **_parts(best),
        "penalty_c": best.c,
        "temperature": round(best.temperature, 6),
        "cv": {
            "log_loss": round(best.log_loss, 6),
            "log_loss_se": round(best.log_loss_se, 6),
            "accuracy": round(best.accuracy, 6),
            "n": len(best.items),
            "n_repeats": len(best.logits),
        },
    }


def describe_calibration(vector: VectorScaling | None) -> dict[str, Any]:
    """What ``head.json`` says of what was laid over the temperature."""
    if vector is None:
        return {"kind": "temperature"}
    return {
        "kind": "vector",
        "slope": [round(float(x), 6) for x in vector.slope],
        "shift": [round(float(x), 6) for x in vector.shift],
        "held_out_gain": round(vector.gain, 6),
        "held_out_gain_se": round(vector.gain_se, 6),
    }


def _parts(judged: Judged) -> dict[str, Any]:
    """Of which heads a blend is made, and how much each weighs."""
    if not isinstance(judged, Blended):
        return {}
    return {
        "parts": [
            {"kind": part.kind, "share": round(part.share, 4), "temperature": round(part.temperature, 6)}
            for part in judged.parts
        ]
    }


def _guard(
    step: Climb, chosen: Climbed, head: Head, oof: np.ndarray, pool: Matrix, held: Matrix
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The guard's arrays; thresholds from the reference, or from a part of the pool when the reference is too small."""
    order = step.rng("guard").permutation(len(pool))
    facts: dict[str, Any] = {"held_from": "reference"}
    if len(held) < MIN_REFERENCE_ITEMS:
        n_held = max(1, int(len(order) * HELD_SHARE))
        held, order = pool[np.sort(order[:n_held])], order[n_held:]
        facts["held_from"] = "pool, because the reference has fewer than 20 items"
    ordinary = np.sort(order[:MAX_GUARD_ITEMS])
    fit = np.asarray(pool[ordinary])
    best = chosen.best
    facts |= choose_guard(step, chosen, head, pool, ordinary, fit)
    shared: dict[str, Any] = {
        "fit_embeddings": fit,
        "fit_logits": head.logits(fit),
        "held_embeddings": held[:],
        "held_logits": head.logits(held),
        "oof_logits": oof,
        "policy": replace(step.store.config.policy.guard, novelty=facts["detector"]),
    }
    if isinstance(best, LabelSetsCrossValidated):
        guard = fit_label_sets_guard(**shared, oof_targets=best.targets, decide_at=best.decide_at)
    else:
        prices = prices_of(step.store.config.policy.costs, step.task.classes)
        guard = fit_guard(**shared, oof_labels=best.labels, prices=prices)
    if risk := risk_of(guard):
        facts["risk"] = {**to_plain(risk), "reached": risk.reached}
        step.progress.say(risk_in_words(risk))
    return guard, {**facts, "n_fit": len(fit), "n_held": len(held), "n_oof": len(best.items)}


def _decide_speed(guard: dict[str, np.ndarray], step: Climb, some: np.ndarray, head: Head) -> dict[str, float]:
    """Items a second that the guard judges, the part of an answer that comes after the graph."""
    policy = step.store.config.policy.guard
    logits = head.logits(some)

    def decide(rows: np.ndarray) -> None:
        apply_guard(guard, some[rows], logits[rows], policy)

    rows = np.arange(len(logits))
    return speed_of(decide, [rows], [rows[i : i + 1] for i in rows], DECIDE_S)


def _write_parity(
    step: Climb, chosen: Climbed, head: Head, pool: Matrix, guard: dict[str, np.ndarray]
) -> None:  # fmt: skip
    """Keys and logits of the trained model (the encoder as exported, in float32) for some of what was embedded.

    `served` are the logits of the engine and precision that were chosen, so that a later change of the bundle shows;
    where that is float32, the pool was embedded by the encoder as exported, and nothing is embedded again. `novelty`
    (n,) is what the guard makes of them, and `novelty_threshold` from where on it calls an item novel.
    """
    import io

    task = step.task
    at = np.sort(step.rng("parity").choice(len(chosen.seen), min(N_PARITY, len(chosen.seen)), replace=False))
    embedded, positions = pool[at], chosen.seen[at]
    keys, classes = np.array([task.pool[i].key for i in positions]), np.array(task.classes, dtype=np.str_)
    logits = served = head.logits(embedded).astype(np.float32)
    if chosen.choice.precision != FLOAT32:
        logits = head.logits(_as_exported(task, chosen, positions)).astype(np.float32)
    novelty = novelty_of(guard, embedded, served)
    buffer = io.BytesIO()
    np.savez(
        buffer, allow_pickle=False, keys=keys, logits=logits, classes=classes, served=served, novelty=novelty,
        novelty_threshold=guard["novelty_threshold"],
    )  # fmt: skip
    write_atomic(step.run.path / "parity.npz", buffer.getvalue())


def _as_exported(task: Task, chosen: Climbed, positions: np.ndarray) -> np.ndarray:
    """Embeddings (n, d) of items of the pool by the encoder as exported; batches hold items of like size."""
    graph = chosen.rung.export(chosen.encoder)
    engine, prepare = Engine(graph.onnx), task.modality.preparer(graph.preprocess, chosen.folder)
    payloads = [task.payloads[i] for i in positions]
    order = np.argsort([size_of(payload) for payload in payloads], kind="stable")
    rows = [engine.run(prepare(batch))["embedding"] for batch in batches_of([payloads[i] for i in order])]
    return np.asarray(np.concatenate(rows)[np.argsort(order)])


def describe_reference(task: Task, pool: Matrix, head: Head, decide_at: float) -> dict[str, Any]:
    """Light statistics of what the model was made from: counts, sizes, brightness, mean embedding, answers.

    Answers and embeddings are of the part of the pool that was embedded, `pool`.
    """
    logits = (head.logits(block) for block in blocks_of(pool))
    if task.targets is None:
        n_labels = np.bincount(task.labels[task.labelled], minlength=len(task.classes))
        answers = np.concatenate([z.argmax(axis=1) for z in logits])
        answered = np.bincount(answers, minlength=len(task.classes))
    else:
        n_labels = task.targets.sum(axis=0).astype(int)
        answered = np.sum([(sigmoid(z) >= decide_at).sum(axis=0) for z in logits], axis=0)
    mean, squares = mean_and_square(pool)
    return {
        "schema": 1,
        "n_pool": len(task.pool),
        "n_embedded": len(pool),
        "n_reference": len(task.reference),
        "labels_per_class": dict(zip(task.classes, n_labels.tolist(), strict=True)),
        "answers_per_class": dict(zip(task.classes, answered.tolist(), strict=True)),
        "embedding_mean": [round(float(v), 6) for v in mean],
        "embedding_variance": round(float((squares - mean**2).sum()), 6),
        **payload_statistics(task.payloads),
    }


def behind(climbed: Climbed, most_right: Climbed) -> dict[str, Any]:
    """By how much fewer held-out items a rung gets right than the one with most: paired difference and its error."""
    lost = most_right.best.right - climbed.best.right
    return {"than": most_right.rung.name, "difference": float(lost.mean()), "se": standard_error(lost)}


def rung_row(climbed: Climbed) -> dict[str, Any]:
    """What ``rungs.json`` says of a fitted rung, without its standing."""
    best = climbed.best
    return {
        "rung": climbed.rung.name,
        "summary": climbed.rung.summary,
        "seconds": round(sum(climbed.phases.seconds.values()), 2),
        "peak_memory_bytes": max(climbed.phases.peak_bytes.values()),
        "peak_by_phase": dict(climbed.phases.peak_bytes),
        "truncated": bool(climbed.encoder.settings.get("truncated", False)),
        "seconds_by_phase": {name: round(value, 2) for name, value in climbed.phases.seconds.items()},
        "head": best.kind,
        **({} if climbed.teacher is None else {"learnt_from": climbed.teacher.rung.name}),
        "log_loss": best.log_loss,
        "log_loss_se": best.log_loss_se,
        "accuracy": best.accuracy,
        **({"item_f1": best.item_f1} if isinstance(best, LabelSetsCrossValidated) else {}),
        "n_judged": len(best.items),
        "heads": [
            {"head": r.kind, "log_loss": r.log_loss, "accuracy": r.accuracy, "c": r.c, "temperature": r.temperature,
             "n_repeats": len(r.logits), **_parts(r)}
            for r in climbed.tried
        ],
        "n_spread_over": None if climbed.spread_over is None else len(climbed.spread_over),
        "engine": to_plain(climbed.choice),
        "engines": climbed.engines,
    }  # fmt: skip
