"""A transformer pretrained from scratch on the raw texts, against static vectors of the same texts.

Banking77, CLINC150 (in scope) and AG News (half of its test split), each whole as raw text. Both rungs see no label;
they are fitted once per set, the transformer within ``--time``, on a card where there is one. Every draw of labels then
fits and chooses heads on the embeddings of either, and reports the cross-validated log-loss that training goes by and
what the heads answer on the test. Speed is told as tokens a second and as the share of the measured peak of matrix
products that the model's own operations make up (model FLOPs utilisation), on a processor in the seconds that the
process had of it, so that other work does not show.

    python bench/pretrain.py [--quick] [--only banking77] [--time 4m] [--draws 3] [--json FILE]
    python bench/pretrain.py --size 384x6 --steps 500

``--size`` trains a network of that width and number of layers, whatever the rule of sizes says; ``--steps`` takes so
many steps, however long they take: on a machine that others use, the same work as on an idle one. With ``--only``, runs
of other sets in the result file are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
import text_ladder
from text_ladder import Embedded
from text_sets import Texts, draw_labels, read

SETS = ("ag_news", "banking77", "clinc150")
RUNG, PEER = "transformer.v1", "static.v1"
BESIDE = "static.v1 + transformer.v1"  # side by side, each brought to one spread: no rung yet
PER_CLASS = {"ag_news": (8, 16), "banking77": (8,), "clinc150": (8,)}
N_DRAWS = 3
QUICK_TIME = "15s"
BATCH = 64
N_SPREAD = 12_000  # unlabelled texts that labels spread over


def main() -> None:
    """Every set; claims are written after each."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="sets whose name begins so")
    parser.add_argument("--time", default="4m", help="of the transformer's fit, per set")
    parser.add_argument("--draws", type=int, default=N_DRAWS, help="draws of labels")
    parser.add_argument("--steps", type=int, default=0, help="so many steps, whatever `--time` holds of them")
    parser.add_argument("--size", default="", metavar="WIDTHxLAYERS", help="of the network, instead of the rule's")
    arguments = parser.parse_args()
    report = harness.Report("pretrain", arguments)
    report.runs += kept_runs(arguments)
    for name in SETS:
        if name.startswith(arguments.only):
            measure(name, arguments, report)
            report.claims.clear()
            claim(report)
            report.write()


def kept_runs(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs of the result file that is about to be written, of sets that are not run again."""
    path = arguments.json or harness.RESULTS / "pretrain.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
    return [run for run in runs if not run["set"].startswith(arguments.only)]


def measure(name: str, arguments: argparse.Namespace, report: harness.Report) -> None:
    """Fit both rungs on one set, and judge them on every draw of labels."""
    from passmuster.core.budget import parse_duration_s

    texts = read(name, arguments)
    seconds = parse_duration_s(QUICK_TIME if arguments.quick else arguments.time)
    embedded, facts = {}, {}
    for rung in (PEER, RUNG):
        embedded[rung], facts[rung] = fit_and_embed(rung, texts, seconds, arguments)
        print(f"{name} {rung}: {facts[rung]}", file=sys.stderr)
    embedded[BESIDE] = side_by_side([embedded[PEER], embedded[RUNG]])
    for per_class in PER_CLASS[name]:
        for draw in range(1 if arguments.quick else arguments.draws):
            chosen = draw_labels(texts.labels, per_class, arguments.seed + draw)
            rows = judge_all(embedded, texts, chosen, draw)
            beside = {BESIDE: rows.pop(BESIDE)}
            report.run(
                set=name, per_class=per_class, draw=draw, method="encoder", fitted=facts, rungs=rows, beside=beside
            )
            print(f"{name} {per_class} per class, draw {draw}: {rows | beside}", file=sys.stderr)


def fit_and_embed(
    rung: str, texts: Texts, seconds: float, arguments: argparse.Namespace
) -> tuple[Embedded, dict[str, Any]]:
    """The rung's embeddings of pool and test, in float32, and what its fit tells."""
    from passmuster.core.budget import Deadline
    from passmuster.core.config import TrainConfig
    from passmuster.learn.checkpoint import FileCheckpoint
    from passmuster.modality.base import FitView
    from passmuster.modality.find import modalities

    modality, began, cpu = modalities["text"], time.perf_counter(), time.process_time()
    view = FitView(texts.pool, np.full(len(texts.pool), -1), 2, TrainConfig())
    with tempfile.TemporaryDirectory() as folder, planned(arguments):
        rng = np.random.default_rng(arguments.seed)
        encoder = modality.rungs[rung].fit(view, Deadline.after(seconds), FileCheckpoint(Path(folder)), rng)
        fit_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        graph = modality.rungs[rung].export(encoder)
        for asset, data in graph.assets.items():
            (Path(folder) / asset).write_bytes(data)
        prepare = modality.preparer(graph.preprocess, Path(folder))
        pool, test = (embed(graph.onnx, prepare, part) for part in (texts.pool, texts.test))
        found = Embedded(rung, pool, test, cpu_s, 0.0)
    facts = {"fit_s": round(fit_s, 1), "fit_cpu_s": round(cpu_s, 1), "graph_bytes": len(graph.onnx)}
    kept = ("plan", "step", "n_steps", "truncated", "n_texts", "n_tokens", "speed")
    return found, facts | {key: encoder.settings[key] for key in kept if key in encoder.settings}


def embed(onnx: bytes, prepare: Callable[..., Any], texts: Sequence[str]) -> np.ndarray:
    """Embeddings (n, d) by the engine that would serve, texts of like length together."""
    from passmuster.runtime.engine import Engine

    engine = Engine(onnx)
    order = np.argsort([len(text) for text in texts], kind="stable")
    batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    rows = [engine.run(prepare([texts[i] for i in batch]))["embedding"] for batch in batches]
    return np.concatenate(rows)[np.argsort(order, kind="stable")].astype(np.float32)


def side_by_side(views: Sequence[Embedded]) -> Embedded:
    """Views one beside the other, each divided by its root mean square distance from its mean over the pool."""
    spreads = [float(np.sqrt(((v.pool - v.pool.mean(axis=0)) ** 2).sum(axis=1).mean())) for v in views]
    pool, test = (
        np.hstack([getattr(view, part) / spread for view, spread in zip(views, spreads, strict=True)])
        for part in ("pool", "test")
    )
    return Embedded(BESIDE, pool.astype(np.float32), test.astype(np.float32), sum(view.fit_s for view in views), 0.0)


def judge_all(embedded: dict[str, Embedded], texts: Texts, chosen: np.ndarray, draw: int) -> dict[str, Any]:
    """Per rung: the best head by cross-validation, its gain over static vectors, and what it answers on the test."""
    from passmuster.learn.folds import repeated_folds
    from passmuster.learn.select import RESAMPLED

    classes = np.unique(texts.labels)
    y, truth = (np.searchsorted(classes, labels) for labels in (texts.labels[chosen], texts.test_labels))
    folds = repeated_folds(y, np.random.default_rng([draw, 0]))
    others = np.random.default_rng([draw, 1]).permutation(np.setdiff1d(np.arange(len(texts.pool)), chosen))
    seen = np.sort(np.concatenate([chosen, others[:N_SPREAD]]))
    judged = {rung: text_ladder.judge(view, seen, chosen, y, len(classes), folds) for rung, view in embedded.items()}
    rows: dict[str, Any] = {}
    for rung, view in embedded.items():
        tried = judged[rung]
        head = text_ladder.last_head(view, seen, chosen, y, len(classes), tried)
        right, loss = text_ladder.answer(head, view.test, truth)
        gain = judged[PEER][0].losses - tried[0].losses
        rows[rung] = {
            "head": tried[0].kind, "accuracy": right, "log_loss": loss, "cv_log_loss": tried[0].log_loss,
            "cv_gain": float(gain.mean()), "cv_gain_se": float(gain.std(ddof=1) / np.sqrt(len(gain))) * RESAMPLED,
        }  # fmt: skip
    return rows


@contextlib.contextmanager
def planned(arguments: argparse.Namespace) -> Iterator[None]:
    """While it lasts, the rung's networks have the size and take the steps that were asked for, where they were."""
    from passmuster.modality.text.rungs import pretraining, transformer

    size, plan = pretraining.best_size, transformer.make_plan
    if arguments.size:
        pretraining.best_size = lambda *_: tuple(int(part) for part in arguments.size.split("x"))
    if arguments.steps:
        transformer.make_plan = lambda *given: replace(plan(*given), n_steps=arguments.steps)
    try:
        yield
    finally:
        pretraining.best_size, transformer.make_plan = size, plan


def claim(report: harness.Report) -> None:
    """Per set the gains over static vectors, paired over draws, and the speed of the training."""
    for name in SETS:
        runs = [run for run in report.runs if run["set"] == name]
        if not runs:
            continue
        peers = [run["rungs"][PEER] for run in runs]
        theirs = float(np.mean([peer["accuracy"] for peer in peers]))
        for rung, place in ((RUNG, "rungs"), (BESIDE, "beside")):
            rows, tag = [run[place][rung] for run in runs], f"{name}.{rung.replace(' + ', '_beside_')}"
            unit = f"nats, {len(rows)} draws"
            losses = [peer["log_loss"] - row["log_loss"] for peer, row in zip(peers, rows, strict=True)]
            spread(report, f"{tag}.cross_validated_gain", [row["cv_gain"] for row in rows], unit)
            spread(report, f"{tag}.log_loss_gain", losses, unit)
            spread(report, f"{tag}.accuracy", [row["accuracy"] for row in rows], f"share right, {len(rows)} draws",
                   peer={"name": PEER, "value": theirs})  # fmt: skip
        facts = runs[0]["fitted"][RUNG]
        device, speed = facts["plan"]["device"], facts["speed"]
        report.claim(f"{name}.{RUNG}.tokens_per_s", speed["tokens_per_s"], f"tokens a second on {device}")
        if "utilisation" in speed:  # runs before it was measured in busy seconds have none
            report.claim(f"{name}.{RUNG}.tokens_per_busy_s", speed["tokens_per_busy_s"], f"tokens a second of {device}")
            peak = f"share of {speed['peak_gflops']:.0f} measured GFLOP/s on {device}"
            report.claim(f"{name}.{RUNG}.utilisation", speed["utilisation"], peak)


def spread(report: harness.Report, name: str, values: Sequence[float], unit: str, **more: Any) -> None:
    """A mean with the smallest and the largest."""
    report.claim(name, float(np.mean(values)), unit, low=min(values), high=max(values), **more)


if __name__ == "__main__":
    main()
