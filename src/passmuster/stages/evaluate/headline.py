"""The bundle's answers on the test: how often right, for which class, how sure, and what abstaining buys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from passmuster.core.bootstrap import seen_to_vary
from passmuster.core.label_sets import label_in_words
from passmuster.core.statistics import Interval, proportion
from passmuster.metrics.accuracy import accuracy, macro_accuracy, macro_f1, per_class
from passmuster.metrics.calibration import brier, classwise_error, ece, nll, reliability
from passmuster.metrics.confusion import confusion, confusion_cells, most_confused
from passmuster.metrics.selective import augrc, aurc, risk_coverage
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record, pick
from passmuster.stages.evaluate.label_sets import bins_of_sets, measure_classes_of_sets, measure_sets

CURVE_POINTS = 101
DENSE_CLASSES = 200  # with more, the confusion is written without its zeros
MISTAKES = 30


def measure_headline(
    draft: Draft,
    evidence: Evidence,
    answers: Answers,
    scope: Scope,
    rng: np.random.Generator,
    *,
    read: Mapping[str, Interval] | None = None,
) -> None:
    """Accuracy, macro-F1, calibration error, proper scores, abstention; and each answer, for whoever opens an item.

    `read` are the rates that were read with the unlabelled rest, by name; the others come from the labels alone.
    """
    y, predicted = evidence.y, answers.predicted
    how: dict[str, Any] = {"weights": evidence.weights, "clusters": evidence.clusters}
    resampled = {**how, "rng": rng, "n_resamples": scope.n_resamples}
    test = draft.add_set("test", evidence.keys)
    draft.add_set("wrong", keys_where(evidence, by_confidence(evidence, answers), predicted != y))
    if evidence.targets is not None:
        measure_sets(draft, evidence, answers, scope, rng, test, read or {})
    else:
        draft.add("accuracy", (read or {}).get("accuracy") or accuracy(y, predicted, **how), items=test)
        no_class = evidence.classes.index(NO_ANSWER) if NO_ANSWER in evidence.classes else None
        macro = macro_f1(y, predicted, len(evidence.classes), no_class=no_class, **resampled)
        balanced = macro_accuracy(y, predicted, len(evidence.classes), **resampled)
        worth = worth_by_class(y, evidence.clusters)
        draft.add("macro_f1", seen_to_vary(macro, worth), items=test)
        draft.add("macro_accuracy", seen_to_vary(balanced, worth), items=test)
        draft.add("ece", ece(answers.probabilities, y, **resampled), items=test)
        draft.add("ece_equal_mass", ece(answers.probabilities, y, equal_mass=True, **resampled), items=test)
        draft.add("nll", nll(answers.probabilities, y, **resampled), unit="nats", items=test)
        draft.add("brier", brier(answers.probabilities, y, **resampled), unit="squared distance", items=test)
    truth = np.eye(len(evidence.classes))[y] if evidence.targets is None else evidence.targets
    draft.add("ece_classwise", classwise_error(answers.probabilities, truth, **resampled), items=test)
    wrong = (predicted != y).astype(np.float64)
    n_apart = len(np.unique(evidence.clusters))
    draft.add("aurc", seen_to_vary(aurc(answers.confidence, wrong, **resampled), n_apart), items=test)
    draft.add("augrc", seen_to_vary(augrc(answers.confidence, wrong, **resampled), n_apart), items=test)
    abstained = np.array([p.abstained for p in answers.predictions], dtype=bool)
    withheld = draft.add_set("abstained", pick(evidence.keys, abstained))
    draft.add("abstention_rate", proportion(abstained, **how), items=withheld or test)
    answered = draft.add_set("answered", pick(evidence.keys, ~abstained))
    draft.add(
        "accuracy_answered",
        proportion(
            (predicted == y)[~abstained], weights=evidence.weights[~abstained], clusters=evidence.clusters[~abstained]
        ),
        items=answered,
    )
    names: dict[str, int] = {}  # of sets: each once, because they are not the classes
    if evidence.targets is not None:
        said = [names.setdefault(label_in_words(p.label), len(names)) for p in answers.predictions]
        told = [names.setdefault(label_in_words(label), len(names)) for label in evidence.labels]
    else:
        said, told = [int(i) for i in predicted], [int(i) for i in y]
    draft.sections["answers"] = {
        "keys": list(evidence.keys),
        **({"names": list(names)} if names else {}),
        "label": told,
        "predicted": said,
        "probability": [round(float(p), 4) for p in answers.confidence],
        "abstained": [int(a) for a in abstained],
        "weight": [float(w) for w in evidence.weights],
    }


def measure_classes(draft: Draft, evidence: Evidence, answers: Answers) -> None:
    """Recall, precision and F1 of every class, and which class is taken for which."""
    if evidence.targets is not None:
        measure_classes_of_sets(draft, evidence, answers, by_confidence(evidence, answers))
        return
    y, predicted = evidence.y, answers.predicted
    found = per_class(y, predicted, len(evidence.classes), weights=evidence.weights, clusters=evidence.clusters)
    order = by_confidence(evidence, answers)
    rows = []
    for c, (name, result) in enumerate(zip(evidence.classes, found)):
        labelled = draft.add_set(f"class={name}", keys_where(evidence, order, y == c))
        called = draft.add_set(f"predicted={name}", keys_where(evidence, order, predicted == c))
        draft.add("recall", result.recall, slice=f"class={name}", items=labelled)
        draft.add("precision", result.precision, slice=f"class={name}", items=called)
        rows.append(
            {
                "class": name,
                "known": c < evidence.n_known,
                "is_class": name != NO_ANSWER,
                "n": result.recall.n,
                "recall": interval_record(result.recall),
                "precision": interval_record(result.precision),
                "f1": None if np.isnan(result.f1) else float(result.f1),
                "items": labelled,
                "predicted_items": called,
            }
        )
    draft.sections["per_class"] = rows
    cells = confusion_cells(y, predicted)
    for i, j in cells[:, :2].tolist():
        name = f"label={evidence.classes[i]} predicted={evidence.classes[j]}"
        draft.add_set(name, keys_where(evidence, order, (y == i) & (predicted == j)))
    dense = len(evidence.classes) <= DENSE_CLASSES
    draft.sections["confusion"] = {
        **({"counts": confusion(y, predicted, len(evidence.classes)).tolist()} if dense else {}),
        "cells": cells.tolist(),
        "most_confused": [
            {
                "label": evidence.classes[m.label],
                "predicted": evidence.classes[m.predicted],
                "n": m.n,
                "share": m.share,
                "items": f"label={evidence.classes[m.label]} predicted={evidence.classes[m.predicted]}",
            }
            for m in most_confused(cells, MISTAKES)
        ],
    }


def measure_certainty(draft: Draft, evidence: Evidence, answers: Answers) -> None:
    """The reliability curve, and risk against coverage."""
    order = by_confidence(evidence, answers)
    rows = []
    how: dict[str, Any] = {"weights": evidence.weights, "clusters": evidence.clusters}
    sets = evidence.targets is not None
    for part in bins_of_sets(evidence, answers) if sets else reliability(answers.probabilities, evidence.y, **how):
        mask = np.zeros(len(evidence.y), dtype=bool)
        mask[list(part.members)] = True
        name = draft.add_set(f"confidence={part.low:.3f}-{part.high:.3f}", keys_where(evidence, order, mask))
        rows.append(
            {
                "low": part.low,
                "high": part.high,
                "confidence": part.confidence,
                "accuracy": interval_record(part.accuracy),
                "items": name,
            }
        )
    draft.sections["calibration"] = {"bins": rows, "n_bins": 15}
    wrong = (answers.predicted != evidence.y).astype(np.float64)
    curve = risk_coverage(answers.confidence, wrong, evidence.weights)
    chosen = np.unique(np.linspace(0, len(curve.risk) - 1, min(CURVE_POINTS, len(curve.risk))).astype(int))
    draft.sections["risk_coverage"] = {
        "coverage": [float(curve.coverage[i]) for i in chosen],
        "risk": [float(curve.risk[i]) for i in chosen],
        "threshold": [float(curve.thresholds[i]) for i in chosen],
    }


def worth_by_class(labels: np.ndarray, clusters: np.ndarray) -> float:
    """How many items of one class a mean over classes is worth: the variances of all classes, each of its own number.

    Items of one cluster count once in each class.

    >>> worth_by_class(np.array([0, 0, 0, 1]), np.arange(4))
    3.0
    """
    own = np.unique(np.stack([labels, np.unique(clusters, return_inverse=True)[1]]), axis=1)[0]
    n_of = np.unique(own, return_counts=True)[1]
    return float(len(n_of) ** 2 / (1.0 / n_of).sum()) if len(n_of) else 0.0


def by_confidence(evidence: Evidence, answers: Answers) -> np.ndarray:
    """Positions: wrong answers first, the surest on top, then right ones, the least sure on top."""
    right = answers.predicted == evidence.y
    return np.lexsort((np.where(right, answers.confidence, -answers.confidence), right))


def keys_where(evidence: Evidence, order: np.ndarray, mask: np.ndarray) -> list[str]:
    """Keys where `mask` (n,) holds, in that order."""
    return [evidence.items[int(i)].key for i in order[mask[order]]]
