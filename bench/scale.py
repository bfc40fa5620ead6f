"""From ten thousand to a million texts: do the seconds of `add` and `train` grow linearly, and is memory bounded?

The texts are real ones recombined: AG News and the Amazon reviews are cut into pieces of three to eight words, and a
seeded generator joins three to eight pieces of one topic (four of AG News, four kinds of Amazon goods) into a new text.
So words, spelling and topics are real, sentences are not; a few labels of each topic are told, the rest is the pool.

Each size goes through `muster init`, `muster add` and `muster train` as processes of their own, with the rung
`static.v1`, which fits every size; the bundle then answers fresh texts of the same generator. Measured are wall
seconds, processor seconds (user and system, children included) and the most memory that the process held. Seconds are
said to be linear by the exponent of a power law through all sizes and by the seconds per text of the largest size over
the smallest.

Beside it, on the same file and in a process of its own: TF-IDF of every text and logistic regression on the labelled
ones, by scikit-learn, which then answers the whole file; it checks, splits and records nothing.

    python bench/scale.py --sizes 10000 30000 100000 300000 1000000 --json bench/results/scale.json

After every size the file is written; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
QUICK_SIZES = (1_000, 3_000)
LABELS_PER_CLASS = 20
PIECE_WORDS = (3, 8)
PIECES = (3, 8)
N_FRESH = 2_000  # texts that the bundle answers, of no project
TIME = "2h"  # far more than is needed: the rung does not use up its time
MEMORY_LIMIT_GIB = 4.0


def main() -> None:
    """Every size that is not in the file yet, then the claims."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where the projects are made; a new one otherwise")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--peer-only", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer_only:
        print(json.dumps(peer(arguments.peer_only)))
        return
    report = harness.Report("scale", arguments)
    path = arguments.json or (None if arguments.quick else harness.RESULTS / "scale.json")
    if path is not None and path.is_file():
        report.runs = json.loads(path.read_text())["runs"]
        print(f"going on after {len(report.runs)} sizes in {path}", file=sys.stderr)
    done = {run["n_texts"] for run in report.runs}
    texts = Texts.read()
    for n in arguments.sizes or (QUICK_SIZES if arguments.quick else SIZES):
        if n in done:
            continue
        with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
            report.run(**one_size(texts, n, Path(scratch), arguments))
        report.runs.sort(key=lambda run: run["n_texts"])
        report.claims = claims(report.runs)
        if path is not None:
            report.write()
    report.claims = claims(report.runs)
    report.write()


@dataclass(frozen=True)
class Texts:
    """Pieces of real texts by topic, and the generator of new texts from them."""

    pieces: dict[str, list[str]]

    @classmethod
    def read(cls) -> Texts:
        """AG News by its topics, Amazon by its kinds of goods, each text cut into pieces of a few words."""
        import polars as pl

        data = harness.bench_data()
        news = pl.read_parquet(data / "ag_news" / "ag_news_test.parquet")
        goods = pl.read_parquet(data / "amazon_multidomain" / "amazon_multidomain.parquet")
        pairs = [*zip(news["label"], news["text"], strict=True), *zip(goods["domain"], goods["text"], strict=True)]
        rng = np.random.default_rng(0)
        pieces: dict[str, list[str]] = {}
        for topic, text in pairs:
            words = str(text).split()
            at = 0
            while at < len(words):
                size = int(rng.integers(*PIECE_WORDS, endpoint=True))
                pieces.setdefault(str(topic), []).append(" ".join(words[at : at + size]))
                at += size
        return cls(pieces)

    def draw(self, n: int, seed: Sequence[int]) -> Iterator[tuple[str, str]]:
        """`n` new texts with their topics, the same for the same seed."""
        rng = np.random.default_rng(seed)
        topics = sorted(self.pieces)
        for start in range(0, n, 10_000):
            size = min(10_000, n - start)
            drawn, lengths = rng.integers(len(topics), size=size), rng.integers(*PIECES, size=size, endpoint=True)
            shares = rng.random((size, PIECES[1]))
            for topic, length, share in zip(drawn.tolist(), lengths.tolist(), shares, strict=True):
                own = self.pieces[topics[topic]]
                yield " ".join(own[int(s * len(own))] for s in share[:length]), topics[topic]


def one_size(texts: Texts, n: int, scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Files, project, `add`, `train`, answers, and the peer."""
    file = scratch / "texts.csv"
    told: dict[str, int] = {}
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["text", "label"])
        for text, topic in texts.draw(n, [arguments.seed, 0]):
            told[topic] = told.get(topic, 0) + 1
            rows.writerow([text, topic if told[topic] <= LABELS_PER_CLASS else ""])
    muster(scratch, "init", "project", "--modality", "text")
    project = scratch / "project"
    toml = (project / "muster.toml").read_text()
    (project / "muster.toml").write_text(re.sub(r"(?m)^rungs = .*$", 'rungs = ["static.v1"]', toml))
    _, added = muster(project, "add", str(file), "--text-column", "text", "--label-column", "label")
    data, trained = muster(project, "train", "--time", TIME)
    row = data["rungs"][0]
    fresh = list(texts.draw(N_FRESH, [arguments.seed, 1]))
    facts = {
        "n_texts": n,
        "file_mib": round(file.stat().st_size / 2**20, 1),
        "add": added,
        "train": trained,
        "head": data["head"],
        "seconds_by_phase": {name: round(s, 2) for name, s in row["seconds_by_phase"].items()},
        "accuracy": right(Path(data["path"]), fresh),
        "kept_mib": round(sum(f.stat().st_size for f in project.rglob("*") if f.is_file()) / 2**20, 1),
    }
    print(json.dumps(facts), file=sys.stderr)
    if not arguments.no_peer:
        fresh_file = scratch / "fresh.csv"
        with fresh_file.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows(fresh)
        answer, took = measured([sys.executable, __file__, "--peer-only", str(scratch)])
        facts["peer"] = {**took, **answer}
        print(json.dumps(facts["peer"]), file=sys.stderr)
    return facts


def right(bundle: Path, fresh: Sequence[tuple[str, str]]) -> float:
    """Share of fresh texts that the bundle, opened as the server opens it, names rightly."""
    from passmuster.runtime.bundle import open_bundle
    from passmuster.runtime.predictor import Predictor

    predictor = Predictor(open_bundle(bundle))
    answers = [a for i in range(0, len(fresh), 64) for a in predictor.predict([t for t, _ in fresh[i : i + 64]])]
    return sum(answer.label == topic for answer, (_, topic) in zip(answers, fresh, strict=True)) / len(fresh)


def peer(scratch: Path) -> dict[str, Any]:
    """TF-IDF of every text, logistic regression on those with a label, answers to all; scikit-learn's defaults."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    with (scratch / "texts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    vectoriser = TfidfVectorizer()
    x = vectoriser.fit_transform([text for text, _ in rows])
    known = [i for i, (_, label) in enumerate(rows) if label]
    head = LogisticRegression(max_iter=1_000).fit(x[known], [rows[i][1] for i in known])
    head.predict(x)
    with (scratch / "fresh.csv").open(newline="", encoding="utf-8") as file:
        fresh = list(csv.reader(file))
    answers = head.predict(vectoriser.transform([text for text, _ in fresh]))
    return {"accuracy": float(np.mean([a == topic for a, (_, topic) in zip(answers, fresh, strict=True)]))}


def muster(folder: Path, *words: str) -> tuple[dict[str, Any], dict[str, float]]:
    """One command in a process of its own: its data, and what it took."""
    answer, took = measured([sys.executable, "-m", "passmuster", "--json", "-q", "-C", str(folder), *words])
    if not answer["ok"]:
        raise SystemExit(f"muster {words[0]} failed: {answer['error']}")
    return answer["data"], took


def measured(command: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
    """A command's JSON answer; its wall and processor seconds, and the most memory it held."""
    with tempfile.TemporaryFile("w+") as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - began
        out.seek(0)
        text = out.read()
    if not text.strip():
        raise SystemExit(f"{command[:4]} gave no answer, exit {process.returncode}")
    took = {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024),
    }
    return json.loads(text), took


def claims(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exponents, seconds per text, and memory."""
    made = harness.Report("scale", argparse.Namespace())
    if not runs:
        return []
    largest, smallest = runs[-1], runs[0]
    for part in ("add", "train", "both"):
        for kind in ("cpu_s", "wall_s"):
            seconds = np.array([took(run, part, kind) for run in runs])
            peers = [run["peer"][kind] for run in runs if "peer" in run] if part == "both" else []
            name, n = f"texts.{part}.{kind.removesuffix('_s')}", np.array([run["n_texts"] for run in runs], dtype=float)
            if len(runs) > 1:
                exponent = float(np.polyfit(np.log(n), np.log(seconds), 1)[0])
                whole = len(peers) == len(runs)
                other = float(np.polyfit(np.log(n), np.log(peers), 1)[0]) if whole else None
                made.claim(f"{name}_exponent", exponent, "power of n", peer=other)
                ratio = (seconds[-1] / n[-1]) / (seconds[0] / n[0])
                other = (peers[-1] / n[-1]) / (peers[0] / n[0]) if whole else None
                made.claim(f"{name}_per_text_ratio", float(ratio), f"of {int(n[-1]):,} to {int(n[0]):,}", peer=other)
            made.claim(f"{name}_seconds", float(seconds[-1]), f"s at {int(n[-1]):,}", peer=peers[-1] if peers else None)
    top = max(largest["add"]["peak_mib"], largest["train"]["peak_mib"]) / 1024
    beside = largest["peer"]["peak_mib"] / 1024 if "peer" in largest else None
    made.claim("texts.both.peak_memory", top, f"GiB at {largest['n_texts']:,}", peer=beside)
    for run in (smallest, largest):
        beside = run["peer"]["accuracy"] if "peer" in run else None
        made.claim(f"texts.{run['n_texts']}.accuracy", run["accuracy"], "share of fresh texts", peer=beside)
    return made.claims


def took(run: dict[str, Any], part: str, kind: str) -> float:
    """Seconds of a part of a run."""
    return float(sum(run[name][kind] for name in (("add", "train") if part == "both" else (part,))))


if __name__ == "__main__":
    main()
