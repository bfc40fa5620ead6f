"""Sets of classes from few labels: the whole of `muster train` beside one-against-rest TF-IDF and logistic regression.

The items are composed of real requests (`multilabel_sets.py` says how): nobody wrote them as they stand. Each draw
composes anew, labels some of the training items, trains with everything on and with nothing pretrained, and asks the
bundles about held-out items. The peer learns from the same labels, once as it comes (C = 1, said from 0.5 on), and once
with C and one threshold for all classes chosen by cross-validation. scikit-learn counts for all of them.

    python bench/multilabel.py            # both sets, three draws
    python bench/multilabel.py --quick    # one small draw
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness import Report, bench_data, parser
from multilabel_sets import SETS, Composed, compose

N_TRAIN, N_TEST = 1_000, 1_000
LABELS = {"clinc150": 150, "banking77": 616}  # 15 for each domain, 8 for each intent, where items have one class
TIME = {"encoder": "10m", "nothing_pretrained": "10m"}  # more than either needs
FIGURES = ("micro_f1", "macro_f1", "all_right", "hamming_loss", "ranking_precision")
PENALTIES = (1.0, 10.0, 100.0)
THRESHOLDS = np.linspace(0.1, 0.6, 51)
N_FOLDS = 4


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--draws", type=int, default=3)
    arguments = made.parse_args()
    report = Report("multilabel", arguments)
    data = bench_data()
    names = SETS[:1] if arguments.quick else SETS
    for name in names:
        for draw in range(1 if arguments.quick else arguments.draws):
            one_draw(report, data, name, arguments.seed + draw, arguments)
    for name in names:
        claim(report, name)
    report.write()


def one_draw(report: Report, data: Path, name: str, seed: int, arguments: argparse.Namespace) -> None:
    """Every way on one composition, and what each gets of the held-out items."""
    n_train, n_test = (500, 200) if arguments.quick else (N_TRAIN, N_TEST)
    composed = compose(data, name, n_train=n_train, n_test=n_test, seed=seed)
    n_labels = min(LABELS[name], n_train // 2)
    train = np.flatnonzero(~composed.test)
    labelled = np.sort(np.random.default_rng([seed, 7]).choice(train, n_labels, replace=False))
    classes = sorted({c for i in labelled for c in composed.sets[i]})
    targets = np.array([[c in s for c in classes] for s in composed.sets], dtype=bool)
    ways: dict[str, dict[str, Any]] = {}
    for way, seconds in TIME.items():
        began = time.monotonic()
        ways[way] = muster(composed, labelled, classes, seconds, pretrained=way == "encoder", seed=seed)
        ways[way]["seconds"] = round(time.monotonic() - began, 1)
    ways |= peers([composed.texts[i] for i in labelled], targets[labelled], held_out_texts(composed))
    unknown = sum(not set(composed.sets[i]) <= set(classes) for i in np.flatnonzero(composed.test))
    for way, found in ways.items():
        said, scores = found.pop("said"), found.pop("scores")
        figures = measured(targets[composed.test], said, scores)
        report.run(set=name, seed=seed, way=way, n_labels=n_labels, n_classes=len(classes), n_test=n_test,
                   n_test_with_a_class_without_labels=unknown, **figures, **found)  # fmt: skip
        print(f"{name} {seed} {way}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()), file=sys.stderr)


def held_out_texts(composed: Composed) -> list[str]:
    return [text for text, is_test in zip(composed.texts, composed.test, strict=True) if is_test]


def muster(
    composed: Composed, labelled: np.ndarray, classes: list[str], seconds: str, *, pretrained: bool, seed: int
) -> dict[str, Any]:
    """init, add, train, and the bundle's answers to the held-out items."""
    from passmuster.flows.project import Project
    from passmuster.runtime.bundle import open_bundle
    from passmuster.runtime.predictor import Predictor

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "items.csv"
        write_table(table, composed, set(labelled.tolist()))
        with Project.init(Path(folder) / "project", modality="text", task="multi-label"):
            pass
        overrides = {"train.pretrained": pretrained, "serve.threads": 1}
        with Project.open(Path(folder) / "project", overrides=overrides) as project:
            project.add(table)
            trained = project.train(time=seconds, seed=seed)
            predictor = Predictor(open_bundle(Path(trained.path)), threads=1)
            answers = predictor.predict(held_out_texts(composed))
    assert list(predictor.classes) == classes
    from passmuster.core.label_sets import split_label

    said = np.array([[c in split_label(a.label) for c in classes] for a in answers])
    whole = np.array([a.probability for a in answers])
    return {"said": said, "scores": np.array([a.probabilities for a in answers]), "rung": trained.rung,
            "mean_probability_of_all_right": float(whole.mean())}  # fmt: skip


def write_table(path: Path, composed: Composed, labelled: set[int]) -> None:
    """Training items, some with a label; the test is not given: nothing here may learn from it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "label", "split"])
        for i, (text, names) in enumerate(zip(composed.texts, composed.sets, strict=True)):
            if not composed.test[i]:
                cell = (";".join(names) if names else "[]") if i in labelled else ""
                rows.writerow([f"i{i}", text, cell, "train"])


def peers(texts: list[str], targets: np.ndarray, held_out: list[str]) -> dict[str, dict[str, Any]]:
    """TF-IDF of words and pairs, and a logistic regression for each class."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.model_selection import KFold

    def scores(c: float, inside: list[str], y: np.ndarray, asked: list[str]) -> np.ndarray:
        vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        return one_against_rest(c, vectors.fit_transform(inside), y, vectors.transform(asked))

    plain = scores(1.0, texts, targets, held_out)
    found: dict[str, dict[str, Any]] = {"tfidf_plain": {"said": plain >= 0.5, "scores": plain}}
    best = (-1.0, 1.0, 0.5)
    for c in PENALTIES:
        kept = np.zeros(targets.shape)
        for inside, outside in KFold(N_FOLDS, shuffle=True, random_state=0).split(texts):
            kept[outside] = scores(c, [texts[i] for i in inside], targets[inside], [texts[i] for i in outside])
        for threshold in THRESHOLDS:
            best = max(best, (measured(targets, kept >= threshold, kept)["micro_f1"], c, float(threshold)))
    _, c, threshold = best
    tuned = scores(c, texts, targets, held_out)
    found["tfidf_tuned"] = {"said": tuned >= threshold, "scores": tuned, "c": c, "threshold": threshold}
    return found


def one_against_rest(c: float, x: Any, y: np.ndarray, asked: Any) -> np.ndarray:
    """Probabilities (n, k); a class that all or none of the items have is as probable as it is frequent."""
    from sklearn.linear_model import LogisticRegression

    columns = []
    for j in range(y.shape[1]):
        share = float(y[:, j].mean())
        if share in (0.0, 1.0):
            columns.append(np.full(asked.shape[0], share))
        else:
            columns.append(LogisticRegression(C=c, max_iter=1_000).fit(x, y[:, j]).predict_proba(asked)[:, 1])
    return np.stack(columns, axis=1)


def measured(targets: np.ndarray, said: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """By scikit-learn. A class that no held-out item carries and that is not said counts 0, for everybody alike."""
    from sklearn import metrics

    return {
        "micro_f1": float(metrics.f1_score(targets, said, average="micro", zero_division=0.0)),
        "macro_f1": float(metrics.f1_score(targets, said, average="macro", zero_division=0.0)),
        "all_right": float(metrics.accuracy_score(targets, said)),
        "hamming_loss": float(metrics.hamming_loss(targets, said)),
        "ranking_precision": float(metrics.label_ranking_average_precision_score(targets, scores)),
    }


def claim(report: Report, name: str) -> None:
    """Means over draws with the smallest and largest, the peer's beside them."""
    rows = [run for run in report.runs if run["set"] == name]

    def values(way: str, figure: str) -> np.ndarray:
        return np.array([row[figure] for row in rows if row["way"] == way])

    for way in TIME:
        for figure in FIGURES:
            mine = values(way, figure)
            beside = {peer: round(float(values(peer, figure).mean()), 4) for peer in ("tfidf_plain", "tfidf_tuned")}
            unit = "rate"
            report.claim(f"{name}.{way}.{figure}", float(mine.mean()), unit, low=float(mine.min()),
                         high=float(mine.max()), peer=beside)  # fmt: skip
        said = values(way, "mean_probability_of_all_right") - values(way, "all_right")
        report.claim(f"{name}.{way}.too_sure_of_all_right", float(said.mean()), "rate", low=float(said.min()),
                     high=float(said.max()))  # fmt: skip


if __name__ == "__main__":
    main()
