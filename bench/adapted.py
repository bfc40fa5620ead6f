"""The frozen encoder beside static vectors, with and without the layer that `adapted.v1` learns from raw texts.

The sets of `fewlabel_text.py`, 8 labels per class, the same draws, samples and heads. The test may be cut (`--test`),
at random and once for all draws, where embedding it is dear. Every draw keeps what each rung was judged at and what it
answers on the test; claims are gains over `stacked.v1`, paired over draws.

With `--kept`, rows of the frozen rungs are those that `fewlabel_text.py` has kept of the same draws, which are of the
same samples, folds and heads, where the test is not cut; a run says so.

    python bench/adapted.py [--quick] [--only banking77] [--draws 3] [--test 2000] [--kept] [--cache FOLDER]

Runs are kept in the result file; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
import text_ladder
from text_ladder import ADAPTED, LADDER, Embedded
from text_sets import SETS, Texts, draw_labels, read

FIRST, FROZEN = "static.v1", "stacked.v1"
PER_CLASS = 8
N_DRAWS = 3


def main() -> None:
    """Every set, draw by draw; claims are written after each run."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="sets whose name begins so")
    parser.add_argument("--draws", type=int, default=N_DRAWS, help="draws of labels")
    parser.add_argument("--test", type=int, default=0, help="at most so many texts of a test (default: all)")
    parser.add_argument("--cache", type=Path, default=None, help="where embeddings are kept between runs")
    parser.add_argument("--kept", action="store_true", help="frozen rungs as fewlabel_text.json has them")
    arguments = parser.parse_args()
    report = harness.Report("adapted", arguments)
    report.runs += kept_runs(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        for name in SETS:
            if name.startswith(arguments.only):
                measure(name, arguments, report, arguments.cache or Path(scratch))


def kept_runs(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs of the result file that is about to be written, when it is of the same kind."""
    path = arguments.json or harness.RESULTS / "adapted.json"
    if not path.is_file():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    return list(kept["runs"]) if kept["quick"] == arguments.quick and kept["seed"] == arguments.seed else []


def measure(name: str, arguments: argparse.Namespace, report: harness.Report, cache: Path) -> None:
    """One set: embedded once, then every draw that has not run on it yet."""
    there = {run["draw"] for run in report.runs if run["set"] == name}
    draws = [draw for draw in range(1 if arguments.quick else arguments.draws) if draw not in there]
    if not draws:
        return
    texts = read(name, arguments)
    is_cut = bool(arguments.test) and len(texts.test) > arguments.test
    if is_cut:
        texts, cache = cut(texts, arguments.test), cache / f"test_{arguments.test}"
    embedded: dict[str, Embedded] = {}
    for rung in LADDER:
        embedded[rung] = text_ladder.embed(name, rung, texts, cache, embedded)
    for draw in draws:
        chosen = draw_labels(texts.labels, PER_CLASS, arguments.seed + draw)
        frozen = frozen_rows(name, draw) if arguments.kept and not is_cut else {}
        rows, layer_s = judge_all(embedded, texts, chosen, draw, frozen)
        beside = {FROZEN: rows.pop(FROZEN)}
        report.run(
            set=name, per_class=PER_CLASS, draw=draw, method="encoder", n_test=len(texts.test), layer_cpu_s=layer_s,
            rungs=rows, beside=beside, frozen="fewlabel_text.json" if frozen else "here",
        )  # fmt: skip
        print(f"{name}, draw {draw}: {rows | beside}", file=sys.stderr)
        report.claims.clear()
        claim(report)
        report.write()


def cut(texts: Texts, n: int) -> Texts:
    """The set with so many texts of its test."""
    kept = np.sort(np.random.default_rng(0).choice(len(texts.test), n, replace=False))
    return Texts(texts.pool, texts.labels, [texts.test[i] for i in kept], texts.test_labels[kept])


def frozen_rows(name: str, draw: int) -> dict[str, Any]:
    """The frozen rungs' rows of a draw, as `fewlabel_text.py` has kept them; none where it has not run."""
    kept = json.loads((harness.RESULTS / "fewlabel_text.json").read_text(encoding="utf-8"))
    for run in kept["runs"]:
        if (run["set"], run["per_class"], run["draw"], run["method"]) == (name, PER_CLASS, draw, "encoder"):
            return {rung: run["rungs"][rung] for rung in (FIRST, FROZEN)}
    return {}


def judge_all(
    embedded: dict[str, Embedded], texts: Texts, chosen: np.ndarray, draw: int, frozen: dict[str, Any]
) -> tuple[dict[str, Any], float]:
    """Per rung: the best head by cross-validation and what it answers on the test; and seconds to learn the layer.

    Those in `frozen` are taken as they are.
    """
    from passmuster.learn.folds import repeated_folds

    classes = np.unique(texts.labels)
    y, truth = (np.searchsorted(classes, labels) for labels in (texts.labels[chosen], texts.test_labels))
    folds = repeated_folds(y, np.random.default_rng([draw, 0]))
    seen = embedded[FROZEN].seen(chosen, draw)
    began = time.process_time()
    adapted = text_ladder.adapt(embedded[FROZEN], seen, draw)
    layer_s = round(time.process_time() - began, 2)
    rungs = {FIRST: embedded[FIRST], FROZEN: embedded[FROZEN], ADAPTED: adapted}
    rows: dict[str, Any] = {}
    for name, rung in rungs.items():
        if name in frozen:
            rows[name] = frozen[name]
            continue
        there = rung.seen(chosen, draw)
        tried = text_ladder.judge(rung, there, chosen, y, len(classes), folds)
        head = text_ladder.last_head(rung, there, chosen, y, len(classes), tried)
        right, loss = text_ladder.answer(head, rung.test, truth)
        rows[name] = {"head": tried[0].kind, "accuracy": right, "log_loss": loss, "cv_log_loss": tried[0].log_loss}
    return rows, layer_s


def claim(report: harness.Report) -> None:
    """Per set: what the layer brings on the test, paired over draws, with the smallest and the largest."""
    for name in SETS:
        runs = [run for run in report.runs if run["set"] == name]
        if not runs:
            continue
        pairs = [(run["beside"][FROZEN], run["rungs"][ADAPTED]) for run in runs]
        of = f"{len(runs)} draws, {runs[0]['n_test']} texts"
        frozen = {"name": FROZEN, "value": float(np.mean([a["accuracy"] for a, _ in pairs]))}
        for figure, unit, values in (
            ("accuracy", "share right", [b["accuracy"] for _, b in pairs]),
            ("gain_over_frozen", "share right", [b["accuracy"] - a["accuracy"] for a, b in pairs]),
            ("log_loss_gain_over_frozen", "nats", [a["log_loss"] - b["log_loss"] for a, b in pairs]),
        ):
            report.claim(
                f"{name}.{ADAPTED}.{figure}", float(np.mean(values)), f"{unit}, {of}", low=min(values),
                high=max(values), peer=frozen if figure == "accuracy" else None,
            )  # fmt: skip


if __name__ == "__main__":
    main()
