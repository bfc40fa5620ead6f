"""The numbers of a bundle whose answers are sets of classes: item by item, class by class, and how sure it was.

Where the page and the gates say that an answer is right, the whole set is meant; what half-right sets are worth is
said beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from passmuster.core.bootstrap import seen_to_vary
from passmuster.core.statistics import Interval, kish_size
from passmuster.metrics.accuracy import accuracy
from passmuster.metrics.calibration import Bin, calibration_error, reliability_of
from passmuster.metrics.label_sets import (
    f1,
    hamming_loss,
    item_f1,
    item_f1_scores,
    per_class_of_sets,
    ranking_precision,
    set_brier,
    set_log_loss,
)
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record

MOST_DECISIONS = 30  # of missed and added classes that are listed


def measure_sets(
    draft: Draft, evidence: Evidence, answers: Answers, scope: Scope, rng: np.random.Generator, test: str,
    read: Mapping[str, Interval],
) -> None:  # fmt: skip
    """Accuracy, the F1 scores, Hamming loss, ranking, calibration and proper scores; `test` names the set of items.

    `read` are the rates that were read with the unlabelled rest, by name; the others come from the labels alone.
    """
    targets, said = targets_of(evidence), said_in(answers)
    how: dict[str, Any] = {"weights": evidence.weights, "clusters": evidence.clusters}
    resampled = {**how, "rng": rng, "n_resamples": scope.n_resamples}
    right = (answers.predicted == evidence.y).astype(np.float64)
    partly = item_f1_scores(targets, said)
    half = draft.add_set("partly right", [k for k, f in zip(evidence.keys, partly, strict=True) if 0 < f < 1])
    draft.add("accuracy", read.get("accuracy") or accuracy(evidence.y, answers.predicted, **how), items=test)
    draft.add("item_f1", read.get("item_f1") or item_f1(targets, said, **how), items=half or test)
    n_apart = kish_size(evidence.weights, evidence.clusters)
    draft.add("micro_f1", seen_to_vary(f1(targets, said, "micro", **resampled), n_apart), items=test)
    draft.add("macro_f1", seen_to_vary(f1(targets, said, "macro", **resampled), n_apart), items=test)
    draft.add("hamming_loss", seen_to_vary(hamming_loss(targets, said, **resampled), n_apart), items=test)
    draft.add("ranking_precision", ranking_precision(targets, answers.probabilities, **resampled), items=test)
    draft.add("ece", calibration_error(answers.confidence, right, **resampled), items=test)
    by_mass = calibration_error(answers.confidence, right, equal_mass=True, **resampled)
    draft.add("ece_equal_mass", by_mass, items=test)
    draft.add("nll", set_log_loss(targets, answers.probabilities, **resampled), unit="nats", items=test)
    draft.add("brier", set_brier(targets, answers.probabilities, **resampled), unit="squared distance", items=test)


def measure_classes_of_sets(draft: Draft, evidence: Evidence, answers: Answers, order: np.ndarray) -> None:
    """Recall, precision and F1 of every class, and which are missed and added most; `order` is of the cards."""
    targets, said = targets_of(evidence), said_in(answers)
    found = per_class_of_sets(targets, said, weights=evidence.weights, clusters=evidence.clusters)
    keys = np.array(evidence.keys, dtype=object)

    def members(mask: np.ndarray) -> list[str]:
        return [str(key) for key in keys[order[mask[order]]]]

    rows: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    for c, (name, result) in enumerate(zip(evidence.classes, found, strict=True)):
        t, z = targets[:, c], said[:, c]
        labelled = draft.add_set(f"class={name}", members(t))
        called = draft.add_set(f"predicted={name}", members(z))
        draft.add("recall", result.recall, slice=f"class={name}", items=labelled)
        draft.add("precision", result.precision, slice=f"class={name}", items=called)
        for what, mask, among in (("missed", t & ~z, t), ("added", z & ~t, z)):
            if mask.any():
                items = draft.add_set(f"{what}={name}", members(mask))
                n, of = int(mask.sum()), int(among.sum())
                decisions.append({"class": name, "what": what, "n": n, "of": of, "items": items})
        rows.append(
            {
                "class": name,
                "known": c < evidence.n_known,
                "n": result.recall.n,
                "recall": interval_record(result.recall),
                "precision": interval_record(result.precision),
                "f1": None if np.isnan(result.f1) else float(result.f1),
                "items": labelled,
                "predicted_items": called,
            }
        )
    draft.sections["per_class"] = rows
    draft.sections["confusion"] = {"counts": [], "most_confused": []}  # classes that do not exclude each other
    decisions.sort(key=lambda d: (-d["n"], d["class"]))
    draft.sections["label_sets"] = {
        "mean_classes": float(np.average(targets.sum(axis=1), weights=evidence.weights)),
        "mean_said": float(np.average(said.sum(axis=1), weights=evidence.weights)),
        "n_none": int((targets.sum(axis=1) == 0).sum()),
        "wrong_decisions": decisions[:MOST_DECISIONS],
    }


def bins_of_sets(evidence: Evidence, answers: Answers) -> list[Bin]:
    """The reliability curve: how sure of the whole set, and how often all of it was right."""
    right = (answers.predicted == evidence.y).astype(np.float64)
    return reliability_of(answers.confidence, right, weights=evidence.weights, clusters=evidence.clusters)


def targets_of(evidence: Evidence) -> np.ndarray:
    """Which classes each item carries (n, classes); only of evidence about sets."""
    assert evidence.targets is not None
    return evidence.targets


def said_in(answers: Answers) -> np.ndarray:
    """Which classes each answer says (n, classes); only of a bundle that says sets."""
    assert answers.said is not None
    return answers.said
