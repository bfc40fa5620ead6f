"""What the full suite of an evaluation costs: wall seconds on 10,000 test texts and 10,000 test images.

A model is trained by the commands a user types (Banking77 with the local pretrained encoder; Fashion-MNIST, 10 labels
per class), then evaluated with every natural fault that the modality has on 1,000 items, novelty,
classes, calibration and the page. Counted apart: the seconds in which faults were made (`generation`), and the forward
passes. Overhead is what is left of the wall clock over the **bare** forward passes: as many items as the suite asked,
at the speed at which the same bundle answers untouched items in one go, timed before and after in the same process.
Spoilt texts are longer in tokens than untouched ones, so a second overhead is over the forward passes of the **same**
items, spoilt as they were, asked again in one go when all is done (they are held until then: the peak memory is with
them). The same is told in CPU seconds of this process, all threads, which other work on the machine does not stretch;
the share of forward passes in them is how near the suite is to what no suite can be cheaper than.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
from story import muster

N_TEST, N_CORRUPTED, N_BARE = 10_000, 1_000, 2_000


@dataclass
class Clock:
    """Seconds inside of the bundle and inside of faults, and how many items the bundle was asked."""

    forward_s: float = 0.0
    generation_s: float = 0.0
    forward_cpu_s: float = 0.0
    generation_cpu_s: float = 0.0
    asked: list[Any] = field(default_factory=list)  # items, as the bundle got them
    by_fault: dict[str, float] = field(default_factory=dict)  # CPU seconds


def main() -> None:
    """Both modalities; print and write the claims."""
    made = harness.parser(__doc__ or "")
    made.add_argument("--only", choices=("texts", "images"), default="")
    arguments = made.parse_args()
    data = harness.bench_data()
    report = harness.Report("suite_cost", arguments)
    small = 20 if arguments.quick else 1
    for name, prepare in (("texts", write_texts), ("images", write_images)):
        if arguments.only in ("", name):
            with tempfile.TemporaryDirectory() as scratch:
                measure(name, prepare, Path(scratch), data, small, report)
    report.write()


def measure(
    name: str, prepare: Callable[[Path, Path, int], list[str]], scratch: Path, data: Path, small: int,
    report: harness.Report,
) -> None:  # fmt: skip
    """Train, evaluate under a clock, and claim."""
    from passmuster.core.config_file import read_config
    from passmuster.runtime.bundle import open_bundle
    from passmuster.runtime.predictor import Predictor
    from passmuster.stages.evaluate import Scope, evaluate
    from passmuster.store.store import Store

    folder = scratch / "project"
    words = prepare(scratch, data, small)
    muster(scratch, "init", str(folder), "--modality", name.removesuffix("s"))
    muster(folder, "add", *words)
    trained, _, _ = muster(folder, "train", "--time", "3m" if small > 1 else "4m")
    store = Store.open(folder)
    assert read_config(folder) == store.config
    bundle = next((store.root / "bundles").iterdir())
    predictor = Predictor(open_bundle(bundle))
    payloads = some_payloads(store, predictor, N_BARE // small)
    bare = [seconds_per_item(predictor, payloads)]
    clock = Clock()
    with under(clock):
        began, began_cpu = time.perf_counter(), time.process_time()
        result = evaluate(store, corruptions=["all"], scope=Scope(n_corrupted=N_CORRUPTED // small))
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    bare.append(seconds_per_item(predictor, payloads))
    n_asked = len(clock.asked)
    bare_s, bare_cpu_s = (n_asked * float(mean) for mean in np.mean(bare, axis=0))
    same_s, same_cpu_s = (n_asked * seconds for seconds in seconds_per_item(predictor, clock.asked))
    section = result.report.sections["corruptions"]
    facts = {
        "wall_s": wall_s, "forward_s": clock.forward_s, "generation_s": clock.generation_s, "bare_s": bare_s,
        "cpu_s": cpu_s, "forward_cpu_s": clock.forward_cpu_s, "generation_cpu_s": clock.generation_cpu_s,
        "bare_cpu_s": bare_cpu_s, "same_s": same_s, "same_cpu_s": same_cpu_s, "load_average": os.getloadavg(),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "n_asked": n_asked, "n_test": result.report.n_test, "seconds_per_item": bare,
        "rung": trained.get("rung", ""), "left_out": section["left_out"],
        "by_fault_cpu_s": dict(sorted(clock.by_fault.items(), key=lambda row: -row[1])),
    }  # fmt: skip
    report.run(modality=name, **facts)
    report.claim(f"{name}.full_suite.wall_seconds", wall_s, "s")
    report.claim(f"{name}.full_suite.generation_seconds", clock.generation_s, "s")
    report.claim(f"{name}.full_suite.overhead", (wall_s - clock.generation_s) / bare_s - 1, "of bare forward passes")
    report.claim(
        f"{name}.full_suite.overhead_same", (wall_s - clock.generation_s) / same_s - 1, "of the same items' passes"
    )
    rest_cpu_s = cpu_s - clock.generation_cpu_s
    report.claim(f"{name}.full_suite.cpu_seconds", cpu_s, "CPU s")
    report.claim(f"{name}.full_suite.cpu_generation_seconds", clock.generation_cpu_s, "CPU s")
    report.claim(f"{name}.full_suite.cpu_overhead", rest_cpu_s / bare_cpu_s - 1, "of bare forward passes, CPU seconds")
    report.claim(
        f"{name}.full_suite.cpu_overhead_same", rest_cpu_s / same_cpu_s - 1, "of the same items' passes, CPU seconds"
    )
    report.claim(f"{name}.full_suite.cpu_forward_share", bare_cpu_s / cpu_s, "of all CPU seconds")


def seconds_per_item(predictor: Any, payloads: Sequence[Any]) -> tuple[float, float]:
    """How long the bundle takes for one of many untouched items: wall and CPU seconds."""
    began, began_cpu = time.perf_counter(), time.process_time()
    predictor.embed(payloads)
    return (time.perf_counter() - began) / len(payloads), (time.process_time() - began_cpu) / len(payloads)


def some_payloads(store: Any, predictor: Any, n: int) -> list[Any]:
    """Untouched items of the project; which part they are of does not matter, nobody looks at the answers."""
    from passmuster.stages.evaluate.gather import read_payloads
    from passmuster.store.items import read_items

    with store.read() as db:
        items = [item for item in read_items(db) if item.status == "kept"][:n]
    return list(read_payloads(store, predictor, items))


@contextmanager
def under(clock: Clock) -> Iterator[None]:
    """Count what the bundle and the faults take while this is open."""
    from passmuster.runtime.predictor import Predictor
    from passmuster.stages.evaluate import faults

    embed, spoil = Predictor.embed, faults.spoil

    def timed_embed(self: Any, payloads: Sequence[Any]) -> Any:
        began, began_cpu = time.perf_counter(), time.process_time()
        found = embed(self, payloads)
        clock.forward_s += time.perf_counter() - began
        clock.forward_cpu_s += time.process_time() - began_cpu
        clock.asked.extend(payloads)
        return found

    def timed_spoil(name: str, *rest: Any) -> Any:
        began, began_cpu = time.perf_counter(), time.process_time()
        found = spoil(name, *rest)
        clock.generation_s += time.perf_counter() - began
        seconds = time.process_time() - began_cpu
        clock.generation_cpu_s += seconds
        clock.by_fault[name] = clock.by_fault.get(name, 0.0) + seconds
        return found

    Predictor.embed, faults.spoil = timed_embed, timed_spoil  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Predictor.embed, faults.spoil = embed, spoil  # type: ignore[method-assign]


def write_texts(scratch: Path, data: Path, small: int) -> list[str]:
    """Banking77 as one table: 3,083 texts to learn from, 10,000 to be tested on."""
    import polars as pl

    table = pl.read_parquet(data / "banking77" / "banking77.parquet").select("text", "label")
    table = table.sample(fraction=1.0, shuffle=True, seed=0).with_columns(pl.col("label").cast(pl.String))
    n = N_TEST // small
    n_train = min(len(table) - n, 3_000)
    table = table.head(n + n_train).with_columns(pl.Series("split", ["test"] * n + ["train"] * n_train))
    path = scratch / "banking77.csv"
    table.write_csv(path)
    return [str(path), "--text-column", "text", "--label-column", "label", "--split-column", "split"]


def write_images(scratch: Path, data: Path, small: int) -> list[str]:
    """Fashion-MNIST as folders: the official test of 10,000, and 100 of each class to learn from."""
    from PIL import Image

    found = np.load(data / "fashion_mnist" / "fashion_mnist.npz", allow_pickle=False)
    names = [str(name).replace("/", "-").replace(" ", "-") for name in found["class_names"]]
    folder = scratch / "images"
    for split, n in (("train", 1_000), ("test", N_TEST // small)):
        pixels, labels = found[f"x_{split}"], found[f"y_{split}"]  # each look into the file unpacks the whole array
        for i in range(n):
            place = folder / split / names[int(labels[i])]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[i]).save(place / f"{i}.png")
    return [str(folder)]


if __name__ == "__main__":
    main()
