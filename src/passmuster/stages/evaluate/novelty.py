"""Whether strange items can be told from ordinary ones: sets of items that the user names, and classes left out.

Near and far kinds of strangeness are told by different detectors, so each set is measured by itself. What the section
says first, and its figures without the name of a set, are of the set that the guard tells worst.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.distributions import student_isf
from passmuster.core.label_sets import MULTI, label_in_words
from passmuster.core.progress import Progress
from passmuster.core.records import Metric, Payload
from passmuster.core.statistics import Interval, proportion, wilson
from passmuster.metrics.novelty import JOINED, detectors, find_detector, scores_left_out, scores_of_two
from passmuster.metrics.ranking import auroc, fpr95
from passmuster.runtime.guard import DETECTOR_PREFIX
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record, pick
from passmuster.stages.evaluate.gather import ask
from passmuster.stages.evaluate.novel_items import UNNAMED, Novel
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

LEFT_OUT = "classes left out"
OTHER_CONVENTION = "novelty_fpr95_ordinary_positive"


Separation = tuple[Interval, Interval, Interval]  # AUROC, and the two false-positive rates at 95 % true positives


@dataclass
class Part:
    """One set of strange items: its section, and what each detector made of it."""

    section: dict[str, Any]
    found: Mapping[str, Separation]
    items: str

    def __post_init__(self) -> None:
        self.section["rows"] = [row_of(name, found, self.items) for name, found in self.found.items()]

    def area(self, detector: str) -> float:
        """AUROC of a detector; 2 where it was not measured."""
        return self.found[detector][0].value if detector in self.found else 2.0

    def note(self, draft: Draft, where: str = "") -> None:
        """Three metrics of each detector."""
        for name, (area, of_ordinary, of_strange) in self.found.items():
            slice = f"detector={name}{where}"
            draft.add("novelty_auroc", area, slice=slice, items=self.items)
            draft.add("novelty_fpr95", of_ordinary, slice=slice, items=self.items)
            draft.add(OTHER_CONVENTION, of_strange, slice=slice, items=self.items)


@dataclass(frozen=True)
class Strange:
    """An item that the user named, for the page."""

    key: str
    preview: str
    predicted: str
    confidence: float
    novel: bool


def measure_novelty(
    store: Store,
    draft: Draft,
    predictor: Predictor,
    evidence: Evidence,
    answers: Answers,
    named: Sequence[Novel],
    scope: Scope,
    rng: np.random.Generator,
    *,
    progress: Progress,
) -> list[Strange]:
    """AUROC and FPR95 of every detector, strange being positive, of each of the `named` sets and of classes left out.

    The guard's own detector is used as the bundle keeps it when the user names items; the others, and all of them when
    a class is left out, are fitted on a draw of the items that training saw. Returns the items that the user named.
    """
    fit = fit_answers(store, predictor, scope, rng, progress=progress)
    strange: list[Strange] = []
    parts: list[Part] = []
    for novel in named:
        part, shown = against_named(store, draft, predictor, evidence, answers, fit, novel)
        parts.append(part)
        strange += shown
    without = leave_classes_out(draft, predictor, evidence, answers, fit, scope, rng)
    guard = predictor_detector(predictor)
    first = min(parts, key=lambda part: part.area(guard), default=without)
    several = [part for part in (*parts, without) if part.found]
    for part in several if len(several) > 1 else []:
        part.note(draft, where=f" set={part.section['set']}")
    first.note(draft)
    head = predictor.bundle.head
    draft.sections["novelty"] = first.section | {
        "sets": [part.section for part in (*parts, without)],
        "guard": guard,
        "chosen": head.get("guard"),
        "lacks_embedding": "embedding" in (head.get("lacks") or ()),
    }
    return strange


def fit_answers(
    store: Store,
    predictor: Predictor,
    scope: Scope,
    rng: np.random.Generator,
    *,
    progress: Progress,
) -> Answers | None:
    """The bundle's answers to a draw of what training saw; None for a bundle without such items."""
    snapshot = predictor.bundle.manifest.snapshot
    if not snapshot:
        return None
    with store.read() as db:
        view = training_view(store, read_snapshot(db, snapshot))
    if not view.pool:
        return None
    chosen = np.sort(rng.permutation(len(view.pool))[: scope.n_fit])
    items = [view.pool[int(i)] for i in chosen]
    return ask(store, predictor, items, predictor.classes, progress=progress, what="reading ordinary items")


def against_named(
    store: Store,
    draft: Draft,
    predictor: Predictor,
    evidence: Evidence,
    answers: Answers,
    fit: Answers | None,
    novel: Novel,
) -> tuple[Part, list[Strange]]:
    """Strange: the items that the user named. Ordinary: the test items."""
    payloads, problems = list(novel.payloads), list(novel.problems)
    embeddings, logits = predictor.embed(payloads)
    predictions = predictor.decide(embeddings, logits)
    keys = name_payloads(store, predictor, payloads)
    strange_set = draft.add_set(UNNAMED if novel.title == UNNAMED else f"{UNNAMED}={novel.title}", keys)
    flagged = np.array(["novel" in p.reasons for p in predictions], dtype=bool)
    ordinary = np.array(["novel" in p.reasons for p in answers.predictions], dtype=bool)
    draft.add("novelty_flagged", proportion(flagged), slice=f"set={novel.title}", items=strange_set)
    if "flagged as novel" not in draft.item_sets and not any(m.slice == "set=test" for m in draft.metrics):
        raised = draft.add_set("flagged as novel", pick(evidence.keys, ordinary))
        draft.add("novelty_flagged", proportion(ordinary), slice="set=test", items=raised or "test")
    found: dict[str, Separation] = {}
    own = predictor_detector(predictor)
    every = [own, *(name for name in detectors if name != own)]
    able = [n for n in every if predictor.task != MULTI or not find_detector(n).needs_exclusive_classes]
    for name in able:
        arrays = detector_arrays(predictor, name, fit)
        if arrays is None:
            continue
        high = find_detector(name).score(arrays, embeddings, logits)
        low = find_detector(name).score(arrays, answers.embeddings, answers.logits)
        found[name] = separation(high, low)
    section = {
        "setting": "named",
        "set": novel.title,
        "said": f"Strange: {len(payloads):,} items from {novel.name}. Ordinary: {len(evidence.items):,} test items.",
        "n_strange": len(payloads),
        "n_unreadable": len(problems),
        "problems": problems[:20],
        "flagged": interval_record(proportion(flagged)),
        "items": strange_set,
    }
    return Part(section, found, strange_set), [
        Strange(key, predictor.modality.preview(payload), label_in_words(p.label), p.probability, "novel" in p.reasons)
        for key, payload, p in zip(keys, payloads, predictions)
    ]


def leave_classes_out(
    draft: Draft, predictor: Predictor, evidence: Evidence, answers: Answers, fit: Answers | None, scope: Scope,
    rng: np.random.Generator,
) -> Part:  # fmt: skip
    """Each class in turn plays the unknown: the detector forgets it, and the test items of that class are strange.

    For detectors that look at embeddings, the training items that the bundle takes for the class are left out of the
    fit; for all of them the class's logit is left out. What is printed is the mean over classes.
    """
    if evidence.targets is not None:
        return not_left_out("an item that carries a class left out carries others too; name strange items with --novel")
    y = evidence.y
    counts = np.bincount(y, minlength=len(evidence.classes))[: evidence.n_known]
    able = np.flatnonzero((counts >= scope.n_smallest_left_out) & (counts < len(y)))
    classes = np.sort(rng.permutation(able)[: scope.n_classes_left_out])
    if evidence.n_known < 3 or not len(classes) or fit is None:
        why = (
            "no training items are known to compare with"
            if fit is None
            else "leaving a class out needs three classes, one with "
            f"{scope.n_smallest_left_out} labelled test items and others beside it"
        )
        return not_left_out(why)
    strange_set = draft.add_set(LEFT_OUT, pick(evidence.keys, np.isin(y, classes)))
    found: dict[str, Separation] = {}
    scores = scores_left_out(
        detectors.names(), (fit.embeddings, fit.logits), (answers.embeddings, answers.logits), [int(c) for c in classes]
    )
    near, joined, far = (own := predictor_detector(predictor)).partition(JOINED)
    if joined:  # the scores of the two are there: no need to fit it for each class again
        both = zip(scores[near], scores[far], classes, strict=True)
        scores = {own: np.stack([scores_of_two(a, b, y != c) for a, b, c in both])} | scores
    for name, rows_of in scores.items():
        trials = [(row, y == c) for row, c in zip(rows_of, classes, strict=True) if not np.isnan(row).all()]
        if trials:
            found[name] = mean_over_classes(trials)
    section = {
        "setting": LEFT_OUT,
        "set": LEFT_OUT,
        "said": (
            f"Each of {len(classes)} classes played the unknown in turn: the detector was fitted on "
            f"{len(fit.predictions):,} training items without those that the model takes for that class, and had to "
            "tell the test items of that class from the others. The model itself has learned the class, so a kind of "
            "item that it never met may be easier or harder to notice. Name such items with --novel to know."
        ),
        "classes": [evidence.classes[int(c)] for c in classes],
        "n_strange": int(np.isin(y, classes).sum()),
        "items": strange_set,
    }
    return Part(section, found, strange_set)


def not_left_out(why: str) -> Part:
    """That no class could play the unknown, and why."""
    return Part({"setting": "none", "set": LEFT_OUT, "said": f"Not measured: {why}.", "rows": []}, {}, "")


def mean_over_classes(trials: list[tuple[np.ndarray, np.ndarray]]) -> Separation:
    """Means over trials (scores (n,), which are strange) of what `separation` finds.

    What is sampled are kinds of strangeness, so that the interval is Student's over classes. A single class has the
    interval of its own items.
    """
    each = [separation(scores[strange], scores[~strange]) for scores, strange in trials]
    if len(each) == 1:
        return each[0]
    n = len(trials[0][0])
    of_area, of_ordinary, of_strange = (np.array([found[i].value for found in each]) for i in range(3))
    return student(of_area, n), student(of_ordinary, n), student(of_strange, n)


def student(values: np.ndarray, n: int) -> Interval:
    """The mean of a rate over classes, and Student's interval, within 0 and 1."""
    mean = float(values.mean())
    half = float(student_isf(0.025, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half), n, f"student, {len(values)} classes")


def separation(high: np.ndarray, low: np.ndarray) -> Separation:
    """AUROC, and the two false-positive rates at 95 % true positives, of strange and ordinary scores."""
    of_ordinary, of_strange = fpr95(high, low)
    return auroc(high, low), wilson(of_ordinary * len(low), len(low)), wilson(of_strange * len(high), len(high))


def row_of(name: str, found: Separation, items: str) -> dict[str, Any]:
    """One detector's row in a section."""
    area, of_ordinary, of_strange = found
    return {
        "detector": name,
        "summary": find_detector(name).summary,
        "auroc": interval_record(area),
        "fpr95": interval_record(of_ordinary),
        "fpr95_ordinary_positive": interval_record(of_strange),
        "items": items,
    }


def worst_flagged(metrics: Mapping[tuple[str, str], Metric]) -> Metric | None:
    """Of the sets that were named, the one of which the guard as shipped calls least novel; None where none was."""
    flagged = [m for (name, where), m in metrics.items() if name == "novelty_flagged" and where != "set=test"]
    return min(flagged, key=lambda m: m.value, default=None)


def detector_arrays(predictor: Predictor, name: str, fit: Answers | None) -> Mapping[str, np.ndarray] | None:
    """What a detector needs: from the bundle where it is the guard's own, else fitted on ordinary items."""
    guard = predictor.bundle.guard
    if name == predictor_detector(predictor):
        return {k.removeprefix(DETECTOR_PREFIX): v for k, v in guard.items() if k.startswith(DETECTOR_PREFIX)}
    return None if fit is None else find_detector(name).fit(fit.embeddings, fit.logits)


def predictor_detector(predictor: Predictor) -> str:
    """The name of the detector in the bundle's guard."""
    return str(predictor.bundle.guard["detector_name"])


def name_payloads(store: Store, predictor: Predictor, payloads: list[Payload]) -> list[str]:
    """Keys for items that are in no snapshot: their keyed content, numbered where it repeats."""
    seen: dict[str, int] = {}
    keys = []
    for payload in payloads:
        key = store.keyed(predictor.modality.encode(payload))
        seen[key] = seen.get(key, 0) + 1
        keys.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return keys
