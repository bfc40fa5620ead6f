"""Whether the labels of the test can be what they seem: no answers of the model's own, no choice of what is easy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from passmuster.core.label_sets import classes_in
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle
from passmuster.metrics.nonresponse import Nonresponse, nonresponse
from passmuster.metrics.regressions import log_chance_all_right
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence
from passmuster.stages.evaluate.gather import ask, learned_from
from passmuster.store.draws import TestDraw, read_draws
from passmuster.store.seal import open_test
from passmuster.store.store import Store

MAX_REST = 1_000  # unlabelled test items whose certainty is compared with that of the labelled ones
FEWEST_REST = 30
SHOWN_AGAIN = 0.1  # of a draw: where more was drawn anew, what is left of it is no part by lot


def measure_test_labels(
    store: Store,
    draft: Draft,
    bundle: Bundle,
    predictor: Predictor,
    evidence: Evidence,
    answers: Answers,
    rng: np.random.Generator,
    *,
    progress: Progress,
) -> None:
    """Whether test labels can be what they seem: wrong where the model doubts, no easier than the rest, complete."""
    right = answers.predicted == evidence.y
    rest = confidence_of_rest(store, bundle, predictor, evidence, rng, progress=progress)
    sure = answers.confidence
    comparable = len(rest) >= FEWEST_REST and len(sure) >= FEWEST_REST
    p_easier = 1.0
    if comparable:
        from scipy.stats import mannwhitneyu  # slow to import

        p_easier = float(mannwhitneyu(sure, rest, alternative="greater").pvalue)
    passed_over = what_was_left_out(store, bundle, predictor, evidence, answers, progress=progress)
    draft.sections["test_labels"] = {
        "n": len(evidence.items),
        "n_wrong": int((~right).sum()),
        "log_chance": log_chance_all_right(sure),
        "confidence": float(np.average(sure, weights=evidence.weights)),
        "confidence_rest": float(rest.mean() if comparable else np.average(sure, weights=evidence.weights)),
        "n_rest": len(rest),
        "p_easier": p_easier,
        "absent": absent_classes(predictor, evidence),
        "left_out": asdict(passed_over) if passed_over is not None else None,
    }


def confidence_of_rest(
    store: Store,
    bundle: Bundle,
    predictor: Predictor,
    evidence: Evidence,
    rng: np.random.Generator,
    *,
    progress: Progress,
) -> np.ndarray:
    """How sure the bundle is of unlabelled test items; none where labels were drawn: their chances are known."""
    with store.read() as db:
        drawn = bool(read_draws(db))
    if drawn or evidence.n_unlabelled < FEWEST_REST or len(evidence.items) < FEWEST_REST:
        return np.zeros(0)
    view = open_test(store, evidence.snapshot, "prediction-powered")
    seen = learned_from(store, bundle)
    items = [item for item in view.items if item.key not in view.labels and item.key not in seen]
    chosen = [items[int(i)] for i in np.sort(rng.permutation(len(items))[:MAX_REST])]
    said = ask(store, predictor, chosen, predictor.classes, progress=progress, what="asking about the rest of the test")
    return said.confidence


def absent_classes(predictor: Predictor, evidence: Evidence) -> list[dict[str, Any]]:
    """Classes without a test label that the model answers in its pool: how many were due, the chance of none."""
    shares = predictor.bundle.reference.get("answers_per_class")
    if not isinstance(shares, dict) or not sum(shares.values()) or evidence.targets is not None:
        return []
    n, total = len(evidence.items), sum(shares.values())
    there = set(evidence.labels)
    found = []
    for name, count in shares.items():
        if name not in there and count:
            share = count / total
            p = min(1.0, float(np.exp(n * np.log1p(-share))) * len(shares)) if share < 1 else 0.0
            found.append({"class": name, "expected": n * share, "p": p})
    return sorted(found, key=lambda row: row["p"])


def what_was_left_out(
    store: Store, bundle: Bundle, predictor: Predictor, evidence: Evidence, answers: Answers, *, progress: Progress
) -> Nonresponse | None:
    """What of the draws of test items has no label; None where no draw can tell.

    Opens the seal for "prediction-powered", which is recorded and does not count, when something was left out.
    """
    with store.read() as db:
        draws = read_draws(db)
    if not draws:
        return None
    seen, place = learned_from(store, bundle), {key: i for i, key in enumerate(evidence.keys)}
    view = open_test(store, evidence.snapshot, "prediction-powered")
    items = {item.key: item for item in view.items if item.key in place or item.key not in seen}
    asked = drawn_once(draws, place, items)
    open_items = [items[key] for key, _, _ in asked if key not in place]
    if not open_items:
        return None
    words = "asking about what was drawn and left out"
    said = ask(store, predictor, open_items, evidence.classes, progress=progress, what=words)
    names = {key: p.label for key, p in zip(evidence.keys, answers.predictions, strict=True)}
    names |= {item.key: p.label for item, p in zip(open_items, said.predictions, strict=True)}
    sure = dict(zip(evidence.keys, answers.confidence, strict=True))
    sure |= dict(zip((item.key for item in open_items), said.confidence, strict=True))
    keys = [key for key, _, _ in asked]
    return nonresponse(
        [classes_in(names[key], predictor.task) for key in keys],
        np.array([sure[key] for key in keys], dtype=float),
        np.array([key not in place for key in keys], dtype=bool),
        np.array([number for _, number, _ in asked], dtype=np.int64),
        np.array([weight for _, _, weight in asked], dtype=float),
    )


def drawn_once(
    draws: Sequence[TestDraw], told: Collection[str], known: Collection[str]
) -> list[tuple[str, int, float]]:  # fmt: skip
    """Items that draws showed: key, number of the draw, inverse of the chance.

    An item that was drawn again counts with its last draw alone. Nothing is said of a draw without any label (a table
    that never came back), nor of one of which more than `SHOWN_AGAIN` was drawn again: doubt decides what is drawn, so
    that what is left of it is no part by lot any more.
    """
    found: list[tuple[str, int, float]] = []
    later: set[str] = set()
    for one in reversed(draws):
        keys = [key for key in one.chances if key in known]
        again = [key for key in keys if key in later]
        later.update(keys)
        last = [key for key in keys if key not in again]
        if any(key in told for key in last) and len(again) <= SHOWN_AGAIN * len(keys):
            found += [(key, one.number, 1.0 / one.chances[key]) for key in last]
    return found
