"""Few labels on five sets of texts: Muster with the local pretrained encoder and without, SetFit, TF-IDF + logistic.

Banking77, CLINC150 (in scope), AG News (its test split, halved into pool and test), SMS spam (halved by a digest of the
text, so that exact copies stay on one side) and Amazon (books are the pool, the other three kinds of goods the test),
at 8 and 16 labels per class. Every method gets the same labels; Muster also gets the rest of the pool as raw text.

How Muster's side is run, and what is charged to it, is in `text_ladder.py`. SetFit runs in an environment of its own::

    python bench/fewlabel_text.py --setfit ENV/bin/python --cache FOLDER

Runs are kept in the result file; the same command goes on where it stopped. SetFit's draws are few where it is slow
(many classes: 8 labels per class, 3 draws), and each claim says how many draws it is of.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
from text_ladder import LADDER, STUDENT, Embedded, climb, embed
from text_sets import MANY, SETS, Texts, draw_labels, read

PER_CLASS = (8, 16)
N_DRAWS = 10
SCRATCH = LADDER[0]  # the only rung where no encoder lies


def main() -> None:
    """Every set, draw by draw, the peers beside; claims are written after each run."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="sets whose name begins so")
    parser.add_argument("--draws", type=int, default=0, help="at most so many draws of labels (default: 10)")
    parser.add_argument("--per-class", type=int, choices=PER_CLASS, default=None, help="one number of labels only")
    parser.add_argument("--setfit", default="", metavar="PYTHON", help="interpreter with SetFit; left out without it")
    parser.add_argument("--cache", type=Path, default=None, help="where embeddings are kept between runs")
    arguments = parser.parse_args()
    report = harness.Report("fewlabel_text", arguments)
    report.runs += kept_runs(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        cache = arguments.cache or Path(scratch)
        for draw in range(n_draws(arguments)):
            for name in SETS:
                if name.startswith(arguments.only):
                    measure(name, draw, arguments, report, cache)
    write(report)  # of kept runs alone too: which rung serves may be settled otherwise than when they were run


def kept_runs(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs of the result file that is about to be written, when it is of the same kind."""
    path = arguments.json or harness.RESULTS / "fewlabel_text.json"
    if not path.is_file():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    return list(kept["runs"]) if kept["quick"] == arguments.quick and kept["seed"] == arguments.seed else []


def n_draws(arguments: argparse.Namespace) -> int:
    """Draws of labels of each set."""
    return min(N_DRAWS, arguments.draws or (1 if arguments.quick else N_DRAWS))


def measure(name: str, draw: int, arguments: argparse.Namespace, report: harness.Report, cache: Path) -> None:
    """One draw of one set at each number of labels, by every method that has not run on it yet."""
    texts = read(name, arguments)
    embedded: dict[str, Embedded] = {}
    for per_class in [arguments.per_class] if arguments.per_class else PER_CLASS:
        chosen = draw_labels(texts.labels, per_class, arguments.seed + draw)
        for method in ("tfidf", "encoder", "setfit"):
            if method == "setfit" and not wants_setfit(name, per_class, arguments):
                continue
            if any((r["set"], r["per_class"], r["draw"], r["method"]) == (name, per_class, draw, method)
                   for r in report.runs):  # fmt: skip
                continue
            began = time.process_time()
            if method == "tfidf":
                facts: dict[str, Any] = {"accuracy": tfidf_logistic(texts, chosen)}
                facts["cpu_s"] = round(time.process_time() - began, 2)
            elif method == "setfit":
                facts = setfit(texts, chosen, arguments, draw)
            else:
                for rung in LADDER:
                    if rung not in embedded:
                        embedded[rung] = embed(name, rung, texts, cache, embedded)
                facts = climb(embedded, texts, chosen, draw, priors_of(name, published(name)))
            report.run(set=name, per_class=per_class, draw=draw, method=method, **facts)
            write(report)  # a run that is stopped has kept what it had
            cpu_s, accuracy = report.runs[-1]["cpu_s"], report.runs[-1]["accuracy"]
            print(
                f"{name} {per_class} per class, draw {draw}, {method}: {accuracy:.3f}, {cpu_s:.0f} CPU s",
                file=sys.stderr,
            )


def wants_setfit(name: str, per_class: int, arguments: argparse.Namespace) -> bool:
    """Whether SetFit is asked for; with many classes at 8 labels per class only."""
    return bool(arguments.setfit) and not (name in MANY and per_class > min(PER_CLASS))


# Peers


def tfidf_logistic(texts: Texts, chosen: np.ndarray) -> float:
    """Words, TF-IDF over the whole pool, logistic regression on the labelled; as in `bench/story.py`."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectors = TfidfVectorizer(sublinear_tf=True)
    pool = vectors.fit_transform(texts.pool)
    model = LogisticRegression(C=30.0, max_iter=1_000).fit(pool[chosen], texts.labels[chosen])
    return float((model.predict(vectors.transform(texts.test)) == texts.test_labels).mean())


def setfit(texts: Texts, chosen: np.ndarray, arguments: argparse.Namespace, draw: int) -> dict[str, Any]:
    """SetFit in its own environment, from the same encoder's files."""
    from passmuster.modality.text.rungs.known_encoders import find_encoders

    (found, *_) = find_encoders(()).found
    job = {
        "encoder": str(found.weights.parent), "texts": [texts.pool[i] for i in chosen],
        "labels": texts.labels[chosen].tolist(), "test_texts": texts.test, "test_labels": texts.test_labels.tolist(),
        "seed": draw,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        command = [arguments.setfit, str(Path(__file__).parent / "setfit_peer.py"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    if done.returncode:
        raise SystemExit(f"SetFit ended with {done.returncode}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


# Claims


def write(report: harness.Report) -> None:
    """Claims from every run so far, printed and written."""
    report.claims.clear()
    serve(report)
    for per_class in PER_CLASS:
        for method, peer in (("encoder", "setfit"), ("encoder", "tfidf"), ("scratch", "tfidf")):
            compare(report, per_class, method, peer)
    report.write()


def serve(report: harness.Report) -> None:
    """Choose the rung of every run of ours as training would that knew the priors of the other sets alone."""
    from passmuster.learn.priors import N_CLASSES, UNKNOWN
    from passmuster.learn.select import stand

    for name in SETS:
        priors = priors_of(name, rung_gains([run for run in report.runs if run["set"] != name]))
        for run in report.runs:
            if run["set"] == name and "rungs" in run:
                rows = run["rungs"]
                known = [priors.get(rung, UNKNOWN) for rung in rows]
                measured = [(row["cv_gain"], row["cv_gain_se"]) for row in rows.values()]
                n_labels = run["per_class"] * N_CLASSES[name]
                run["rung"] = next(s.name for s in stand(list(rows), measured, known, n_labels) if s.chosen)
                run["head"], run["accuracy"] = (rows[run["rung"]][key] for key in ("head", "accuracy"))
                if STUDENT in rows:
                    run["cpu_s"] = round(run["judged_cpu_s"] + rows[run["rung"]].get("cpu_s", 0.0), 2)


def priors_of(name: str, others: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """What to expect of each rung on a set, from its gains on `others`."""
    from passmuster.learn.priors import FIRST, N_CLASSES, NOTHING, gains_of, of_kind

    gains = gains_of({rung: of_kind(seen, N_CLASSES[name]) for rung, seen in others.items()})
    return gains | {FIRST["text"]: NOTHING}


def published(name: str) -> dict[str, dict[str, float]]:
    """The published gains of texts, without those on the set `name`."""
    from passmuster.learn.priors import SEEN

    rows = {rung: seen for (kind, rung), seen in SEEN.items() if kind == "text"}
    return {rung: {other: gain for other, gain in seen.items() if other != name} for rung, seen in rows.items()}


def rung_gains(runs: Sequence[dict[str, Any]], figure: str = "log_loss") -> dict[str, dict[str, float]]:
    """Per rung and set, what the rung brought on the test over the first rung: mean over draws and label counts.

    Of the log-loss the fall, of the accuracy the rise.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        if run["method"] == "encoder":
            first, *others = run["rungs"]
            for rung in others:
                gain = run["rungs"][first][figure] - run["rungs"][rung][figure]
                seen = found.setdefault(rung, {}).setdefault(run["set"], [])
                seen.append(-gain if figure == "accuracy" else gain)
    return {rung: {name: float(np.mean(gains)) for name, gains in sets.items()} for rung, sets in found.items()}


def compare(report: harness.Report, per_class: int, method: str, peer: str) -> None:
    """Per set: accuracy with the peer's, and the paired difference; then the mean over sets and the ratio of seconds.

    Only draws that both have count, each set its own number of them. The interval of a set's difference is 1.96
    standard errors over draws; with a single draw it is unknown.
    """
    gains, seconds, errors, draws = [], [], [], []
    for name in SETS:
        mine, theirs = found(report, name, per_class, method), found(report, name, per_class, peer)
        both = sorted(set(mine) & set(theirs))
        if not both:
            continue
        a, b = (np.array([runs[i]["accuracy"] for i in both]) for runs in (mine, theirs))
        error = float((a - b).std(ddof=1) / np.sqrt(len(both))) if len(both) > 1 else float("nan")
        gain = float((a - b).mean())
        tag = f"{name}.{method}_{per_class}"
        if peer == "setfit" or method == "scratch":
            theirs_is = {"name": peer, "value": float(b.mean()), "low": float(b.min()), "high": float(b.max())}
            unit = f"share right, {len(both)} draws"
            low, high = float(a.min()), float(a.max())
            report.claim(f"{tag}.accuracy", float(a.mean()), unit, low=low, high=high, peer=theirs_is)
        low, high = (None, None) if np.isnan(error) else (gain - 1.96 * error, gain + 1.96 * error)
        report.claim(f"{tag}.gain_over_{peer}", gain, f"share right, {len(both)} draws", low=low, high=high)
        gains.append(gain)
        errors.append(error)
        draws.append(len(both))
        seconds.append([np.mean([runs[i]["cpu_s"] for i in both]) for runs in (mine, theirs)])
    if not gains:
        return
    tag = f"mean_of_{len(gains)}_sets.{method}_{per_class}"
    error = float(np.sqrt(np.nansum(np.square(errors)))) / len(gains)
    unit = f"share right, {min(draws)} to {max(draws)} draws"
    report.claim(f"{tag}.gain_over_{peer}", float(np.mean(gains)), unit,
                 low=float(np.mean(gains)) - 1.96 * error, high=float(np.mean(gains)) + 1.96 * error)  # fmt: skip
    report.claim(f"{tag}.least_draws_with_{peer}", min(draws), "draws of labels, the set that has fewest")
    mine_s, theirs_s = np.sum(seconds, axis=0)
    if peer == "setfit":
        report.claim(f"{tag}.cpu_ratio_to_{peer}", float(mine_s / theirs_s), "user + system seconds, summed over sets",
                     peer={"name": peer, "value": float(theirs_s)})  # fmt: skip


def found(report: harness.Report, name: str, per_class: int, method: str) -> dict[int, dict[str, Any]]:
    """Runs of a method by draw; without an encoder Muster serves the rung that needs none."""
    asked = "encoder" if method == "scratch" else method
    runs = [r for r in report.runs if (r["set"], r["per_class"], r["method"]) == (name, per_class, asked)]
    if method == "encoder":  # runs of before say what the other rungs bring, not what training answers now
        runs = [run for run in runs if STUDENT in run["rungs"]]
    return {run["draw"]: run | run["rungs"][SCRATCH] if method == "scratch" else run for run in runs}


if __name__ == "__main__":
    main()
