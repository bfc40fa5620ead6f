"""Labels that come later, read from a table.

A training label makes a new data-set version; a test label is evidence about the one that is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from passmuster.core.clock import now
from passmuster.core.errors import DataError, NotFoundError
from passmuster.core.records import Finding, Item, Label, Role, Snapshot, Split
from passmuster.modality.find import modalities
from passmuster.stages.govern.label_cells import LabelCells
from passmuster.stages.govern.label_studio import read_label_studio
from passmuster.stages.govern.label_table import LabelRow, check_role, match, read_label_table, refuse_contradictions
from passmuster.stages.govern.snapshot import role_of, write_relabelled
from passmuster.store.draws import TestDraw, read_draws
from passmuster.store.items import read_items, standing_labels
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store

ROUNDING = 1e-3  # relative, of weights in a table that a spreadsheet wrote


@dataclass(frozen=True)
class LabelResult:
    """The account of one table of labels: ``n_read == new + n_same + n_empty`` (`n_new` by role).

    `n_labels` counts the items that have a label now, by role, `n_unlearnt` those that are held out for the guard.
    """

    n_read: int
    n_new: Mapping[str, int] = field(default_factory=dict)
    n_changed: int = 0  # of the new ones, how many say something else than before
    n_same: int = 0
    n_empty: int = 0
    n_labels: Mapping[str, int] = field(default_factory=dict)
    n_unlearnt: int = 0
    snapshot: Snapshot | None = None
    is_new: bool = False
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def add_labels(
    store: Store,
    rows: Path | Sequence[LabelRow],
    *,
    role: Role | None = None,
    who: str = "",
    dry_run: bool = False,
) -> LabelResult:
    """Record labels of items that are in the project.

    Parameters
    ----------
    role : what the labels are for; None: what the table says, else the item's split
    who : who labelled, where the table does not say; the present user when empty
    dry_run : give the account, record nothing

    Raises
    ------
    UsageError
        ``label.role`` for a role that does not exist.
    DataError
        ``label.unknown_item``; ``label.sealed`` for a training label on a test item; ``label.not_in_test`` for a test
        label on an item of the pool; ``label.weight`` for a weight other than that of the draw; ``label.contradiction``
        for two rows in which one person says two things of one item. Nothing was recorded.
    """
    check_role(role)
    with store.lock("add"):
        with store.read() as db:
            snapshot = read_snapshot(db)
            placement = read_placement(db, snapshot)
            items = read_items(db, keys=list(placement))
            known = standing_labels(db)
            drawn = read_draws(db)
        keys = {item.id: item.key for item in items}
        table, notes = read_labels_file(rows, store, items) if isinstance(rows, Path) else (list(rows), ())
        found = match(table, keys)
        facts: list[Label] = []
        seen: dict[str, tuple[str, Role]] = {key: (said[-1].label, said[-1].role) for key, said in known.items()}
        by_person = {(key, fact.who): (fact.label, fact.role) for key, said in known.items() for fact in said}
        n_empty = n_same = n_changed = 0
        refuse_contradictions(table, found)
        problems: dict[str, list[LabelRow]] = {"label.sealed": [], "label.not_in_test": [], "label.weight": []}
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
            elif wanted == "test" and not weight_stands(row.weight, key, drawn):
                problems["label.weight"].append(row)
            elif seen.get(key) == (row.label, wanted) or by_person.get((key, row.who)) == (row.label, wanted):
                n_same += 1  # a table that names its people can be read twice, whoever spoke last
            else:
                n_changed += key in seen
                seen[key] = by_person[key, row.who] = (row.label, wanted)
                facts.append(Label(key, row.label, row.who or who or store.actor, now(), wanted, row.weight))
        _refuse(problems)
        n_new: dict[str, int] = dict(sorted(Counter(fact.role for fact in facts).items()))
        n_labels: dict[str, int] = dict(sorted(Counter(role for _, role in seen.values()).items()))
        n_unlearnt = sum(placement[key][0] == "reference" for key in seen if key in placement)
        result = LabelResult(len(table), n_new, n_changed, n_same, n_empty, n_labels, n_unlearnt, snapshot, notes=notes)
        return _commit(store, result, facts, placement) if facts and not dry_run else result


def read_labels_file(path: Path, store: Store, items: Sequence[Item]) -> tuple[list[LabelRow], tuple[str, ...]]:
    """Rows of a file of labels, whatever wrote it, and what is to be said of it."""
    if not path.is_file():
        raise NotFoundError("data.no_path", "there is no such file", where=path, next="muster label --export FILE.csv")
    export = read_label_studio(path, store, modalities[store.config.project.modality], items)
    if export is None:
        return read_label_table(path, store.config.data, LabelCells.of(store.config)), ()
    return export[0], (export[1],)


def weight_stands(weight: float, key: str, draws: Sequence[TestDraw]) -> bool:
    """Whether a test item's weight is one that it was drawn with, but for a table's rounding. 1 says nothing, and what
    was never drawn has nothing to be held against."""
    chances = [draw.chances[key] for draw in draws if key in draw.chances]
    return weight == 1.0 or not chances or any(abs(weight * chance - 1.0) <= ROUNDING for chance in chances)


def _refuse(problems: Mapping[str, Sequence[LabelRow]]) -> None:
    words = {
        "label.sealed": ("lie in the sealed test and cannot be learnt from", "record them with --role test"),
        "label.weight": (
            "have another weight than they were drawn with",
            "leave the column weight as muster label --export wrote it; spreadsheets may take its point for thousands",
        ),
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
    held = (f"{unlearnt:,} of them are of items held out for the guard, and are not learnt from",) if unlearnt else ()
    is_new = snapshot.digest != result.snapshot.digest
    return replace(result, snapshot=snapshot, is_new=is_new, findings=tuple(findings), notes=(*result.notes, *held))
