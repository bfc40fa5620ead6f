"""Run the checks over a set of items: what belongs together, and what the snapshot's findings are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from passmuster.checks.duplicates import Pair, exact_duplicates, exact_pairs, groups, near_duplicates
from passmuster.checks.labels import alike_classes, class_balance, label_conflicts, label_disagreements, near_conflicts
from passmuster.checks.leakage import leakage
from passmuster.checks.personal_data import personal_data
from passmuster.checks.quality import unusable
from passmuster.core.config import Config
from passmuster.core.label_sets import classes_in
from passmuster.core.progress import Progress
from passmuster.core.records import Finding, Item
from passmuster.modality.base import Modality
from passmuster.stages.govern.stored import StoredPayloads
from passmuster.store.items import standing_labels
from passmuster.store.store import Store

# findings whose items contradict each other
DISPUTES = ("label_conflict", "near_conflict", "label_disagreement", "class_names")
LABEL_KINDS = ("class_balance", *DISPUTES)  # findings that change when labels do


@dataclass(frozen=True)
class Copies:
    """What belongs together among items. `contents` (n,) numbers equal contents; `near` pairs one item of each."""

    exact: tuple[Pair, ...]
    near: tuple[Pair, ...]
    contents: np.ndarray
    group: np.ndarray  # (n,) equal for items that must stay on one side


def find_copies(store: Store, modality: Modality, items: Sequence[Item], progress: Progress) -> Copies:
    """Exact copies by digest, near-copies by the modality, and groups that join them and equal subjects."""
    n = len(items)
    exact = exact_pairs([item.digest for item in items])
    contents = groups(n, [pair[:2] for pair in exact])
    firsts = np.flatnonzero(contents == np.arange(n)).tolist()
    payloads = StoredPayloads(store, modality, [items[i] for i in firsts], "looking for copies", progress)
    twins = modality.find_twins(payloads, store.config.data.near_duplicate_similarity)
    near = [Pair(firsts[t.a], firsts[t.b], t.similarity, t.how) for t in twins]
    by_subject: dict[str, int] = {}
    same = [
        (first, i)
        for i, item in enumerate(items)
        if item.subject and (first := by_subject.setdefault(item.subject, i)) != i
    ]
    joined = [*(pair[:2] for pair in exact), *(pair[:2] for pair in near), *same]
    return Copies(tuple(exact), tuple(near), contents, groups(n, joined))


def inspect_items(
    store: Store,
    modality: Modality,
    items: Sequence[Item],
    splits: Sequence[str],
    copies: Copies,
    quarantined: Sequence[Item],
    progress: Progress,
) -> list[Finding]:
    """Findings that do not depend on labels."""
    keys = [item.key for item in items]
    found = leakage(keys, splits, copies.contents.tolist(), copies.near, [item.subject for item in items])
    found += exact_duplicates(keys, copies.exact)
    found += near_duplicates(keys, copies.near)
    if modality.finds_personal_data:
        payloads = StoredPayloads(store, modality, items, "looking for personal data", progress)
        spans = ([span.kind for span in modality.find_personal_data(payload)] for payload in payloads)
        found += personal_data(zip(keys, spans, strict=True))
    return found + unusable((item.key, item.reason) for item in quarantined)


def inspect_labels(
    items: Sequence[Item],
    splits: Sequence[str],
    labels: Mapping[str, str],
    config: Config,
    others: Sequence[Finding],
) -> list[Finding]:
    """Findings about labels, given as the latest by item key; those of reference items are not learnt from.

    `others` are the findings about the same items, whose near-copies should agree.
    """
    train = {i.key: labels[i.key] for i, s in zip(items, splits, strict=True) if s == "train" and i.key in labels}
    test = {i.key: labels[i.key] for i, s in zip(items, splits, strict=True) if s == "test" and i.key in labels}
    numbers: dict[str, int] = {}
    contents = [numbers.setdefault(item.digest, len(numbers)) for item in items]
    found = label_conflicts(contents, [labels.get(item.key) for item in items], [item.key for item in items])
    near = [f.items for f in others if f.kind == "near_duplicate"]
    found += near_conflicts([pair for keys in near for pair in zip(keys[::2], keys[1::2], strict=True)], labels)
    sets = [{key: classes_in(label, config.project.task) for key, label in side.items()} for side in (train, test)]
    found += alike_classes({**sets[0], **sets[1]})
    return found + class_balance(
        *sets, n_items=len(items), max_ratio=config.data.max_class_ratio, min_labels=config.data.min_class_labels
    )


def disagreements(db: Connection) -> list[Finding]:
    """A finding about items that people label differently, from every fact that stands."""
    said = {key: {fact.who: fact.label for fact in facts} for key, facts in standing_labels(db).items()}
    return label_disagreements(said)
