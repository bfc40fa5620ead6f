"""Planted faults, harmless copies and natural faults: is what is bad held, what is good let through?

**Planted**: `muster drill gates` on Banking77 (texts) and Fashion-MNIST (images), each a project that was added,
trained and evaluated as a user would, under the gates of a new project. Every fault of the table is planted; `quiet`
counts those that keep the headline within half a point. Harmless copies that a seed makes another are made again with
other seeds, to count false stops. A fault that changes nothing the model says counts neither way.

**Natural**: `natural_faults.py`: models that learnt from one Amazon domain, one year or one class mix and are judged
for another, an int8 export, an older encoder. The verdict is reached on a visible test, the truth is read from a hidden
one; where that is too small to tell, the case counts neither way.

    python bench/faults.py            # all of it
    python bench/faults.py --quick    # the natural faults of one domain, and the planted ones on fewer images
"""

from __future__ import annotations

import argparse
import csv
import json
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
from passmuster.flows.drill import Trial, faults
from passmuster.flows.drill.run import rehearsal
from passmuster.flows.project import Project
from passmuster.stages.evaluate import Scope, evaluate

QUIET = 0.005  # of the headline
QUICK_IMAGES = 600
N_SEEDS = 5  # harmless copies that a seed makes another: with so many seeds
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
    arguments = made.parse_args()
    report, data = Report("faults", arguments), Path() if arguments.parts else bench_data()
    for path in arguments.parts:
        report.runs += read_part(path)
    if arguments.cut:
        report.run(kind="cut", what=arguments.cut)
    for setting in SETTINGS[1:] if arguments.quick else SETTINGS:
        if not arguments.parts and arguments.only in (None, setting.name):
            planted(report, setting, data, arguments)
    if not arguments.parts and arguments.only in (None, "natural"):
        natural(report, data, arguments.seed, arguments.quick, arguments.embeddings, arguments.draws)
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


def planted(report: Report, setting: Setting, data: Path, arguments: argparse.Namespace) -> None:
    """One project from raw files to a drill."""
    seed, quick = arguments.seed, arguments.quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = setting.write(data, folder, seed, QUICK_IMAGES if quick else arguments.images)
        project = Project.init(folder / "project", modality=setting.modality)
        project.close()
        path = folder / "project" / FILE_NAME
        config = read_config(path.parent)
        gates = {**DEFAULT_GATES, "accuracy.v1": {"min": setting.least}}
        stated = replace(
            config, policy=replace(config.policy, gates=gates), train=replace(config.train, rungs=setting.rungs)
        )  # fmt: skip
        path.write_text(render_config(stated), encoding="utf-8")
        with Project.open(path.parent) as project:
            project.add(
                table.parent / "photos" if setting.modality == "image" else table, labels=labels_of(table, setting)
            )
            trained = project.train(time="60s" if quick else setting.time, seed=seed)
            evaluate(project.store, trained.bundle, scope=Scope(n_corrupted=1, page=False))  # faults have their own
            drilled(report, setting, project, quick)


def labels_of(table: Path, setting: Setting) -> Path | None:
    """Images have their labels in a table beside them."""
    return table if setting.modality == "image" else None


def drilled(report: Report, setting: Setting, project: Project, quick: bool) -> None:
    """Every fault once, every harmless copy with several seeds."""
    harmless = [name for name, fault in faults.items() if fault.group == "harmless"]
    with rehearsal(project.store) as drill:
        accuracy = drill.healthy.accuracy
        report.run(
            kind="healthy", set=setting.name, n_test=drill.base.n_test, accuracy=accuracy,
            outcome=drill.healthy.decision.outcome,
            gates={g.gate: g.state for g in drill.healthy.decision.gates},
        )  # fmt: skip
        for name in faults:
            if name not in harmless:
                keep(report, setting, drill.trial(name))
        for seed in range(2 if quick else N_SEEDS):
            for name in harmless:
                if seed == 0 or name in SEEDED:
                    keep(report, setting, drill.trial(name, seed=seed), seed=seed)


def keep(report: Report, setting: Setting, trial: Trial, **more: Any) -> None:
    """One trial as a run."""
    facts = {"kind": "trial", "set": setting.name, **vars(trial), **more}
    report.run(**{key: value for key, value in facts.items() if key not in ("summary", "would_stop")})
    shown = ("set", "fault", "state", "stopped_by", "outcome", "accuracy_change", "seconds")
    print(json.dumps({k: facts[k] for k in shown} | more), flush=True)


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
