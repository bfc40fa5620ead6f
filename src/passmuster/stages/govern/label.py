"""Labels that come later: read from a table, and asked for by writing one.

A training label makes a new data-set version; a test label is evidence about the one that is there.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from passmuster.core.clock import now
from passmuster.core.errors import DataError, NotFoundError, ResourceError, UsageError
from passmuster.core.records import Finding, Item, Label, Role, Snapshot, Split
from passmuster.modality.find import modalities
from passmuster.stages.govern.label_table import LabelRow, match, read_label_table
from passmuster.stages.govern.snapshot import role_of, write_relabelled
from passmuster.store.items import read_items, read_labels
from passmuster.store.seal import open_test, training_view
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store


@dataclass(frozen=True)
class LabelResult:
    """The account of one table of labels: ``n_read == new + n_same + n_empty`` (`n_new` by role).

    `n_labels` counts the items that have a label now, by role.
    """

    n_read: int
    n_new: Mapping[str, int] = field(default_factory=dict)
    n_changed: int = 0  # of the new ones, how many say something else than before
    n_same: int = 0
    n_empty: int = 0
    n_labels: Mapping[str, int] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    is_new: bool = False
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def add_labels(
    store: Store, rows: Path | Sequence[LabelRow], *, role: Role | None = None, who: str = ""
) -> LabelResult:
    """Record labels of items that are in the project.

    Parameters
    ----------
    role : what the labels are for; None: what the table says, else the item's split
    who : who labelled, where the table does not say; the present user when empty

    Raises
    ------
    DataError
        ``label.unknown_item``; ``label.sealed`` for a training label on a test item; ``label.not_in_test`` for a test
        label on an item of the pool. Nothing was recorded.
    """
    table = read_label_table(rows, store.config.data) if isinstance(rows, Path) else list(rows)
    with store.lock("add"):
        with store.read() as db:
            snapshot = read_snapshot(db)
            placement = read_placement(db, snapshot)
            keys = {item.id: item.key for item in read_items(db, keys=list(placement))}
            known = read_labels(db)
        found = match(table, keys)
        facts: list[Label] = []
        seen: dict[str, tuple[str, Role]] = {key: (label.label, label.role) for key, label in known.items()}
        n_empty = n_same = n_changed = 0
        problems: dict[str, list[LabelRow]] = {"label.sealed": [], "label.not_in_test": []}
        for number, row in enumerate(table):
            key = keys[found[number]]
            split = placement[key][0]
            wanted: Role = role or row.role or role_of(split)
            if row.label is None:
                n_empty += 1
            elif wanted == "train" and split == "test":
                problems["label.sealed"].append(row)
            elif wanted == "test" and split != "test":
                problems["label.not_in_test"].append(row)
            elif seen.get(key) == (row.label, wanted):
                n_same += 1
            else:
                n_changed += key in seen
                seen[key] = (row.label, wanted)
                facts.append(Label(key, row.label, row.who or who or store.actor, now(), wanted, row.weight))
        _refuse(problems)
        n_new: dict[str, int] = dict(sorted(Counter(fact.role for fact in facts).items()))
        n_labels: dict[str, int] = dict(sorted(Counter(role for _, role in seen.values()).items()))
        result = LabelResult(len(table), n_new, n_changed, n_same, n_empty, n_labels, snapshot)
        return _commit(store, result, facts, placement) if facts else result


def _refuse(problems: Mapping[str, Sequence[LabelRow]]) -> None:
    words = {
        "label.sealed": ("lie in the sealed test and cannot be learnt from", "record them with --role test"),
        "label.not_in_test": ("are not in the test", "muster label --export todo.csv --for test gives items that are"),
    }
    for code, rows in problems.items():
        if rows:
            what, remedy = words[code]
            shown = ", ".join(repr(row.id) for row in rows[:5]) + (f" and {len(rows) - 5:,} more" if rows[5:] else "")
            raise DataError(
                code, f"{len(rows):,} items {what}: {shown}; nothing was recorded", where=rows[0].source, next=remedy
            )


def _commit(
    store: Store, result: LabelResult, facts: Sequence[Label], placement: Mapping[str, tuple[Split, str]]
) -> LabelResult:
    assert result.snapshot is not None
    with store.act("label.add") as act:
        act.payload.update(n_labels=dict(result.n_new), n_changed=result.n_changed)
        snapshot, findings = write_relabelled(act, store, result.snapshot, facts)
    unlearnt = sum(placement[fact.key][0] == "reference" for fact in facts)
    notes = (f"{unlearnt:,} of them are of items held out for the guard, and are not learnt from",) if unlearnt else ()
    is_new = snapshot.digest != result.snapshot.digest
    return replace(result, snapshot=snapshot, is_new=is_new, findings=tuple(findings), notes=notes)


def export_labels(store: Store, path: Path, *, n: int = 40, role: Role = "train") -> int:
    """Write up to `n` items without a label to `path`, to be labelled; returns how many there were.

    They are drawn at random, all equally likely (weight 1). For the test they come from the sealed split; the opening
    is recorded and does not count as reuse.

    Raises
    ------
    UsageError
        ``label.exists`` when the file is there.
    DataError
        ``label.none_left`` when every item of that part has its label.
    """
    if path.exists():
        raise UsageError("label.exists", "this file exists, and may hold labels", where=path, next="name another one")
    if n < 1:
        raise UsageError("label.n", "not a number of items", value=n, limit="1 or more")
    with store.read() as db:
        snapshot = read_snapshot(db)
    if role == "test":
        if not snapshot.n_items.get("test"):
            raise NotFoundError("label.no_test", "no items are sealed for the test", next="muster add PATH")
        test = open_test(store, snapshot, "choose-test-labels")
        items, labels = test.items, test.labels
    else:
        view = training_view(store, snapshot)
        items, labels = view.pool, view.labels
    unlabelled = [item for item in items if item.key not in labels]
    if not unlabelled:
        raise DataError("label.none_left", f"every {role} item has a label", next="muster train")
    rng = np.random.default_rng([store.config.train.seed, len(labels)])
    chosen = rng.choice(len(unlabelled), size=min(n, len(unlabelled)), replace=False)
    _write(store, path, [unlabelled[int(i)] for i in chosen], role)
    return len(chosen)


def _write(store: Store, path: Path, items: Sequence[Item], role: Role) -> None:
    modality = modalities[store.config.project.modality]
    blobs = store.blobs.get_many([item.blob for item in items])
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if modality.name == "text":
                writer.writerow(["id", "text", "label", "role", "weight"])
                decoded = (modality.decode(data, store.config.data) for data in blobs)
                writer.writerows([i.id, text, "", role, 1] for i, text in zip(items, decoded, strict=True))
            else:
                writer.writerow(["id", "label", "role", "weight"])
                writer.writerows([i.id, "", role, 1] for i in items)
    except OSError as error:
        raise ResourceError("label.write", f"the file cannot be written: {error.strerror}", where=path) from error
