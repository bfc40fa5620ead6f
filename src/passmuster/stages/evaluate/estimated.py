"""Accuracy where there are no labels: an estimator taught by the natural faults, and what it says of unlabelled items.

Every spoilt test item that is asked about anyway also teaches (`Bank`). What is learnt is kept in the report twice: as
the watch can use it, from how sure answers are and how novel their items, and with what neighbours are taken for, which
takes the items themselves and is used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Payload, Report
from passmuster.core.statistics import Interval
from passmuster.metrics.robustness import Fault
from passmuster.runtime.guard import Guarded
from passmuster.runtime.predictor import Predictor
from passmuster.signals.label_free import AccuracyEstimator
from passmuster.signals.label_free_seen import Reference, features_of
from passmuster.signals.label_free_taught import FEWEST_FAMILIES, Spoilt, teach
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, interval_record
from passmuster.stages.evaluate.endpoint import asking_of
from passmuster.stages.evaluate.foretell import answered
from passmuster.stages.evaluate.named_items import Named
from passmuster.stages.evaluate.words import between, percent
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

FEWEST_CHANGED = 20  # items that a fault must change at a severity, to teach
FEWEST_ITEMS = 50  # below this many unlabelled items, or labelled test items, nothing is estimated
MAX_UNLABELLED = 1_000  # unlabelled items of the snapshot that are asked about
WATCHED = ("confidence", "above", "familiarity")
RELEARNT = ("agreement", "votes")
LEVEL = 0.9


@dataclass
class Bank:
    """The test as the model answers it, and what can be seen of its items under faults, as they are asked about."""

    predictor: Predictor
    classes: tuple[str, ...]
    reference: Reference
    names: tuple[str, ...]
    seen: dict[Fault, list[Spoilt]] = field(default_factory=dict)

    def see(
        self, fault: Fault, places: np.ndarray, embeddings: np.ndarray, logits: np.ndarray, truth: Sequence[str]
    ) -> list[str]:
        """Answers (m,) to the test items at `places` under a fault; they join the bank."""
        found = self.predictor.judge(embeddings, logits)
        labels = self.predictor.names(found.said)
        features = self.features(found, embeddings, places)
        right = np.array([a == b for a, b in zip(labels, truth, strict=True)], dtype=bool)
        self.seen.setdefault(fault, []).append(Spoilt(fault[0], places, features, right))
        return labels

    def features(self, found: Guarded, embeddings: np.ndarray, copies: np.ndarray | None) -> np.ndarray:
        """What can be seen of each answer (m, f)."""
        return features_of(
            self.reference, self.names, found.sure, novelty=found.novelty, said=found.said.argmax(axis=1),
            embeddings=embeddings, copies_of=copies,
        )  # fmt: skip

    def batches(self) -> list[Spoilt]:
        """One for each fault and severity that changed enough items."""
        whole = [
            Spoilt(
                fault[0], *(np.concatenate([getattr(part, name) for part in parts]) for name in PARTS)
            )
            for fault, parts in self.seen.items()
        ]  # fmt: skip
        return [batch for batch in whole if len(batch.places) >= FEWEST_CHANGED]


PARTS = ("places", "features", "right")


def begin_bank(predictor: Predictor, evidence: Evidence, answers: Answers) -> Bank | None:
    """A bank without faults yet; None where the test has too few labels.

    A model without embeddings has neither novelty nor neighbours to look at.
    """
    if len(evidence.items) < FEWEST_ITEMS:
        return None
    lacks = predictor.bundle.head.get("lacks") or ()
    placed = "embedding" not in lacks
    single = evidence.targets is None
    names = (*WATCHED[:2], *(WATCHED[2:] if placed else ()), *(RELEARNT if placed and single else ()))
    reference = Reference(
        sure=answers.confidence, right=answers.predicted == evidence.y,
        novelty=np.array([p.novelty for p in answers.predictions]) if placed else None,
        weights=evidence.weights, probabilities=answers.probabilities if single else None,
        embeddings=answers.embeddings if placed else None, classes=evidence.y if single else None,
    )  # fmt: skip
    return Bank(predictor, evidence.classes, reference, names)


def measure_estimated(
    store: Store, draft: Draft, bundle: Bundle, predictor: Predictor, evidence: Evidence, answers: Answers,
    bank: Bank | None, named: Named | None, *, progress: Progress,
) -> None:  # fmt: skip
    """Teach the estimator, and estimate accuracy on unlabelled items: the snapshot's own, and those a user names."""
    section: dict[str, Any] = {"why_not": "", "estimator": None, "level": LEVEL, "rows": []}
    draft.sections["estimated"] = section
    batches, n = bank.batches() if bank is not None else [], len(evidence.items)
    families = {batch.family for batch in batches}
    if bank is None or len(families) < FEWEST_FAMILIES:
        too_few = f"{n:,} labelled test items are too few (at least {FEWEST_ITEMS})"
        faults = f"{len(families)} natural faults changed {FEWEST_CHANGED} items or more (at least {FEWEST_FAMILIES})"
        section["why_not"] = too_few if bank is None else faults
        progress.say(f"accuracy without labels is not estimated: {section['why_not']}")
        return
    home = bank.features(predictor.judge(answers.embeddings, answers.logits), answers.embeddings, np.arange(n))
    best = taught(bank, home, batches, bank.names)
    watched = tuple(name for name in bank.names if name in WATCHED)
    section["estimator"] = to_plain(taught(bank, home, batches, watched))
    section.update(n_families=best.n_families, mean_error=best.mean_error, seen=list(best.names))
    for name, payloads in unlabelled(store, bundle, predictor, named, progress=progress):
        if len(payloads[0]) < FEWEST_ITEMS:
            progress.say(f"{len(payloads[0]):,} items of {name} are too few to estimate accuracy on")
            continue
        found = estimate(bank, best, *payloads)
        section["rows"].append({"name": name, **interval_record(found)})
        draft.add("estimated_accuracy", found, slice=f"unlabelled={name}")


NAMES = {"named": "the items named", "snapshot": "the data's unlabelled items"}


def estimated_lines(report: Report) -> Iterator[str]:
    """What was estimated, a line each; nothing where nothing was."""
    section = report.sections.get("estimated") or {"rows": []}
    for row in section["rows"]:
        yield (
            f"without labels, estimated: {percent(row['value'])} ({between(row['low'], row['high'])}) right on "
            f"{row['n']:,} of {NAMES[row['name']]}; off by {100 * section['mean_error']:.1f} points in the mean on "
            "faults held out"
        )


def taught(bank: Bank, home: np.ndarray, batches: Sequence[Spoilt], names: tuple[str, ...]) -> AccuracyEstimator:
    """The estimator that looks at `names` alone."""
    columns = [bank.names.index(name) for name in names]
    some = [Spoilt(b.family, b.places, b.features[:, columns], b.right) for b in batches]
    return teach(bank.reference, names, home[:, columns], some, n_classes=len(bank.classes))


def estimate(bank: Bank, estimator: AccuracyEstimator, embeddings: np.ndarray, logits: np.ndarray) -> Interval:
    """Accuracy on items as they were answered: embeddings (m, d) and logits (m, c)."""
    features = bank.features(bank.predictor.judge(embeddings, logits), embeddings, None)
    return estimator.estimate(features.mean(axis=0).tolist(), len(features), level=LEVEL)


def unlabelled(
    store: Store, bundle: Bundle, predictor: Predictor, named: Named | None, *, progress: Progress
) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Name, embeddings and logits of the items a user names, and of the snapshot's items that have no label."""
    found = []
    if named is not None:
        progress.say(f"asking about {len(named.payloads):,} items without labels")
        found.append(("named", embedded(predictor, named.payloads)))
    if asking_of(predictor.bundle) is not None:  # answers are bought: only what was named
        return found
    with store.read() as db:
        snapshot = read_snapshot(db)
    view = training_view(store, snapshot)
    pool = [item for item in view.pool if item.key not in view.labels]
    drawn = np.random.default_rng([store.config.train.seed, 11]).permutation(len(pool))[:MAX_UNLABELLED]
    if len(pool) >= FEWEST_ITEMS:
        items = [pool[i] for i in np.sort(drawn)]
        found.append(("snapshot", answered(store, bundle, predictor, items, progress=progress)))
    return found


def embedded(predictor: Predictor, payloads: Sequence[Payload], block: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and logits, some at a time."""
    parts = [predictor.embed(payloads[i : i + block]) for i in range(0, len(payloads), block)]
    z, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return z, logits
