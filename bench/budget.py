"""Budgets as promises: random data, sizes and limits; did each run end in time, with a bundle that answers?

A run draws a modality, a set, a number of items (log-uniform), labels per class, and a time from 30 seconds
(log-uniform). In every third run the limit is money instead: `--max-cost` worth that time, under a wide `--time`. In
every third run there is a limit of memory as well. The clock starts before the process and stops after it. A refusal
before the start (exit 5) keeps the promise and is counted apart.

Also compared: the price that each rung quoted with what it took. A rung that uses whatever time it is given quotes the
least that is useful, so it has no place in the comparison of seconds. That is made without heads and, as
``seconds_with_heads``, with them: those that learn from the pool are judged as far as there is time.

    python bench/budget.py --runs 40 --longest 4m --limit 110m --json bench/results/budget.json

After every run the file is written; the same command goes on where it stopped. The whole protocol is `--runs 200
--longest 10m`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness

ALLOWED_SHARE, ALLOWED_S = 1.02, 5.0
SHORTEST_S = 30.0
TEXTS = {"banking77": "label", "ag_news": "label", "sms_spam": "label", "amazon_multidomain": "label",
         "clinc150_oos": "intent"}  # fmt: skip
IMAGES = ("fashion_mnist", "cifar10")
SIZES = {"text": (300, 20_000), "image": (500, 20_000)}
LABELS_PER_CLASS = (4, 16)
MEMORY_MIB = (500, 2_000)
PER_HOUR = 6.0  # price of the machine in these projects: a second costs 1/600
N_ASKED = 50
QUICK_RUNS, QUICK_ITEMS = 3, 600


@dataclass(frozen=True)
class Trial:
    """What one run draws. `limit` is "time" or "cost"; `memory_mib` is 0 without a limit."""

    number: int
    modality: str
    data: str
    n_items: int
    labels_per_class: int
    seconds: float
    limit: str
    memory_mib: int
    seed: int


def main() -> None:
    """Every run that is not in the file yet, then the claims."""
    arguments = read_arguments()
    report = harness.Report("budget", arguments)
    path = arguments.json or (None if arguments.quick else harness.RESULTS / "budget.json")
    if path is not None and path.is_file():
        report.runs = json.loads(path.read_text())["runs"]
        print(f"going on after {len(report.runs)} runs in {path}", file=sys.stderr)
    done = {run["number"] for run in report.runs}
    began = time.monotonic()
    for number in range(QUICK_RUNS if arguments.quick else arguments.runs):
        trial = draw(number, arguments)
        if number in done:
            continue
        if time.monotonic() - began + 2 * trial.seconds > arguments.limit_s:
            print(f"the limit is near: {len(report.runs)} runs are done, the same command goes on", file=sys.stderr)
            break
        with tempfile.TemporaryDirectory() as scratch:
            report.run(**asdict(trial), **carry_out(trial, Path(scratch)))
        print(line(report.runs[-1]), file=sys.stderr)
        report.claims = claims(report.runs)
        if path is not None:
            report.write()
    report.claims = claims(report.runs)
    report.write()


def read_arguments() -> argparse.Namespace:
    """The shared arguments, and those of this protocol."""
    from passmuster.core.budget import parse_duration_s

    parser = harness.parser(__doc__ or "")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--longest", default="10m", help="the longest budget drawn")
    parser.add_argument("--limit", default="12h", help="start no run that would end after this")
    arguments = parser.parse_args()
    arguments.longest_s, arguments.limit_s = parse_duration_s(arguments.longest), parse_duration_s(arguments.limit)
    return arguments


def draw(number: int, arguments: argparse.Namespace) -> Trial:
    """Run `number`, the same whatever ran before it."""
    rng = np.random.default_rng([arguments.seed, number])
    modality = ("text", "image")[int(rng.integers(2))]
    low, high = SIZES[modality]
    longest_s = SHORTEST_S if arguments.quick else arguments.longest_s
    return Trial(
        number=number,
        modality=modality,
        data=str(rng.choice(list(TEXTS) if modality == "text" else IMAGES)),
        n_items=QUICK_ITEMS if arguments.quick else int(np.exp(rng.uniform(np.log(low), np.log(high)))),
        labels_per_class=int(rng.integers(*LABELS_PER_CLASS, endpoint=True)),
        seconds=round(float(np.exp(rng.uniform(np.log(SHORTEST_S), np.log(longest_s)))), 1),
        limit="cost" if number % 3 == 1 else "time",
        memory_mib=int(rng.integers(*MEMORY_MIB)) if number % 3 == 2 else 0,
        seed=int(rng.integers(2**31)),
    )


def carry_out(trial: Trial, scratch: Path) -> dict[str, Any]:
    """Files, project, training under the limits; how it ended, and what it took."""
    payloads, labels = READ[trial.modality](trial)
    words = WRITE[trial.modality](scratch, payloads, labels)
    muster(scratch, "init", "project", "--modality", trial.modality)
    project = scratch / "project"
    toml = (project / "muster.toml").read_text()
    (project / "muster.toml").write_text(toml.replace("per_machine_hour = 0.0", f"per_machine_hour = {PER_HOUR}"))
    added, _ = muster(project, "add", *words)
    if added["error"]:
        raise SystemExit(f"muster add failed: {added['error']}")
    limits = ["--time", f"{trial.seconds}s"]
    if trial.limit == "cost":
        limits = ["--time", "1h", "--max-cost", repr(trial.seconds * PER_HOUR / 3600)]
    if trial.memory_mib:
        limits += ["--max-memory", f"{trial.memory_mib}m"]
    answer, wall_s = muster(project, "train", *limits, "--seed", str(trial.seed % 1000))
    allowed_s = ALLOWED_SHARE * trial.seconds + ALLOWED_S
    facts: dict[str, Any] = {
        "wall_s": round(wall_s, 2), "beyond_s": round(wall_s - allowed_s, 2), "exit_code": answer["exit_code"],
        "error": answer["error"],
    }  # fmt: skip
    if answer["error"]:
        return {**facts, "outcome": "refused" if answer["exit_code"] == 5 else "failed", "serves": False}
    trained = answer["data"]
    return {
        **facts,
        "outcome": "trained",
        "limited_by": trained["limited_by"],
        "rung": trained["rung"],
        "peak_mib": round(trained["peak_memory_bytes"] / 2**20),
        "serves": serves(Path(trained["path"]), payloads[:N_ASKED]),
        "rungs": [rung_facts(row) for row in trained["rungs"]],
    }


def rung_facts(row: dict[str, Any]) -> dict[str, Any]:
    """Quoted and taken, or why the rung was left out."""
    quote = row["quote"]
    facts = {
        "rung": row["rung"],
        "quoted_s": round(quote["seconds"] - quote["heads_seconds"], 2),
        "quoted_heads_s": quote["heads_seconds"],
        "quoted_mib": round(quote["memory_bytes"] / 2**20),
    }
    if "left_out" in row:
        return {**facts, "left_out": row["left_out"]}
    heads = row["seconds_by_phase"].get("heads", 0.0)
    return {
        **facts,
        "taken_s": round(row["seconds"] - heads, 2),
        "taken_heads_s": heads,
        "peak_mib": round(row["peak_memory_bytes"] / 2**20),
        "elastic": quote["elastic"],
    }


def serves(bundle: Path, payloads: Sequence[Any]) -> bool:
    """Whether the bundle, opened as the server opens it, gives every item a proper answer."""
    from passmuster.runtime.bundle import open_bundle
    from passmuster.runtime.predictor import Predictor

    answers = Predictor(open_bundle(bundle)).predict(payloads)
    return len(answers) == len(payloads) and all(abs(sum(a.probabilities) - 1.0) < 1e-6 for a in answers)


def muster(folder: Path, *words: str) -> tuple[dict[str, Any], float]:
    """Run a command in a process of its own: data or error, exit code; and its seconds, start of Python included."""
    command = [sys.executable, "-m", "passmuster", "--json", "-q", "-C", str(folder), *words]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    answer = json.loads(done.stdout) if done.stdout.strip() else {}
    error = answer.get("error", {}).get("code") if answer else f"no answer: {done.stderr[-300:]}"
    return {"data": answer.get("data"), "error": error, "exit_code": done.returncode}, seconds


def claims(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the runs so far say."""
    from passmuster.core.statistics import wilson

    made = harness.Report("budget", argparse.Namespace())
    begun = [run for run in runs if run["outcome"] != "refused"]
    made.claim("budget.all.runs", len(runs), "runs")
    made.claim("budget.all.refused", len(runs) - len(begun), "runs")
    made.claim("budget.all.beyond", sum(run["beyond_s"] > 0 for run in runs), "runs")
    made.claim("budget.all.worst", max((run["beyond_s"] for run in runs), default=0.0), "s beyond 1.02 T + 5 s")
    if begun:
        served = sum(run["serves"] for run in begun)
        interval = wilson(served, len(begun))
        made.claim("budget.begun.serves", interval.value, "share", low=interval.low, high=interval.high)
        limited = [run for run in begun if run["memory_mib"] and run["outcome"] == "trained"]
        over = sum(run["peak_mib"] > run["memory_mib"] for run in limited)
        made.claim("budget.memory.beyond", over, f"of {len(limited)} runs")
    rungs = [rung for run in runs for rung in run.get("rungs", []) if "taken_s" in rung]
    ratios = {
        "seconds": [rung["taken_s"] / rung["quoted_s"] for rung in rungs if not rung["elastic"]],
        "seconds_with_heads": [
            (rung["taken_s"] + rung["taken_heads_s"]) / (rung["quoted_s"] + rung["quoted_heads_s"])
            for rung in rungs
            if not rung["elastic"] and "taken_heads_s" in rung
        ],
        "memory": [rung["peak_mib"] / rung["quoted_mib"] for rung in rungs],
    }
    for name, found in ratios.items():
        if not found:
            continue
        low, high = np.quantile(found, [0.1, 0.9])
        made.claim(f"price.{name}.taken_to_quoted", float(np.median(found)), "median ratio", low=low, high=high)
        within = sum(abs(ratio - 1) <= 0.15 for ratio in found)
        interval = wilson(within, len(found))
        made.claim(f"price.{name}.within_15_percent", interval.value, "share", low=interval.low, high=interval.high)
    return made.claims


def line(run: dict[str, Any]) -> str:
    """One run for the log."""
    limits = f"{run['seconds']:g} s of {run['limit']}" + (f", {run['memory_mib']} MiB" if run["memory_mib"] else "")
    end = run.get("rung") or run["error"]
    return (
        f"{run['number']:3d} {run['data']} {run['n_items']:,} items, {limits}: {run['wall_s']:.1f} s, {run['outcome']} "
        f"({end})" + ("" if run["beyond_s"] <= 0 else f"  BEYOND by {run['beyond_s']:.1f} s")
    )


def read_texts(trial: Trial) -> tuple[list[str], list[str]]:
    """Texts and labels, "" where hidden."""
    import polars as pl

    files = sorted((harness.bench_data() / trial.data).glob("*.parquet"))
    table = pl.concat([pl.read_parquet(file) for file in files], how="diagonal")
    texts, names = table["text"].to_list(), [str(name) for name in table[TEXTS[trial.data]].to_list()]
    chosen = np.random.default_rng(trial.seed).permutation(len(texts))[: trial.n_items]
    return [texts[i] for i in chosen], hidden([names[i] for i in chosen], trial.labels_per_class)


def read_images(trial: Trial) -> tuple[list[np.ndarray], list[str]]:
    """Images (height, width, channels) and labels, "" where hidden."""
    import io

    from PIL import Image

    rng = np.random.default_rng(trial.seed)
    with np.load(next((harness.bench_data() / trial.data).glob("*.npz")), allow_pickle=False) as arrays:
        if trial.data == "fashion_mnist":
            chosen = rng.permutation(len(arrays["x_train"]))[: trial.n_items]
            images, labels = list(arrays["x_train"][chosen][..., None]), arrays["y_train"][chosen]
        else:
            at, all_bytes = arrays["offsets"], arrays["jpeg"].tobytes()
            chosen = rng.permutation(len(at) - 1)[: trial.n_items]
            labels = arrays["label"][chosen]
            images = [np.asarray(Image.open(io.BytesIO(all_bytes[at[i] : at[i + 1]]))) for i in chosen]
    return images, hidden([f"class{int(label)}" for label in labels], trial.labels_per_class)


def hidden(names: Sequence[str], per_class: int) -> list[str]:
    """The labels of the first few of each class; "" for the others."""
    seen: dict[str, int] = {}
    kept = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        kept.append(name if seen[name] <= per_class else "")
    return kept


def write_texts(folder: Path, texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """A table; the words of `muster add`."""
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows(zip(texts, labels, strict=True))
    return [str(folder / "texts.csv"), "--text-column", "text", "--label-column", "label"]


def write_images(folder: Path, images: Sequence[np.ndarray], labels: Sequence[str]) -> list[str]:
    """A folder of files and a table of labels; the words of `muster add`."""
    from PIL import Image

    (folder / "images").mkdir()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            name = f"{number:05d}.png"
            Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(
                folder / "images" / name, compress_level=1
            )
            if label:
                rows.writerow([name, label])
    return [str(folder / "images"), "--labels", str(folder / "labels.csv")]


READ: dict[str, Callable[[Trial], tuple[Any, list[str]]]] = {"text": read_texts, "image": read_images}
WRITE: dict[str, Callable[[Path, Any, Sequence[str]], list[str]]] = {"text": write_texts, "image": write_images}

if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
