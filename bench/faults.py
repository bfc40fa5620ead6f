"""Planted faults, harmless copies and natural faults: is what is bad held, what is good let through?

**Planted**: `muster drill gates` on Banking77 (texts) and Fashion-MNIST (images), each a project that was added,
trained and evaluated as a user would, under the gates of a new project. Every fault of the table is planted; `quiet`
counts those that keep the headline within half a point. Harmless copies that a seed makes another are made again with
other seeds, to count false stops. A fault that changes nothing the model says counts neither way.

**Natural**: `natural_faults.py`: models that learnt from one Amazon domain, one year or one class mix and are judged
for another, an int8 export, an older encoder. The verdict is reached on a visible test, the truth is read from a hidden
one; where that is too small to tell, the case counts neither way.

    python bench/faults.py            # all of it
    python bench/faults.py --only banking77 --keep DIR    # one part; started again, it goes on where it was
    python bench/faults.py --quick    # the natural faults of one domain, and the planted ones on fewer images
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import text_sets
from harness import Report, bench_data, parser
from natural_faults import claims_of_natural, natural
from passmuster.core.config import DEFAULT_GATES
from passmuster.core.config_file import FILE_NAME, read_config, render_config
from passmuster.core.statistics import wilson
from passmuster.flows.drill import faults
from passmuster.flows.drill.run import rehearsal
from passmuster.flows.project import Project
from passmuster.stages.evaluate import Scope, evaluate

QUIET = 0.005  # of the headline
QUICK_IMAGES = 600
N_SEEDS = 5  # with which harmless copies are made that a seed makes another
DONE = "trained"  # an empty file beside a project that is ready to drill
SEEDED = ("another_order.v1", "another_seed.v1")


@dataclass(frozen=True)
class Setting:
    """A project to drill: how it is written, what it may learn with, and the accuracy that its policy asks for."""

    name: str
    modality: str
    write: Callable[[Path, Path, int, int], Path]
    rungs: tuple[str, ...]
    time: str
    least: float


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--only", choices=(*(s.name for s in SETTINGS), "natural"), default=None, help="one part alone")
    made.add_argument(
        "--parts", type=Path, nargs="*", default=(), help="results (or printed lines) of parts run apart, to join"
    )
    made.add_argument("--cut", default="", help="what was left out of this run, to be said in its results")
    made.add_argument("--images", type=int, default=5_000, help="test images of Fashion-MNIST, all labelled")
    made.add_argument("--draws", type=int, default=3, help="draws of labels of each kind of Amazon goods")
    made.add_argument("--embeddings", type=Path, default=None, help="a folder that keeps what encoders gave")
    made.add_argument(
        "--keep", type=Path, default=None, help="a folder that keeps projects and trials: go on from there"
    )
    made.add_argument("--goods", nargs="*", default=(), help="kinds of Amazon goods, of the natural faults, alone")
    made.add_argument("--seeds", type=int, default=N_SEEDS, help="seeds of harmless copies")
    arguments = made.parse_args()
    report, data = Report("faults", arguments), Path() if arguments.parts else bench_data()
    report.runs += list({place_of(run): run for path in arguments.parts for run in read_part(path)}.values())
    if arguments.cut:
        report.run(kind="cut", what=arguments.cut)
    for setting in SETTINGS[1:] if arguments.quick else SETTINGS:
        if not arguments.parts and arguments.only in (None, setting.name):
            planted(report, setting, data, arguments)
    if not arguments.parts and arguments.only in (None, "natural"):
        natural(
            report,
            data,
            arguments.seed,
            arguments.quick,
            arguments.embeddings,
            arguments.draws,
            arguments.keep,
            arguments.goods,
        )
    claims_of_planted(report)
    claims_of_natural(report)
    report.write()


def read_part(path: Path) -> list[dict[str, Any]]:
    """The runs of a part: from its file of results, or from what it printed before it was cut."""
    if path.suffix == ".json":
        return list(json.loads(path.read_text())["runs"])
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return [
        {"kind": "trial", "group": faults[line["fault"]].group, **line} if "state" in line else line for line in lines
    ]


def place_of(run: dict[str, Any]) -> tuple[Any, ...]:
    """What a run was of: of two that were of the same, the later part's counts."""
    return tuple(str(run.get(key, "")) for key in ("kind", "set", "target", "fault", "seed"))


def planted(report: Report, setting: Setting, data: Path, arguments: argparse.Namespace) -> None:
    """One project from raw files to a drill; in a folder that is kept, what is there is not made again."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.keep or Path(scratch)) / setting.name
        if not (folder / DONE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            prepare(setting, data, folder, arguments)
            (folder / DONE).touch()
        with Project.open(folder / "project") as project:
            drilled(report, setting, project, folder / "trials.jsonl", 2 if arguments.quick else arguments.seeds)


def prepare(setting: Setting, data: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """A project that was added, trained and evaluated."""
    table = setting.write(data, folder, arguments.seed, QUICK_IMAGES if arguments.quick else arguments.images)
    Project.init(folder / "project", modality=setting.modality).close()
    path = folder / "project" / FILE_NAME
    config = read_config(path.parent)
    gates = {**DEFAULT_GATES, "accuracy.v1": {"min": setting.least}}
    stated = replace(
        config, policy=replace(config.policy, gates=gates), train=replace(config.train, rungs=setting.rungs)
    )  # fmt: skip
    path.write_text(render_config(stated), encoding="utf-8")
    with Project.open(path.parent) as project:
        project.add(table.parent / "photos" if setting.modality == "image" else table, labels=labels_of(table, setting))
        trained = project.train(time="60s" if arguments.quick else setting.time, seed=arguments.seed)
        evaluate(project.store, trained.bundle, scope=Scope(n_corrupted=1, page=False))  # faults have their own


def labels_of(table: Path, setting: Setting) -> Path | None:
    """Images have their labels in a table beside them."""
    return table if setting.modality == "image" else None


def drilled(report: Report, setting: Setting, project: Project, kept: Path, n_seeds: int) -> None:
    """Every fault once, every harmless copy with several seeds; what the file `kept` has is taken from it."""
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    for facts in done:
        report.run(**facts)
    known = {(facts["fault"], facts["seed"]) for facts in done if facts["kind"] == "trial"}
    harmless = [name for name, fault in faults.items() if fault.group == "harmless"]
    asked = [(name, 0) for name in (*(n for n in faults if n not in harmless), *harmless)]
    asked += [(name, seed) for seed in range(1, n_seeds) for name in SEEDED]
    left = [trial for trial in asked if trial not in known]
    if not left:
        return
    with rehearsal(project.store) as drill:
        healthy = {
            "kind": "healthy", "set": setting.name, "n_test": drill.base.n_test, "accuracy": drill.healthy.accuracy,
            "outcome": drill.healthy.decision.outcome,
            "gates": {g.gate: g.state for g in drill.healthy.decision.gates},
        }  # fmt: skip
        if not any(facts["kind"] == "healthy" for facts in done):
            keep(report, kept, healthy)
        for name, seed in left:
            found = {"kind": "trial", "set": setting.name, **vars(drill.trial(name, seed=seed)), "seed": seed}
            keep(report, kept, {k: v for k, v in found.items() if k not in ("summary", "would_stop")})
            shown = ("set", "fault", "state", "stopped_by", "outcome", "accuracy_change", "seconds", "seed")
            print(json.dumps({k: found[k] for k in shown}), flush=True)


def keep(report: Report, kept: Path, facts: dict[str, Any]) -> None:
    """A run, in the report and in the file that a later run goes on from."""
    report.run(**facts)
    with kept.open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def claims_of_planted(report: Report) -> None:
    """Each set for itself, and both together."""
    trials = [run for run in report.runs if run["kind"] == "trial"]
    for name in sorted({run["set"] for run in trials}):
        shares(report, name, [run for run in trials if run["set"] == name])
    shares(report, "both", trials)


def shares(report: Report, name: str, trials: Sequence[dict[str, Any]]) -> None:
    """Share of faults stopped, of the quiet ones too, and of harmless copies stopped, with Wilson's intervals."""
    here = [t for t in trials if t["state"] in ("stopped", "unstopped")]
    faulty = [t for t in here if t["group"] != "harmless"]
    change = {id(t): t["accuracy_change"] for t in faulty}
    quiet = [t for t in faulty if change[id(t)] is None or abs(change[id(t)]) <= QUIET]
    good = [t for t in here if t["group"] == "harmless"]
    for what, some in (("faults_stopped", faulty), ("quiet_faults_stopped", quiet), ("false_stops", good)):
        if some:
            n = sum(t["state"] == "stopped" for t in some)
            found = wilson(n, len(some))
            report.claim(f"{name}.planted.{what}", found.value, "rate", low=found.low, high=found.high)
            report.claim(f"{name}.planted.{what}_n", len(some), "trials")


def write_banking77(data: Path, folder: Path, seed: int, n_images: int) -> Path:
    """40 labels of each class and no other texts, and every second text of the official test with its label."""
    texts = text_sets.SETS["banking77"](data)
    rng = np.random.default_rng(seed)
    each = [rng.permutation(np.flatnonzero(texts.labels == c))[:40] for c in np.unique(texts.labels)]  # some have fewer
    pool = np.concatenate(each)
    path = folder / "banking77.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "label", "split"])
        rows.writerows([f"p{i}", texts.pool[i], texts.labels[i], "train"] for i in map(int, pool))
        rows.writerows([f"t{i}", text, texts.test_labels[i], "test"] for i, text in enumerate(texts.test) if i % 2 == 0)
    return path


def write_fashion_mnist(data: Path, folder: Path, seed: int, n_test: int) -> Path:
    """100 labels of each class, 4,000 images of the pool, `n_test` of the official test with their labels."""
    from PIL import Image

    n_pool, n_labels = (4_000, 100) if n_test > QUICK_IMAGES else (1_000, 40)
    with np.load(data / "fashion_mnist" / "fashion_mnist.npz", allow_pickle=False) as arrays:
        parts = {part: (arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")}
        names = [str(name).replace("/", "-") for name in arrays["class_names"]]
    rng = np.random.default_rng(seed)
    path, rows = folder / "labels.csv", []
    for part, n in (("train", n_pool), ("test", n_test)):
        images, labels = parts[part]
        chosen = rng.permutation(len(images))[:n]
        (folder / "photos" / part).mkdir(parents=True)
        seen = dict.fromkeys(range(len(names)), 0)
        for place, i in enumerate(map(int, chosen)):
            Image.fromarray(images[i].reshape(28, 28)).save(
                folder / "photos" / part / f"{place:05d}.png", compress_level=1
            )
            label = int(labels[i])
            seen[label] += 1
            if part == "test" or seen[label] <= n_labels:
                rows.append([f"{part}/{place:05d}.png", names[label]])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "label"], *rows])
    return path


SETTINGS = (
    Setting("banking77", "text", write_banking77, ("static.v1",), "10m", 0.6),
    Setting("fashion_mnist", "image", write_fashion_mnist, ("gradients.v1", "patches.v1", "conv.v1"), "4m", 0.7),
)

if __name__ == "__main__":
    main()
