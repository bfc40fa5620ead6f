"""A transformer pretrained from scratch on the raw texts, against static vectors of the same texts.

Banking77, CLINC150 (in scope) and AG News (half of its test split), each whole as raw text. Both rungs see no label;
they are fitted once per set, the transformer within ``--time``, on a card where there is one. Every draw of labels then
fits and chooses heads on the embeddings of either, and reports the cross-validated log-loss that training goes by and
what the heads answer on the test. Speed is told as tokens a second and as the share of the measured peak of matrix
products that the model's own operations make up (model FLOPs utilisation).

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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import fewlabel_text
import harness
from fewlabel_text import Embedded, Texts, draw_labels

SETS = ("ag_news", "banking77", "clinc150")
RUNG, PEER = "transformer.v1", "static.v1"
PER_CLASS = {"ag_news": (8, 16), "banking77": (8,), "clinc150": (8,)}
N_DRAWS = 3
QUICK_TIME = "15s"


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

    texts = fewlabel_text.read(name, arguments)
    seconds = parse_duration_s(QUICK_TIME if arguments.quick else arguments.time)
    embedded, facts = {}, {}
    for rung in (PEER, RUNG):
        embedded[rung], facts[rung] = fit_and_embed(rung, texts, seconds, arguments)
        print(f"{name} {rung}: {facts[rung]}", file=sys.stderr)
    for per_class in PER_CLASS[name]:
        for draw in range(1 if arguments.quick else arguments.draws):
            chosen = draw_labels(texts.labels, per_class, arguments.seed + draw)
            found = fewlabel_text.muster(embedded, texts, chosen, draw)
            report.run(set=name, per_class=per_class, draw=draw, method="encoder", fitted=facts, **found)
            print(f"{name} {per_class} per class, draw {draw}: {found['rungs']}", file=sys.stderr)


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
        run = fewlabel_text.engine(graph, modality.preparer(graph.preprocess, Path(folder)))
        pool = run(texts.pool)
        found = Embedded(pool, run(texts.test), cpu_s)
    facts = {"fit_s": round(fit_s, 1), "fit_cpu_s": round(cpu_s, 1), "graph_bytes": len(graph.onnx)}
    kept = ("plan", "step", "n_steps", "truncated", "n_texts", "n_tokens", "speed")
    return found, facts | {key: encoder.settings[key] for key in kept if key in encoder.settings}


@contextlib.contextmanager
def planned(arguments: argparse.Namespace) -> Iterator[None]:
    """While it lasts, the rung's networks have the size and take the steps that were asked for, where they were."""
    from passmuster.modality.text.rungs import transformer

    size, plan = transformer.best_size, transformer._plan
    if arguments.size:
        transformer.best_size = lambda *_: tuple(int(part) for part in arguments.size.split("x"))
    if arguments.steps:
        transformer._plan = lambda *given: replace(plan(*given), n_steps=arguments.steps)
    try:
        yield
    finally:
        transformer.best_size, transformer._plan = size, plan


def claim(report: harness.Report) -> None:
    """Per set the gains over static vectors, paired over draws, and the speed of the training."""
    for name in SETS:
        runs = [run for run in report.runs if run["set"] == name]
        if not runs:
            continue
        rows = [(run["rungs"][PEER], run["rungs"][RUNG]) for run in runs]
        unit = f"nats, {len(rows)} draws"
        spread(report, f"{name}.{RUNG}.cross_validated_gain", [ours["cv_gain"] for _, ours in rows], unit)
        spread(report, f"{name}.{RUNG}.log_loss_gain", [p["log_loss"] - o["log_loss"] for p, o in rows], unit)
        accuracy = [ours["accuracy"] for _, ours in rows]
        theirs = float(np.mean([peer["accuracy"] for peer, _ in rows]))
        spread(report, f"{name}.{RUNG}.accuracy", accuracy, f"share right, {len(rows)} draws",
               peer={"name": PEER, "value": theirs})  # fmt: skip
        facts = runs[0]["fitted"][RUNG]
        device, speed = facts["plan"]["device"], facts["speed"]
        peak = f"share of {speed['peak_gflops']:.0f} measured GFLOP/s on {device}"
        report.claim(f"{name}.{RUNG}.tokens_per_s", speed["tokens_per_s"], f"tokens a second on {device}")
        report.claim(f"{name}.{RUNG}.utilisation", speed["utilisation"], peak)
        if device == "cpu":  # other work may have had the processor: per second that the fit had of it
            share = speed["seconds"] / facts["fit_cpu_s"]
            report.claim(f"{name}.{RUNG}.tokens_per_cpu_s", speed["tokens_per_s"] * share, "tokens a processor second")
            report.claim(f"{name}.{RUNG}.utilisation_of_cpu_seconds", speed["utilisation"] * share, peak)


def spread(report: harness.Report, name: str, values: Sequence[float], unit: str, **more: Any) -> None:
    """A mean with the smallest and the largest."""
    report.claim(name, float(np.mean(values)), unit, low=min(values), high=max(values), **more)


if __name__ == "__main__":
    main()
