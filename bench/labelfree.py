"""Accuracy without labels: how near, under natural faults and domains that the estimator was not taught by.

A model is trained by the commands a user types, in three minutes. 1,000 labelled test items are the reference, and 200
of them under every fault but one are the bank (as many as `muster evaluate` spoils). 500 others, drawn anew for each
fault, are the batch without labels under the fault that was left out, at five severities; so with every fault in turn.
Where a set has domains, the batches are 500 items of another domain, and the bank holds all faults. Severities 1 to 3
and domains count as mild, 4 and 5 as severe. Errors are in points of accuracy.

Two readings: ``answers`` sees how sure the model is and how novel an item (what the watch finds in its traffic; here
novelty is the mean cosine of the five nearest training items), ``neighbours`` besides what an item's neighbours are
taken for (what `muster evaluate` does). Peers, in the same run on the same answers: average confidence, difference of
confidences (Guillory et al. 2021), average thresholded confidence (Garg et al. 2022, by negative entropy).

**What was developed on, and what is reported.** Frozen on 2026-11-28, before anything was tried:

- development (`--development`): AG News (titles and descriptions as two domains), Fashion-MNIST, and Amazon reviews of
  dvd and electronics, each as the other's domain. Every fourth fault of a modality (`unseen`) was not looked at there.
- report: Banking77, CLINC150, SMS spam, CIFAR-10, and the ten Amazon pairs that books or kitchen take part in. Faults
  that development never saw are claimed apart too.

An earlier form of the estimator had been looked at on all four Amazon domains, with another model (docs/log.md).
`--answers FOLDER` keeps what the models answered, so that they are asked once.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
from labelfree_answers import Answers, answers
from labelfree_sets import development, report

LEVEL = 0.9
BATCH, FEWEST = 500, 100  # items in a batch of a domain; that a fault must change of a batch
FEWEST_IN_BANK = 20
N_NEAREST, BLOCK = 5, 1_000
READINGS = {
    "answers": ("confidence", "above", "familiarity"),
    "neighbours": ("confidence", "above", "familiarity", "agreement"),
}
PEERS = ("average_confidence", "doc", "atc")


def unseen(faults: Sequence[str]) -> set[str]:
    """The faults that development did not look at."""
    return set(sorted(faults)[3::4])


def main() -> None:
    """Every scene; print and write the claims."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--answers", type=Path, default=None, metavar="FOLDER", help="keep what the models answered")
    parser.add_argument("--development", action="store_true", help="the part that may be tried on")
    arguments = parser.parse_args()
    data = harness.bench_data()
    found = harness.Report("labelfree", arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for scene in (development if arguments.development else report)(data, arguments.seed):
            if arguments.quick and scene.name not in ("sms_spam", "amazon.books"):
                continue
            asked = answers(scene, Path(scratch) / scene.name, arguments)
            for reading in READINGS:
                rows += judged(scene.name, reading, asked, hidden=arguments.development)
    for row in rows:
        found.run(**row)
    claim(found, rows)
    found.write()


def judged(name: str, reading: str, asked: Answers, *, hidden: bool) -> list[dict[str, Any]]:
    """What the estimator says of each batch, beside what is so; `hidden` leaves out the faults kept for the report."""
    from labelfree_peers import (
        average_confidence,
        average_thresholded_confidence,
        difference_of_confidences,
        negative_entropy,
    )
    from passmuster.signals.label_free_seen import Reference
    from passmuster.signals.label_free_taught import Spoilt, teach

    faults = sorted({part.split("|")[1] for part in asked if part.startswith("bank|")})
    hide = unseen(faults) if hidden else set()
    reference, features = readers(reading, asked)
    home = features("reference", np.arange(len(reference.right)))
    bank = [
        Spoilt(fault, asked[f"{part}/i"], features(part, asked[f"{part}/i"]), right(asked, part))
        for part, fault in parts(asked, "bank", hide)
        if len(asked[f"{part}/y"]) >= FEWEST_IN_BANK
    ]
    n_classes = asked["reference/l"].shape[1]

    def row(estimator: Any, part: str, seen: np.ndarray, some: slice, **about: Any) -> dict[str, Any]:
        p, so = probabilities(asked, part)[some], right(asked, part)[some]
        said = estimator.estimate(seen[some].mean(axis=0), len(so), level=LEVEL)
        entropies = Reference(negative_entropy(probabilities(asked, "reference")), reference.right)
        peers = {
            "average_confidence": average_confidence(p.max(axis=1)),
            "doc": difference_of_confidences(reference, p.max(axis=1)),
            "atc": average_thresholded_confidence(entropies, negative_entropy(p)),
        }
        return {
            "set": name, "reading": reading, "n": len(so), "reference": reference.accuracy,
            "accuracy": float(so.mean()), "estimate": said.value, "low": said.low, "high": said.high, **peers, **about,
        }  # fmt: skip

    rows = []
    for fault in faults:
        batches = [part for part, kind in parts(asked, "batch", hide) if kind == fault]
        batches = [part for part in batches if len(asked[f"{part}/y"]) >= FEWEST]
        if not batches:
            continue
        taught = teach(reference, READINGS[reading], home, [b for b in bank if b.family != fault], n_classes=n_classes)
        for part in batches:
            severity = int(part.split("|")[2])
            about = {"kind": fault, "severity": severity, "unseen": fault in unseen(faults)}
            about["group"] = "severe" if severity > 3 else "mild"
            rows.append(row(taught, part, features(part), slice(None), **about))
    taught = teach(reference, READINGS[reading], home, bank, n_classes=n_classes)
    for part, domain in parts(asked, "domain", set()):
        seen = features(part)
        for start in range(0, len(seen), BATCH):
            some = slice(start, start + BATCH)
            rows.append(row(taught, part, seen, some, kind=domain, severity=1, unseen=True, group="domain"))
    return rows


def readers(reading: str, asked: Answers) -> tuple[Any, Any]:
    """The reference, and what can be seen of a part; `copies` (m,) are the reference items that were spoilt."""
    from passmuster.signals.label_free_seen import Reference, features_of

    p = probabilities(asked, "reference")
    near = "agreement" in READINGS[reading]
    reference = Reference(
        p.max(axis=1), right(asked, "reference"), novelty(asked, "reference"),
        probabilities=p if near else None, embeddings=asked["reference/z"] if near else None,
    )  # fmt: skip

    def features(part: str, copies: np.ndarray | None = None) -> np.ndarray:
        mine = probabilities(asked, part)
        return features_of(
            reference, READINGS[reading], mine.max(axis=1), novelty=novelty(asked, part), said=mine.argmax(axis=1),
            embeddings=asked[f"{part}/z"], copies_of=copies,
        )  # fmt: skip

    return reference, features


def parts(asked: Answers, kind: str, hide: set[str]) -> list[tuple[str, str]]:
    """Names of the parts of a kind, and their fault or domain."""
    names = sorted({name.rsplit("/", 1)[0] for name in asked if name.startswith(f"{kind}|")})
    return [(name, name.split("|")[1]) for name in names if name.split("|")[1] not in hide]


def probabilities(asked: Answers, part: str) -> np.ndarray:
    from passmuster.runtime.guard import softmax

    return softmax(asked[f"{part}/l"].astype(np.float64))


def right(asked: Answers, part: str) -> np.ndarray:
    return asked[f"{part}/l"].argmax(axis=1) == asked[f"{part}/y"]


def novelty(asked: Answers, part: str) -> np.ndarray:
    """One less the mean cosine of the five nearest training items (n,)."""
    known, new = (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12) for z in
                  (asked["train/z"], asked[f"{part}/z"]))  # fmt: skip
    found = [np.partition(new[i : i + BLOCK] @ known.T, -N_NEAREST, axis=1)[:, -N_NEAREST:].mean(axis=1)
             for i in range(0, len(new), BLOCK)]  # fmt: skip
    return 1 - np.concatenate(found)


def claim(found: harness.Report, rows: Sequence[dict[str, Any]]) -> None:
    """Mean absolute errors with bootstrap intervals over faults and domains, coverage, and the peers' errors."""
    for reading in READINGS:
        mine = [row for row in rows if row["reading"] == reading]
        faults = [row for row in mine if row["group"] != "domain"]
        groups = {
            "faults_mild": [row for row in mine if row["group"] == "mild"],
            "faults_severe": [row for row in mine if row["group"] == "severe"],
            "faults_unseen_mild": [row for row in faults if row["unseen"] and row["group"] == "mild"],
            "faults_unseen_severe": [row for row in faults if row["unseen"] and row["group"] == "severe"],
            "domains": [row for row in mine if row["group"] == "domain"],
            "all": mine,
        }
        for name, members in groups.items():
            if members:
                claim_group(found, f"{name}.{reading}", members)


def claim_group(found: harness.Report, name: str, members: Sequence[dict[str, Any]]) -> None:
    """One group of batches."""
    kinds = [f"{row['set']} {row['kind']}" for row in members]
    peers = {peer: float(np.mean([abs(row[peer] - row["accuracy"]) for row in members]) * 100) for peer in PEERS}
    error = np.array([abs(row["estimate"] - row["accuracy"]) for row in members]) * 100
    low, high = bootstrapped(error, kinds)
    found.claim(f"{name}.mean_absolute_error", error.mean(), "points", low=low, high=high, peer=peers)
    covered = np.array([row["low"] <= row["accuracy"] <= row["high"] for row in members], dtype=float)
    low, high = bootstrapped(covered, kinds)
    found.claim(f"{name}.coverage_of_90_percent", covered.mean(), "rate", low=low, high=high)
    below = np.array([row["accuracy"] <= row["high"] for row in members], dtype=float)
    low, high = bootstrapped(below, kinds)
    found.claim(f"{name}.upper_end_holds", below.mean(), "rate", low=low, high=high)
    width = float(np.mean([row["high"] - row["low"] for row in members]) * 50)
    found.claim(f"{name}.mean_half_width", width, "points")
    found.claim(f"{name}.batches", len(members), "count")


def bootstrapped(values: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """95 % interval of the mean; batches of one fault or domain of one set are drawn together."""
    names, code = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(0)
    sums, counts = np.bincount(code, values), np.bincount(code)
    means = []
    for _ in range(2_000):
        drawn = rng.integers(0, len(names), len(names))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


if __name__ == "__main__":
    main()
