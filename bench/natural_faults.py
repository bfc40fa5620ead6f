"""Natural faults: nobody planted anything; the model just learnt something else than what it is judged for.

Amazon reviews (each kind of goods in turn is what the model is for) and Fashion-MNIST. The live release learnt from 600
labels of the right kind. Candidates learnt from another kind of goods, from the older half of all years, from a skewed
mix of classes, from forty labels, by an older encoder (vectors of words), or are the live release's own head behind an
eight-bit export; others have no fault: other labels of the same kind, or of all kinds. The gates of a new project
(with the accuracy and margin that the set allows) judge each on a visible test. The truth is what the same claims come
to on hidden items of the same kind, and undecided within the noise of those (`natural_truth.py`). Encoders are run
once: a predictor takes its rows from a table.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import natural_sets
from harness import Report
from natural_truth import truth_of
from passmuster.core.clock import now
from passmuster.core.config import DEFAULT_GATES, Config, Policy
from passmuster.core.config_file import render_config
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.records import Bundle, Item, Label, Release, Snapshot
from passmuster.core.records import Report as Evidence
from passmuster.core.statistics import wilson
from passmuster.flows.drill.graphs import head_of
from passmuster.learn.folds import repeated_folds
from passmuster.learn.graph import append_head
from passmuster.learn.heads import Head, Scaling, cross_validate_logistic
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.metrics.gates import decide
from passmuster.runtime.bundle import write_bundle
from passmuster.runtime.engine import EngineChoice
from passmuster.runtime.guard import fit_guard, novelty_of
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate import Scope, evaluate
from passmuster.store.items import add_items, add_labels
from passmuster.store.releases import add_bundle, add_release, point_channel
from passmuster.store.snapshots import add_snapshot, commit_items
from passmuster.store.store import Store

N_LABELS, N_FEW, N_PARITY, N_VISIBLE = 600, 40, 200, 600
SEEDS = 3
MAX_HIDDEN = 6_000
GATES: dict[str, Mapping[str, float]] = {
    **DEFAULT_GATES, "accuracy.v1": {"min": 0.7}, "non_inferiority.v1": {"margin": 0.05},
}  # fmt: skip
TABLES: dict[str, dict[str, np.ndarray]] = {}  # encoder key: text: embedding


@dataclass(frozen=True)
class Model:
    """A head with its guard, on one encoder's embeddings, learnt from `learnt` and calibrated by cross-validation."""

    encoder: str
    classes: tuple[str, ...]
    head: Head
    guard: dict[str, np.ndarray]
    learnt: np.ndarray


class Known(Predictor):
    """`Predictor` whose embeddings were made before; an item that is in no table lies at the origin."""

    def embed(self, payloads: Any) -> tuple[np.ndarray, np.ndarray]:
        weight, bias = head_of(self.bundle.graph)
        table = TABLES[self.bundle.manifest.encoder_key]
        nowhere = np.zeros(len(weight), np.float32)
        rows = np.array([table.get(payload, nowhere) for payload in payloads], np.float32).reshape(-1, len(weight))
        return rows, rows @ weight + bias


SCOPE = Scope(n_corrupted=0, n_fit=1, n_classes_left_out=0, n_resamples=100, page=False, open=Known)


def natural(
    report: Report, data: Path, seed: int, quick: bool, folder: Path | None = None, n_draws: int = SEEDS,
    keep: Path | None = None, goods: Sequence[str] = (),
) -> None:  # fmt: skip
    """Every case of both sets, `n_draws` of each kind of goods, and how often a decided verdict is the truth.

    Draws that the folder `keep` has whole are taken from it. With `goods`, of those alone.
    """
    with tempfile.TemporaryDirectory() as scratch:
        at = folder or Path(scratch)
        kept = (keep or Path(scratch)) / f"natural{'-quick' if quick else ''}.jsonl"
        kept.parent.mkdir(parents=True, exist_ok=True)
        known = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
        cases = 0
        for name, read in (("fashion_mnist", natural_sets.fashion), ("amazon", natural_sets.amazon)):
            found = read(data, at, quick)
            for target in sorted(set(found.group.tolist()) & set(goods) if goods else set(found.group.tolist())):
                for draw in range(1 if quick else n_draws if name == "amazon" else SEEDS):
                    place = {"set": name, "target": target, "seed": seed + draw}
                    runs = [run for run in known if place.items() <= run.items()]
                    if not runs:
                        runs = judge_all(name, found, target, seed + draw)
                        with kept.open("a", encoding="utf-8") as file:
                            file.writelines(json.dumps(run) + "\n" for run in runs)
                    cases += len(runs)
                    for run in runs:
                        report.run(**run)
        print(f"{cases} cases", flush=True)


def judge_all(name: str, data: natural_sets.Data, target: str, seed: int) -> list[dict[str, Any]]:
    """Every candidate for one kind of item and one draw."""
    TABLES.clear()
    for encoder, matrix in data.embeddings.items():
        TABLES[encoder] = dict(zip(data.names, matrix, strict=True))
    rng = np.random.default_rng([seed, 11])
    mine = rng.permutation(np.flatnonzero(data.group == target))
    n_visible = min(N_VISIBLE, len(mine) // 4)
    visible, train, hidden = np.split(mine, [n_visible, n_visible + min(N_LABELS, len(mine) // 3)])
    hidden = hidden[:MAX_HIDDEN]
    live = learn(data, "float32", train[: len(train) * 2 // 3], train)
    with tempfile.TemporaryDirectory() as folder:
        sides = [Side(Path(folder) / where, data, train, test, live, parity) for where, test, parity in
                 (("visible", visible, train[:N_PARITY]), ("hidden", hidden, train[N_PARITY:]))]  # fmt: skip
        runs: list[dict[str, Any]] = []
        for kind, candidate, trained in candidates(name, data, target, train, live, rng):
            reports = [side.judge(f"{kind}-{len(runs)}", candidate, trained) for side in sides]
            verdict = decide(reports[0], Policy(gates=GATES), n_looks=1.0)
            truth, broken, near = truth_of(reports[1], GATES)
            decided = verdict.outcome in ("SHIP", "HOLD") and truth != "undecided"
            facts = {
                "kind": "natural", "set": name, "target": target, "seed": seed, "fault": kind,
                "verdict": verdict.outcome, "truth": truth, "agrees": verdict.outcome == truth if decided else None,
                "held_by": [g.gate for g in verdict.gates if g.state == "failed"],
                "broken": broken, "near": near, "n_hidden": reports[1].n_test,
                "accuracy": value(reports[0]), "accuracy_hidden": value(reports[1]),
            }  # fmt: skip
            runs.append(facts)
            print(json.dumps(facts), flush=True)
        for side in sides:
            side.store.close()
    return runs


def candidates(
    name: str, data: natural_sets.Data, target: str, train: np.ndarray, live: Model, rng: np.random.Generator
) -> Iterator[tuple[str, Model, Model]]:
    """Kind of fault, what is served, and what was trained (another where the export is at fault)."""
    n = len(live.learnt)
    left = np.setdiff1d(train, live.learnt)

    def both(kind: str, model: Model) -> tuple[str, Model, Model]:
        return kind, model, model

    mixed = np.concatenate([rng.permutation(live.learnt)[: n // 2], left])
    yield both("none_other_labels", learn(data, "float32", mixed, train))
    per_class = max(4, N_FEW // len(live.classes))
    few = np.concatenate([rng.permutation(train[data.labels[train] == c])[:per_class] for c in live.classes])
    yield both("few_labels", learn(data, "float32", few, train))
    for share in (0.1, 0.02):
        rare = live.classes[0]
        of_rare = rng.permutation(train[data.labels[train] == rare])
        others = train[data.labels[train] != rare]
        n_rare = max(4, round(share * len(of_rare)))
        yield both(f"class_mix_{share}", learn(data, "float32", np.concatenate([of_rare[:n_rare], others]), train))
    if "int8" in data.embeddings:
        yield "int8_export", replace(live, encoder="int8"), live
        yield both("older_encoder", learn(data, "older", live.learnt, train))
    kinds = sorted(set(data.group.tolist()) - {target})
    for other in kinds:
        theirs = rng.permutation(np.flatnonzero(data.group == other))
        yield both(f"from_{other}", learn(data, "float32", theirs[:n], theirs[:N_LABELS]))
    if kinds:
        others = rng.permutation(np.flatnonzero(data.group != target))
        yield both("none_all_kinds", learn(data, "float32", np.concatenate([live.learnt, others[:n]]), train))
        old = others[data.year[others] <= np.median(data.year)]
        yield both("older_years", learn(data, "float32", old[:n], old[:N_LABELS]))


def learn(data: natural_sets.Data, encoder: str, learnt: np.ndarray, pool: np.ndarray) -> Model:
    """A logistic head whose penalty and temperature are cross-validated, and a guard fitted on the pool."""
    matrix, classes = data.embeddings[encoder], tuple(sorted(set(data.labels.tolist())))
    labels = np.searchsorted(classes, data.labels[learnt])
    scaling = Scaling.of(matrix[pool])
    x = scaling.apply(matrix[learnt])
    best = cross_validate_logistic(x, labels, repeated_folds(labels, np.random.default_rng(0)), len(classes))
    head = scaling.fold(*fit_logistic(x, one_hot(labels, len(classes)), c=best.c), best.temperature)
    held, fit = np.split(pool, [len(pool) // 3])
    guard = fit_guard(
        fit_embeddings=matrix[fit], fit_logits=head.logits(matrix[fit]), held_embeddings=matrix[held],
        held_logits=head.logits(matrix[held]), oof_logits=best.calibrated, oof_labels=best.labels,
        policy=Policy().guard,
    )  # fmt: skip
    return Model(encoder, classes, head, guard, learnt)


class Side:
    """A project with one test, the live release in it, and the training items by which what is served is checked."""

    def __init__(
        self, folder: Path, data: natural_sets.Data, train: np.ndarray, test: np.ndarray, live: Model,
        parity: np.ndarray,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True)
        config = replace(Config(), policy=Policy(gates=GATES))
        config = replace(config, project=replace(config.project, modality="text"))
        (folder / "muster.toml").write_text(render_config(config))
        self.store, self.data = Store.create(folder), data
        self.parity = parity
        places = [(int(i), "train") for i in train] + [(int(i), "test") for i in test]
        blobs = self.store.blobs.put_many([data.names[i].encode() for i, _ in places])
        items = [
            Item(self.store.keyed(f"{i}".encode()), data.names[i], self.store.keyed(blob.encode()), blob, 9, "made")
            for (i, _), blob in zip(places, blobs, strict=True)
        ]
        self.keys = {i: item.key for (i, _), item in zip(places, items, strict=True)}
        root, rows = commit_items([(item, split, "") for item, (_, split) in zip(items, places, strict=True)])
        self.snapshot = Snapshot(
            digest=sha256_hex(canonical_json(root)), parent="", created=now(), modality="text", classes=live.classes,
            n_items={"train": len(train), "test": len(test)}, n_labels={"test": len(test)}, labels_read=0,
        )  # fmt: skip
        facts = [Label(self.keys[int(i)], str(data.labels[i]), "given", now(), "test") for i in test]
        with self.store.act("data.add") as act:
            add_items(act.db, items)
            add_labels(act.db, facts)
            add_snapshot(act.db, self.snapshot, rows)
        bundle = self.write("live", live, live)
        release = Release("live", bundle.digest, "SHIP", bundle.path, now())
        with self.store.act("release.approve") as act:
            add_release(act.db, release)
            point_channel(act, "live", release)

    def write(self, run: str, model: Model, trained: Model) -> Bundle:
        """A bundle, and in its run folder what the trained model says of some training items."""
        answers = model.head.logits(self.data.embeddings[model.encoder][self.parity]).argmax(axis=1)
        counts = np.bincount(answers, minlength=len(model.classes)).tolist()
        digest, path = write_bundle(
            self.store.bundles_folder, modality="text", classes=model.classes, snapshot=self.snapshot.digest, run=run,
            rung="table", head={"kind": "logistic.v1", "run": run}, encoder_key=model.encoder,
            engine=EngineChoice(precision="int8" if model.encoder == "int8" else "float32"),
            graph=append_head(stub(len(model.head.weight)), model.head.weight, model.head.bias),
            preprocess={"schema": 1, "modality": "text", "steps": [{"op": "strings.v1", "input": "text", "rank": 1}]},
            assets={}, guard=model.guard, reference={"answers_per_class": dict(zip(model.classes, counts))},
            policy_toml=render_config(self.store.config),
        )  # fmt: skip
        logits = trained.head.logits(self.data.embeddings[trained.encoder][self.parity])
        served = self.data.embeddings[model.encoder][self.parity]
        (self.store.runs_folder / run).mkdir(parents=True, exist_ok=True)
        np.savez(
            self.store.runs_folder / run / "parity.npz", keys=np.array([self.keys[int(i)] for i in self.parity]),
            logits=logits, classes=np.array(trained.classes),
            novelty=novelty_of(model.guard, served, model.head.logits(served)),
            novelty_threshold=model.guard["novelty_threshold"],
        )  # fmt: skip
        bundle = Bundle(digest, self.snapshot.digest, run, f".muster/bundles/{path.name}", now())
        with self.store.act("train.done") as act:
            add_bundle(act.db, bundle)
        return bundle

    def judge(self, run: str, model: Model, trained: Model) -> Evidence:
        """The report on a candidate."""
        return evaluate(self.store, self.write(run, model, trained).digest, scope=SCOPE).report


def value(report: Evidence) -> float:
    """Accuracy."""
    metric = report.metric("accuracy")
    assert metric is not None
    return metric.value


def claims_of_natural(report: Report) -> None:
    """Agreement of decided verdicts with the truth, how many were decided, and how many that ship should not."""
    runs = [run for run in report.runs if run["kind"] == "natural"]
    if not any(run["agrees"] is not None for run in runs):
        return
    for name in ("all", *sorted({run["set"] for run in runs})):
        some = [run for run in runs if name in ("all", run["set"])]
        decided = [run for run in some if run["agrees"] is not None]
        agreed = wilson(sum(run["agrees"] for run in decided), len(decided))
        report.claim(f"{name}.natural.agreement", agreed.value, "rate", low=agreed.low, high=agreed.high)
        share = wilson(len(decided), len(some))
        report.claim(f"{name}.natural.decided", share.value, "rate", low=share.low, high=share.high)
        known = wilson(sum(run["truth"] != "undecided" for run in some), len(some))
        report.claim(f"{name}.natural.truth_known", known.value, "rate", low=known.low, high=known.high)
        shipped = [run for run in decided if run["verdict"] == "SHIP"]
        if shipped:
            wrong = wilson(sum(run["truth"] == "HOLD" for run in shipped), len(shipped))
            report.claim(f"{name}.natural.wrong_ship", wrong.value, "rate", low=wrong.low, high=wrong.high)
    report.claim("all.natural.cases", len(runs), "cases")


def stub(d: int) -> bytes:
    """A graph of the right shape that reads texts and is never run: embeddings come from a table."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node(
            "LabelEncoder", ["text"], ["number"], domain="ai.onnx.ml", keys_strings=[""], values_int64s=[0]
        ),
        helper.make_node("Cast", ["number"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "axis"], ["column"]),
        helper.make_node("MatMul", ["column", "zeros"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes, "table", [helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", d])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
         helper.make_tensor("zeros", TensorProto.FLOAT, [1, d], [0.0] * d)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)])
    model.ir_version = 9
    return bytes(model.SerializeToString())
