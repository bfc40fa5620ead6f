"""Seconds and money to the accuracy of fully fine-tuning the same encoder, with the Hugging Face `Trainer` beside it.

Every text of the training split has its label here: this is not about few labels but about what a model costs. The
`Trainer` recipe (`trainer_peer.py`, in an environment of its own) fine-tunes the local encoder for three epochs; its
best epoch is the accuracy to reach, and the seconds are those until then. Muster goes the way that a user goes (`init`,
`add`, `train --time T`, each a process, all of them counted) with budgets from the smallest upwards, until a bundle
answers the official test at least as well::

    python bench/finetune.py --peer ENV/bin/python

Money is seconds times the price of this machine's cores (`cost.core_hour`), the same for both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
import story
from text_sets import SETS, Texts

BUDGETS = ("30s", "1m", "2m", "4m", "8m")
QUICK_POOL = 600


def main() -> None:
    """Each set: the peer first, then ours until its accuracy is reached."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="sets whose name begins so")
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="interpreter with transformers and accelerate")
    parser.add_argument("--gpu", action="store_true", help="the peer on a GPU, in bfloat16")
    arguments = parser.parse_args()
    report = harness.Report("finetune", arguments)
    with tempfile.TemporaryDirectory() as scratch:
        for name in SETS:
            if name.startswith(arguments.only):
                measure(name, arguments, report, Path(scratch))
                report.write()


def measure(name: str, arguments: argparse.Namespace, report: harness.Report, scratch: Path) -> None:
    """One set by both; the claim is the ratio of seconds."""
    texts = SETS[name](harness.bench_data())
    if arguments.quick:
        texts = Texts(texts.pool[:QUICK_POOL], texts.labels[:QUICK_POOL], texts.test, texts.test_labels)
    epochs = peer(texts, arguments)
    best = max(epochs, key=lambda epoch: epoch["accuracy"])
    report.run(set=name, method="trainer", epochs=epochs)
    draw = story.Draw(texts.pool, texts.labels, texts.test, texts.test_labels)
    reached = None
    for budget in BUDGETS[:1] if arguments.quick else BUDGETS:
        setting = story.Setting(
            f"{name}.{budget}", "text", story.read_banking77, write, story.tfidf_logistic, "", budget
        )
        run = story.tell(setting, draw, arguments.seed, scratch, budget)
        run["seconds"] = run["add_s"] + run["train_s"]
        report.run(set=name, method="muster", **run)
        told = f"{run['accuracy']:.4f} in {run['seconds']:.0f} s ({run['rung']}, {run['head']})"
        print(f"{name} {budget}: {told}; trainer {best['accuracy']:.4f} in {best['s']:.0f} s", file=sys.stderr)
        if run["accuracy"] >= best["accuracy"]:
            reached = run
            break
    if reached is None:
        report.claim(f"{name}.reached", 0.0, "1 when the peer's accuracy was reached", peer=best["accuracy"])
        return
    beside = {"name": "transformers Trainer, 3 epochs", "value": best["s"], "accuracy": best["accuracy"]}
    report.claim(
        f"{name}.seconds", reached["seconds"], f"s, add and train, accuracy {reached['accuracy']:.4f}", peer=beside
    )
    report.claim(f"{name}.ratio", reached["seconds"] / best["s"], "of the peer's seconds and money")


def write(folder: Path, draw: story.Draw) -> list[str]:
    """One table of texts and labels."""
    import polars as pl

    pl.DataFrame({"text": draw.payloads, "label": draw.labels.tolist()}).write_csv(folder / "all.csv")
    return [str(folder / "all.csv")]


def peer(texts: Texts, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What the recipe reached after each epoch, and in how many seconds."""
    from passmuster.modality.text.rungs.known_encoders import find_encoders

    (found, *_) = find_encoders(()).found
    job = {
        "encoder": str(found.weights.parent), "texts": texts.pool, "labels": texts.labels.tolist(),
        "test_texts": texts.test, "test_labels": np.asarray(texts.test_labels).tolist(), "seed": arguments.seed,
        "gpu": arguments.gpu,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        for name in ("PYTHONPATH", "OMP_NUM_THREADS"):
            environment.pop(name, None)
        command = [arguments.peer, str(Path(__file__).parent / "trainer_peer.py"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    if done.returncode:
        raise SystemExit(f"the peer ended with {done.returncode}: {done.stderr[-2000:]}")
    return list(json.loads(done.stdout.splitlines()[-1])["epochs"])


if __name__ == "__main__":
    main()
