"""How well strange items are told from ordinary ones: every detector, and the one that `guard.novelty = "auto"` takes.

CLINC150 with its out-of-scope questions (near), news and short messages (far), with the local pretrained encoder and
without one, at all labels and at 8 per class; Banking77, AG News, Fashion-MNIST and CIFAR-10 with classes left out
(near); Fashion-MNIST against CIFAR-10 in grey and the other way round, and noise (far). As in training, the detector is
chosen by leaving classes of the *training part* out; strange items and the official test are seen once, to be reported.

The peers are what a user would write with scikit-learn on the same embeddings: logistic regression's largest
probability, and the distance to the tenth nearest neighbour in direction.

    python bench/ood.py [--quick] [--only clinc150] [--cache FOLDER] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
from ood_sets import SETTINGS, Embedded, Setting, embed_setting
from text_sets import draw_labels

N_GUARD = 5_000  # items that detectors learn from, as in training
BY_DOUBT = "max_logit.v1"  # what is told of it, alone and backed, whatever was chosen: docs/why/019
N_HELD = 1_000  # held-out items that set the threshold
N_TIMED, N_ROUNDS = 512, 7
DEFAULT = "knn.v1"  # the guard before there was a choice


def main() -> None:
    """Every setting; print and write the claims."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="settings whose name begins so")
    parser.add_argument("--cache", type=Path, default=None, metavar="FOLDER", help="where embeddings are kept")
    arguments = parser.parse_args()
    report = harness.Report("ood", arguments)
    with tempfile.TemporaryDirectory() as scratch:
        for setting in SETTINGS:
            if setting.name.startswith(arguments.only):
                embedded = embed_setting(setting, arguments.cache or Path(scratch), arguments.quick)
                measure(setting, embedded, report, arguments.seed)
    report.write()


def measure(setting: Setting, embedded: Embedded, report: harness.Report, seed: int) -> None:
    """One setting: fit as training does, choose, score everything, claim."""
    from passmuster.metrics.novelty import detectors, find_detector, with_backing
    from passmuster.metrics.ranking import auroc, fpr95

    names, numbers = np.unique(embedded.labels, return_inverse=True)
    shown = np.arange(len(numbers))
    if setting.per_class:
        shown = draw_labels(numbers, setting.per_class, seed)
    head, c, folds = fit_head(embedded.train, shown, numbers[shown], len(names), seed)
    sides = {name: (rows, head.logits(rows)) for name, rows in
             {"ordinary": embedded.ordinary, **embedded.strange}.items()}  # fmt: skip
    right = names[sides["ordinary"][1].argmax(axis=1)] == embedded.ordinary_labels
    rng = np.random.default_rng([seed, 1])
    some = np.sort(rng.permutation(len(numbers))[:N_GUARD])
    fit = (embedded.train[some], head.logits(embedded.train[some]))
    began = time.process_time()
    chosen = choose(embedded.train, shown, numbers, folds, some, fit[1], c, rng)
    choose_s = time.process_time() - began
    facts: dict[str, Any] = {
        "setting": setting.name, "rung": setting.rung, "n_train": len(numbers), "n_labels": len(shown),
        "n_ordinary": len(right), "accuracy": float(right.mean()), "chosen": chosen.facts(),
        "choose_cpu_s": round(choose_s, 2), "detectors": [],
    }  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    scores = {}
    guard = chosen.backed().name
    for name in dict.fromkeys([*detectors, guard]):
        detector = find_detector(name)
        arrays = detector.fit(*fit)
        scores[name] = {side: detector.score(arrays, *pair) for side, pair in sides.items()}
        found[name] = {
            "detector": name,
            "us_per_item": microseconds(name, arrays, sides["ordinary"]),
            "multiplications": detector.work(arrays, fit[0].shape[1], fit[1].shape[1]),
            "kept_bytes": sum(np.asarray(array).nbytes for array in arrays.values()),
        }
    taught = (embedded.train[shown], numbers[shown])
    scores |= peers(taught, embedded.train[some], {side: pair[0] for side, pair in sides.items()})
    for name, of in scores.items():
        row = found.setdefault(name, {"detector": name})
        for side in embedded.strange:
            area, (ordinary_flagged, strange_accepted) = (
                auroc(of[side], of["ordinary"]),
                fpr95(of[side], of["ordinary"]),
            )
            row[side] = {"auroc": area.value, "low": area.low, "high": area.high, "n": len(of[side]),
                         "fpr95": ordinary_flagged, "fpr95_ordinary_positive": strange_accepted}  # fmt: skip
    facts["detectors"] = list(found.values())
    held = rng.permutation(len(numbers))[: min(N_HELD, len(numbers) // 5)]
    taught = np.setdiff1d(shown, held)  # of held-out items the head knows no label either
    head, _, _ = fit_head(embedded.train, taught, numbers[taught], len(names), seed)
    parts = [(embedded.train[of], head.logits(embedded.train[of])) for of in (np.setdiff1d(some, held), held)]
    asked = {name: (pair[0], head.logits(pair[0])) for name, pair in sides.items()}
    watched = dict.fromkeys((guard, chosen.name, with_backing(BY_DOUBT), BY_DOUBT))
    facts["flagged"] = {name: flagged(name, *parts, asked) for name in watched}
    report.run(**facts)
    show(setting, facts, found, list(embedded.strange))
    for side in embedded.strange:
        peer = {name: round(found[name][side]["auroc"], 4) for name in ("sklearn.msp", "sklearn.knn", DEFAULT)}
        mine = found[guard][side]
        peer["best_afterwards"] = max(row[side]["auroc"] for row in found.values())
        peer["chosen_alone"] = round(found[chosen.name][side]["auroc"], 4)
        report.claim(f"{setting.name}.{side}.auroc", mine["auroc"], "AUROC", low=mine["low"], high=mine["high"],
                     peer={"guard": guard, **peer})  # fmt: skip
    for side in sides:
        report.claim(f"{setting.name}.{side}.flagged", facts["flagged"][guard][side], "share, at a rate of 1 %",
                     peer={"name": f"{chosen.name} alone", "value": facts["flagged"][chosen.name][side]})  # fmt: skip
        report.claim(f"{setting.name}.{side}.flagged_by_doubt_backed", facts["flagged"][with_backing(BY_DOUBT)][side],
                     "share, at a rate of 1 %",
                     peer={"name": f"{BY_DOUBT} alone", "value": facts["flagged"][BY_DOUBT][side]})  # fmt: skip


def flagged(
    name: str, fit: tuple[np.ndarray, np.ndarray], held: tuple[np.ndarray, np.ndarray],
    sides: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, float]:  # fmt: skip
    """The share of each side that a guard calls novel, its threshold from held-out items as training sets it."""
    from passmuster.core.config import GuardPolicy
    from passmuster.runtime.guard import fit_novelty, novelty_of

    guard = fit_novelty(*fit, *held, GuardPolicy(novelty=name))
    return {side: float((novelty_of(guard, *pair) > guard["novelty_threshold"]).mean()) for side, pair in sides.items()}


def fit_head(
    rows: np.ndarray, shown: np.ndarray, labels: np.ndarray, n_classes: int, seed: int
) -> tuple[Any, float, np.ndarray]:
    """The logistic head by cross-validation, its penalty, and the folds of the labelled items."""
    from passmuster.learn.folds import repeated_folds
    from passmuster.learn.heads import Scaling, cross_validate_logistic
    from passmuster.learn.logistic import fit_logistic, one_hot

    scaling = Scaling.of(rows)
    x = scaling.apply(rows[shown])
    folds = repeated_folds(labels, np.random.default_rng(seed))
    best = cross_validate_logistic(x, labels, folds[:1], n_classes)
    weight, bias = fit_logistic(x, one_hot(labels, n_classes), c=best.c)
    return scaling.fold(weight, bias, best.temperature), best.c, folds[0]


def choose(
    rows: np.ndarray, shown: np.ndarray, numbers: np.ndarray, folds: np.ndarray, some: np.ndarray, logits: np.ndarray,
    c: float, rng: np.random.Generator,
) -> Any:  # fmt: skip
    """What `guard.novelty = "auto"` takes, by the function that training calls."""
    from passmuster.stages.train.guarding import Labelled, Ordinary, choose_detector

    place = np.full(len(numbers), -1)
    place[shown] = np.arange(len(shown))
    labelled = Labelled(rows[shown], numbers[shown], folds)
    return choose_detector(labelled, Ordinary(rows[some], logits.argmax(axis=1), place[some]), c, rng)


def peers(
    taught: tuple[np.ndarray, np.ndarray], some: np.ndarray, sides: dict[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Scores by scikit-learn: one minus the largest probability, and the distance to the tenth neighbour."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler, normalize

    scaler = StandardScaler().fit(taught[0])
    model = LogisticRegression(max_iter=1_000).fit(scaler.transform(taught[0]), taught[1])
    bank = NearestNeighbors(n_neighbors=10).fit(normalize(some))
    return {
        "sklearn.msp": {side: 1.0 - model.predict_proba(scaler.transform(x)).max(axis=1) for side, x in sides.items()},
        "sklearn.knn": {side: bank.kneighbors(normalize(x))[0][:, -1] for side, x in sides.items()},
    }


def microseconds(name: str, arrays: Any, pair: tuple[np.ndarray, np.ndarray]) -> float:
    """CPU time of scoring one item of a batch, the fastest of some rounds."""
    from passmuster.metrics.novelty import find_detector

    part, detector = (pair[0][:N_TIMED], pair[1][:N_TIMED]), find_detector(name)
    taken = []
    for _ in range(N_ROUNDS):
        began = time.process_time()
        detector.score(arrays, *part)
        taken.append(time.process_time() - began)
    return round(min(taken) / len(part[0]) * 1e6, 2)


def show(setting: Setting, facts: dict[str, Any], found: dict[str, dict[str, Any]], sides: list[str]) -> None:
    """The table of all detectors, on the terminal."""
    print(f"\n{setting.name}: {facts['n_labels']:,} labels of {facts['n_train']:,}, accuracy {facts['accuracy']:.4f}; "
          f"auto took {facts['choose_cpu_s']} s: {facts['chosen']['why']}")  # fmt: skip
    print(f"{'detector':<28}{'µs/item':>9}{'kept KB':>9}  " + "  ".join(f"{side:>30}" for side in sides))
    for name, row in found.items():
        cost = f"{row['us_per_item']:>9}{row['kept_bytes'] / 1e3:>9.0f}" if "us_per_item" in row else " " * 18
        figures = [(row[s]["auroc"], row[s]["fpr95"], row[s]["fpr95_ordinary_positive"]) for s in sides]
        cells = "  ".join(f"{area:.4f} fpr {missed:.3f}/{taken:.3f}".rjust(30) for area, missed, taken in figures)
        print(f"{'*' if name in facts['flagged'] else ' '}{name:<27}{cost}  {cells}", flush=True)


if __name__ == "__main__":
    main()
