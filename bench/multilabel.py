"""Sets of classes from few labels, beside one-against-rest TF-IDF and logistic regression.

The items are composed of real requests (`multilabel_sets.py` says how): nobody wrote them as they stand. Each set is
composed and embedded once; a draw labels some of its training items, and the head that `muster train` would fit to them
(calibrated, penalty by cross-validation, each class said from `train.decide_at` on) answers for the held-out items. The
peer learns from the same labels, once as it comes (C = 1, said from 0.5 on), and once with C and one threshold for all
classes chosen by cross-validation. scikit-learn counts for all of them.

    python bench/multilabel.py            # both sets, five draws
    python bench/multilabel.py --quick    # one small draw
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from choose_sets import embed_by
from harness import Report, bench_data, parser
from multilabel_sets import SETS, Composed, compose

N_TRAIN, N_TEST = 1_000, 1_000
LABELS = {"clinc150": 150, "banking77": 616}  # 15 for each domain, 8 for each intent, if items had one class
RUNGS = {"encoder": "stacked.v1", "nothing_pretrained": "static.v1"}
FIT_S = 600.0  # more than either needs
FIGURES = ("micro_f1", "macro_f1", "all_right", "hamming_loss", "ranking_precision")
PENALTIES = (1.0, 10.0, 100.0)
THRESHOLDS = np.linspace(0.1, 0.6, 51)
N_FOLDS = 4


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--draws", type=int, default=5)
    arguments = made.parse_args()
    report = Report("multilabel", arguments)
    data = bench_data()
    names = SETS[:1] if arguments.quick else SETS
    n_train, n_test = (400, 200) if arguments.quick else (N_TRAIN, N_TEST)
    for name in names:
        composed = compose(data, name, n_train=n_train, n_test=n_test, seed=arguments.seed)
        learnt = [text for text, is_test in zip(composed.texts, composed.test, strict=True) if not is_test]
        matrices = {way: embed_by("text", rung, learnt, composed.texts, FIT_S) for way, rung in RUNGS.items()}
        for draw in range(1 if arguments.quick else arguments.draws):
            one_draw(report, composed, name, matrices, arguments.seed + draw)
        claim(report, name)
    report.write()


def one_draw(report: Report, composed: Composed, name: str, matrices: dict[str, np.ndarray], seed: int) -> None:
    """Every way on one draw of labels, and what each gets of the held-out items."""
    train, test = np.flatnonzero(~composed.test), np.flatnonzero(composed.test)
    n_labels = min(LABELS[name], len(train) // 2) if len(train) < N_TRAIN else LABELS[name]
    labelled = np.sort(np.random.default_rng([seed, 7]).choice(train, n_labels, replace=False))
    classes = sorted({c for i in labelled for c in composed.sets[i]})
    targets = np.array([[c in s for c in classes] for s in composed.sets], dtype=bool)
    ways = {way: muster(matrix, train, labelled, targets, test, seed) for way, matrix in matrices.items()}
    ways |= peers([composed.texts[i] for i in labelled], targets[labelled], [composed.texts[i] for i in test])
    n_strange = sum(not set(composed.sets[i]) <= set(classes) for i in test)
    for way, found in ways.items():
        figures = measured(targets[test], found.pop("said"), found.pop("scores"))
        report.run(set=name, seed=seed, way=way, n_labels=n_labels, n_classes=len(classes), n_test=len(test),
                   n_test_with_a_class_without_labels=n_strange, **figures, **found)  # fmt: skip
        print(f"{name} {seed} {way}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()), file=sys.stderr)


def muster(
    matrix: np.ndarray, pool: np.ndarray, labelled: np.ndarray, targets: np.ndarray, test: np.ndarray, seed: int
) -> dict[str, Any]:
    """As `stages/train` does: scaled by the pool, folds, cross-validated penalty and calibration, fit on all labels."""
    from passmuster.core.config import TrainConfig
    from passmuster.learn.folds import repeated_label_set_folds
    from passmuster.learn.heads import Scaling
    from passmuster.learn.label_set_heads import cross_validate_label_sets
    from passmuster.learn.one_vs_rest import fit_one_vs_rest
    from passmuster.runtime.answers import answers_of

    scaled = Scaling.of(matrix[pool]).apply(matrix)
    y = targets[labelled].astype(np.float32)
    decide_at = TrainConfig().decide_at
    folds = repeated_label_set_folds(y, np.random.default_rng([seed, 0]))
    best = cross_validate_label_sets(scaled[labelled], y, folds, decide_at)
    weight, bias = fit_one_vs_rest(scaled[labelled], y, c=best.c)
    logits = (scaled[test] @ weight + bias) / best.temperature + best.shift
    found = answers_of(logits, np.full(y.shape[1], decide_at))
    return {"said": found.said, "scores": found.probabilities, "c": best.c, "temperature": best.temperature,
            "cross_validated_all_right": best.accuracy,
            "mean_probability_of_all_right": float(found.sure.mean())}  # fmt: skip


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

    for way in RUNGS:
        for figure in FIGURES:
            mine = values(way, figure)
            beside = {peer: round(float(values(peer, figure).mean()), 4) for peer in ("tfidf_plain", "tfidf_tuned")}
            report.claim(f"{name}.{way}.{figure}", float(mine.mean()), "rate", low=float(mine.min()),
                         high=float(mine.max()), peer=beside)  # fmt: skip
        said = values(way, "mean_probability_of_all_right") - values(way, "all_right")
        report.claim(f"{name}.{way}.too_sure_of_all_right", float(said.mean()), "rate", low=float(said.min()),
                     high=float(said.max()))  # fmt: skip


if __name__ == "__main__":
    main()
