"""Make a snapshot: commit to items, splits and labels, and write it with its findings in the caller's act."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, select

from passmuster.core.clock import now
from passmuster.core.digests import canonical_json, merkle_root, sha256_hex
from passmuster.core.errors import NotFoundError, UsageError
from passmuster.core.label_sets import MULTI, SINGLE, Task, classes_in, split_label
from passmuster.core.records import Finding, Item, Label, Role, Snapshot, Split
from passmuster.stages.govern.inspect import LABEL_KINDS, disagreements, inspect_labels
from passmuster.store.items import add_labels, n_label_facts, read_items, read_labels
from passmuster.store.schema import snapshots
from passmuster.store.seal import keys_of
from passmuster.store.snapshots import (
    add_findings,
    add_snapshot,
    commit_items,
    read_findings,
    read_placement,
    read_snapshot,
)
from passmuster.store.store import Act, Store


def write_snapshot(
    act: Act, store: Store, placed: Sequence[tuple[Item, Split, str]], findings: Sequence[Finding], parent: str
) -> Snapshot:
    """Write the snapshot of `placed` items (with split and twin group) and of the labels known in this transaction."""
    labels = read_labels(act.db)
    root, rows = commit_items(placed)
    kept = {item.key for item, _, _ in placed}
    known = {key: label for key, label in labels.items() if key in kept}
    leaves = [sha256_hex(canonical_json([label.key, label.label, label.role])) for _, label in sorted(known.items())]
    labels_root = merkle_root(leaves)
    task = checked_task(act, store, known.values())
    facts = {"items": root, "labels": labels_root, "parent": parent, "modality": store.config.project.modality}
    if task != SINGLE:  # as they always were where the task is the one there used to be
        facts["task"] = task
    snapshot = Snapshot(
        digest=sha256_hex(canonical_json(facts)),
        parent=parent,
        created=now(),
        modality=store.config.project.modality,
        classes=tuple(sorted({name for label in known.values() for name in classes_in(label.label, task)})),
        n_items=dict(sorted(Counter(split for _, split, _ in placed).items())),
        n_labels=dict(sorted(Counter(label.role for label in known.values()).items())),
        labels_read=n_label_facts(act.db),
        terms=store.config.data.terms,
        task=task,
    )
    add_snapshot(act.db, snapshot, rows)
    add_findings(act.db, snapshot.digest, findings)
    act.payload.update(
        snapshot=snapshot.digest,
        root=root,
        labels_root=labels_root,
        n_items=dict(snapshot.n_items),
        n_findings=dict(sorted(Counter(f.kind for f in findings).items())),
    )
    return snapshot


def checked_task(act: Act, store: Store, labels: Iterable[Label]) -> Task:
    """The project's task; labels that were given as sets cannot be read as one class each.

    Raises
    ------
    UsageError
        ``task.changed`` when a multi-label project was made a single-label one.
    """
    task = store.config.project.task
    if task == MULTI:
        return task
    before = act.db.execute(select(snapshots.c.record).order_by(snapshots.c.n.desc()).limit(1)).scalar()
    if before is not None and json.loads(before).get("task", SINGLE) == MULTI:
        sets = [label for label in labels if len(split_label(label.label)) != 1]
        if sets:
            raise UsageError(
                "task.changed", "items of this project carry sets of classes, which a single-label task cannot read",
                value=f"{len(sets):,} items", where="project.task in muster.toml",
                next='set project.task = "multi-label" again, or begin anew: muster init OTHER-FOLDER',
            )  # fmt: skip
    return task


def write_relabelled(
    act: Act, store: Store, parent: Snapshot, facts: Sequence[Label]
) -> tuple[Snapshot, list[Finding]]:
    """Write label facts about items of `parent`; a training label makes a child with the same items and splits.

    Returns the snapshot that holds now and its findings, those about labels computed anew.
    """
    add_labels(act.db, facts)
    if any(fact.role == "train" for fact in facts):
        return write_child(act, store, parent)
    act.payload["snapshot"] = parent.digest
    return parent, _place_anew(act, store, parent)[1]


def write_child(act: Act, store: Store, parent: Snapshot) -> tuple[Snapshot, list[Finding]]:
    """Write the snapshot with the items and splits of `parent` and every label that stands now."""
    placed, findings = _place_anew(act, store, parent)
    return write_snapshot(act, store, placed, findings, parent.digest), findings


def _place_anew(act: Act, store: Store, parent: Snapshot) -> tuple[list[tuple[Item, Split, str]], list[Finding]]:
    """The items of `parent` as they are placed, and its findings, those about labels computed anew."""
    placement = read_placement(act.db, parent)
    items = read_items(act.db, keys=list(placement))
    splits = [placement[item.key][0] for item in items]
    standing = read_labels(act.db)
    checked_task(act, store, standing.values())
    latest = {key: label.label for key, label in standing.items()}
    findings = [f for f in read_findings(act.db, parent.digest) if f.kind not in LABEL_KINDS]
    findings += inspect_labels(items, splits, latest, store.config, findings) + disagreements(act.db)
    return [(item, split, placement[item.key][1]) for item, split in zip(items, splits, strict=True)], findings


def latest_snapshot(store: Store) -> Snapshot | None:
    """The latest snapshot, None before the first."""
    with store.read() as db:
        try:
            return read_snapshot(db)
        except NotFoundError:
            return None


def held_out(db: Connection, snapshot: Snapshot | None, keys: Collection[str]) -> set[str]:
    """Those of `keys` that are held out for the guard: what is said of them is not learnt from."""
    return {*keys_of(db, snapshot.digest, "reference")} & {*keys} if snapshot else set()


def role_of(split: str) -> Role:
    """The role of a label on an item of this split.

    >>> role_of("reference")
    'train'
    """
    return "test" if split == "test" else "train"


def new_facts(given: Mapping[str, str], splits: Mapping[str, str], known: Mapping[str, Label], who: str) -> list[Label]:
    """Label facts for `given` labels (by item key) that say something new."""
    at = now()
    facts = []
    for key, label in given.items():
        role = role_of(splits[key])
        latest = known.get(key)
        if latest is None or latest.label != label or latest.role != role:
            facts.append(Label(key, label, who, at, role))
    return facts
