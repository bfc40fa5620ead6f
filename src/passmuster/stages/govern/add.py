"""Add raw items and their labels: one act that ends in a new snapshot with its findings.

The source is read twice: first its ids and labels, so that what is wrong with them is said before anything is written;
then its contents, which go to the blob store in batches. Everything else is one transaction. An add that fails takes
its bytes back; one that is killed leaves bytes that nobody refers to, which the next add removes.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.errors import DataError, ResourceError
from passmuster.core.label_sets import MULTI
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Finding, Item, Label, Snapshot, Split
from passmuster.modality.base import Modality
from passmuster.modality.find import modalities
from passmuster.stages.govern.inspect import Copies, disagreements, find_copies, inspect_items, inspect_labels
from passmuster.stages.govern.label_cells import BEGIN_ANEW, LabelCells
from passmuster.stages.govern.reading import Reading, check_ids, read_source, side_table
from passmuster.stages.govern.rows import Source, open_source
from passmuster.stages.govern.snapshot import (
    held_out,
    latest_snapshot,
    new_facts,
    role_of,
    write_relabelled,
    write_snapshot,
)
from passmuster.stages.govern.splits import place, rarest_classes
from passmuster.stages.govern.tables import open_table
from passmuster.stages.govern.values import Values, written_down
from passmuster.store.items import add_items, add_labels, drop_quarantined, read_items, read_labels, set_groups
from passmuster.store.snapshots import read_findings, read_placement
from passmuster.store.store import Store

N_EXAMPLES = 5
MOST_COPIED, FEWEST_COPIES = 0.9, 10  # of new items that repeat what is there: the same source, named otherwise
SETS_GIVEN = "one label was expected, and here is a list"


@dataclass(frozen=True)
class AddResult:
    """The account of one add: ``n_read == n_kept + n_quarantined + n_known``.

    `n_grouped` of those known say something in a group column (`data.group_columns`) that had not been named before.
    `reasons` counts quarantined rows by code, `examples` shows the first of them as (source, reason). `n_new_labels`
    counts new label facts by role, `n_labels` the items that have a label now, `n_unlearnt` those of them that are held
    out for the guard: they are for training and are not learnt from. `snapshot` is None when nothing is in
    the project, `is_new` false when nothing changed.
    """

    n_read: int
    n_kept: int
    n_quarantined: int
    n_known: int
    n_grouped: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[tuple[str, str], ...] = ()
    n_new_labels: Mapping[str, int] = field(default_factory=dict)
    n_labels: Mapping[str, int] = field(default_factory=dict)
    n_unlearnt: int = 0
    snapshot: Snapshot | None = None
    is_new: bool = False
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.n_read == self.n_kept + self.n_quarantined + self.n_known, "a row is not accounted for"


def add(
    store: Store,
    given: Path | Values,
    *,
    labels: Path | None = None,
    unlabeled: bool = False,
    copies: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> AddResult:
    """Read what is given (the path of a folder, a table or one item; or values at hand) into the project.

    Parameters
    ----------
    labels : a table of labels by id or path; folder names and columns then give none
    unlabeled : take no labels at all
    copies : take items in though nearly all of them repeat the content of items that are there under other ids
    dry_run : read and count, write nothing

    Raises
    ------
    NotFoundError
        ``data.no_path``.
    UsageError
        ``add.values`` where what is given is neither.
    DataError
        ``data.*`` and ``label.*``, before anything was written: duplicate ids, a column that is not there, labels that
        match nothing, files that are empty, cut off or not UTF-8, an id that came with other content before, and
        ``data.copies`` (see `copies`).
    ResourceError
        ``disk.full``: nothing was added, and nothing is left of it.
    """
    progress = progress or Silent()
    modality = modalities[store.config.project.modality]
    with store.lock("add"), contextlib.ExitStack() as undo:
        with_labels = labels is None and not unlabeled
        cells = LabelCells.of(store.config)
        options: dict[str, Any] = {"with_labels": with_labels, "keyed": store.keyed, "labels": cells}
        if isinstance(given, Values):
            table = undo.enter_context(written_down(given, modality, store.config.data, store.root))
            source = open_table(table, modality, store.config.data, **options)
        else:
            source = open_source(given, modality, store.config.data, **options)
        with store.read() as db:
            before = {item.key: item for item in read_items(db)}
            known = read_labels(db)
        ids = check_ids(source)
        side = {} if unlabeled else side_table(labels or source.labels, store, source, ids, before)
        del ids  # as large as the items themselves will be
        if not dry_run:
            undo.enter_context(_bytes_taken_back(store, progress))
        reading = read_source(store, modality, source, before, side, dry_run, progress)
        new = {k: v for k, v in reading.labels.items() if k not in known or known[k].label != v[0]}
        reading = replace(reading, labels=new)
        if reading.quarantined and reading.n_read == len(reading.quarantined):
            raise _nothing_usable(reading)
        if not copies:
            refuse_copies(reading.kept, before, given.name if isinstance(given, Values) else given)
        if dry_run or not (reading.kept or reading.quarantined or reading.labels or reading.grouped):
            return _unchanged(store, source, reading)
        parent = latest_snapshot(store)
        if parent is not None and not reading.kept:
            return _commit_facts(store, source, reading, parent, known)
        return _commit(store, modality, source, reading, before, known, progress)


@contextlib.contextmanager
def _bytes_taken_back(store: Store, progress: Progress) -> Iterator[None]:
    """When the block fails, remove the contents that no item refers to, and give the disk its space back.

    Before it begins, those that an add left behind that was killed.
    """
    if store.blobs.begin() and (n := _sweep(store)):
        progress.say(f"removed {n:,} contents of an add that was killed")
    try:
        yield
    except BaseException:
        try:
            _sweep(store)
            store.blobs.end()
        except ResourceError as problem:  # the next add removes them
            progress.say(f"what was read could not be removed again: {problem}")
        raise
    else:
        store.blobs.end()
    finally:
        store.blobs.release()


def _sweep(store: Store) -> int:
    """Remove the contents that no item refers to; returns how many there were."""
    with store.read() as db:
        referenced = {item.blob for item in read_items(db)}
    n = store.blobs.keep_only(referenced)
    store.shorten_log()
    return n


def _nothing_usable(reading: Reading) -> DataError:
    first = reading.quarantined[0]
    return DataError(
        "data.nothing_usable",
        f"none of {reading.n_read:,} rows can be used; the first because: {first.reason}",
        where=first.source,
        next=BEGIN_ANEW
        if SETS_GIVEN in first.reason
        else "mend the data, or name the right columns; nothing was added",
    )


def refuse_copies(new: Sequence[Item], before: Mapping[str, Item], path: Path | str) -> None:
    """Refuse items of which nearly all repeat what is there: the same folder or table was named in another way.

    Raises
    ------
    DataError
        ``data.copies``.
    """
    there = {item.digest: item.id for item in before.values() if item.status == "kept"}
    again = [item for item in new if item.digest in there]
    if len(again) < FEWEST_COPIES or len(again) < MOST_COPIED * len(new):
        return
    first = again[0]
    raise DataError(
        "data.copies",
        f"{len(again):,} of {len(new):,} new items repeat what is there under other ids; nothing was added",
        value=f"{first.id!r}, which is {there[first.digest]!r}", limit=f"{MOST_COPIED:.0%}", where=path,
        next="name what was added before (labels: muster label FILE); or "
        + (f"muster add {path} --copies" if isinstance(path, Path) else "add(..., copies=True)"),
    )  # fmt: skip


def _unchanged(store: Store, source: Source, reading: Reading) -> AddResult:
    snapshot = latest_snapshot(store)
    findings: list[Finding] = []
    splits: dict[str, str] = {}
    if snapshot is not None:
        with store.read() as db:
            findings = read_findings(db, snapshot.digest)
            splits = {key: split for key, (split, _) in read_placement(db, snapshot).items()}
    would: Counter[str] = Counter(role_of(splits[key]) for key in reading.labels if key in splits)
    return _account(store, reading, source, snapshot, findings, would, is_new=False)


def _commit(
    store: Store,
    modality: Modality,
    source: Source,
    reading: Reading,
    before: Mapping[str, Item],
    known: Mapping[str, Label],
    progress: Progress,
) -> AddResult:
    """Splits, findings and the one transaction."""
    mended = {item.key for item in reading.kept} | {item.key for item in reading.quarantined}
    items = [*(i for i in before.values() if i.status == "kept"), *reading.kept]
    quarantined = [i for i in before.values() if i.status != "kept" and i.key not in mended] + reading.quarantined
    parent = latest_snapshot(store)
    with store.read() as db:
        old = read_placement(db, parent) if parent else {}
    latest = {**{key: label.label for key, label in known.items()}, **{k: v for k, (v, _) in reading.labels.items()}}
    copies = find_copies(store, modality, items, progress)
    strata = rarest_classes(latest) if store.config.project.task == MULTI else latest
    splits = place(
        [old[i.key][0] if i.key in old else None for i in items],
        [i.given_split for i in items],
        copies.group,
        [strata.get(i.key) for i in items],
        store.config.data,
        np.random.default_rng([store.config.train.seed, len(old)]),
    )
    by_key = {item.key: split for item, split in zip(items, splits, strict=True) if item.key in reading.labels}
    facts = _facts(reading, by_key, known)
    findings = inspect_items(store, modality, items, splits, copies, quarantined, progress)
    findings += inspect_labels(items, splits, latest, store.config, findings)
    placed = _placed(items, splits, copies)
    with store.act("data.add") as act:
        drop_quarantined(act.db, sorted(mended))
        add_items(act.db, [*reading.kept, *reading.quarantined])
        set_groups(act.db, reading.grouped)
        add_labels(act.db, facts)
        act.payload.update(_counts(reading, facts, old))
        findings += disagreements(act.db)
        snapshot = write_snapshot(act, store, placed, findings, parent.digest if parent else "")
    return _account(store, reading, source, snapshot, findings, Counter(f.role for f in facts), is_new=True)


def _commit_facts(
    store: Store, source: Source, reading: Reading, parent: Snapshot, known: Mapping[str, Label]
) -> AddResult:
    """Quarantined rows and labels of items that are there already: splits and copies stay as they are."""
    with store.act("data.add") as act:
        placement = read_placement(act.db, parent)
        facts = _facts(reading, {key: split for key, (split, _) in placement.items()}, known)
        drop_quarantined(act.db, [item.key for item in reading.quarantined])
        add_items(act.db, reading.quarantined)
        set_groups(act.db, reading.grouped)
        act.payload.update(_counts(reading, facts, placement))
        snapshot, findings = write_relabelled(act, store, parent, facts)
    is_new = snapshot.digest != parent.digest
    return _account(store, reading, source, snapshot, findings, Counter(f.role for f in facts), is_new=is_new)


def _facts(reading: Reading, splits: Mapping[str, str], known: Mapping[str, Label]) -> list[Label]:
    facts: list[Label] = []
    for who in sorted({who for _, who in reading.labels.values()}):
        facts += new_facts({k: v for k, (v, w) in reading.labels.items() if w == who}, splits, known, who)
    return facts


def _placed(items: Sequence[Item], splits: Sequence[Split], copies: Copies) -> list[tuple[Item, Split, str]]:
    sizes = Counter(copies.group.tolist())
    names = [items[g].key if sizes[g] > 1 else "" for g in copies.group.tolist()]
    return list(zip(items, splits, names, strict=True))


def _still_bad(reading: Reading) -> Iterator[str]:
    """What is known to be bad is no news, but it is not there either."""
    if n := reading.n_still_bad:
        yield f"{n:,} of those that were there {'are' if n > 1 else 'is'} in quarantine; {reading.still_bad}"


def _counts(
    reading: Reading, facts: Sequence[Label], placed: Mapping[str, tuple[Split, str]]
) -> dict[str, object]:  # fmt: skip
    return {
        "n_read": reading.n_read,
        "n_kept": len(reading.kept),
        "n_quarantined": len(reading.quarantined),
        "n_known": reading.n_known,
        "n_grouped": len(reading.grouped),
        "n_grouped_test": sum(placed[key][0] == "test" for key in reading.grouped if key in placed),
        "n_labels": dict(sorted(Counter(fact.role for fact in facts).items())),
    }


def _account(
    store: Store,
    reading: Reading,
    source: Source,
    snapshot: Snapshot | None,
    findings: Sequence[Finding],
    n_new: Mapping[str, int],
    *,
    is_new: bool,
) -> AddResult:
    with store.read() as db:
        labels = read_labels(db)
        n_unlearnt = len(held_out(db, snapshot, labels))
    return AddResult(
        n_read=reading.n_read,
        n_kept=len(reading.kept),
        n_quarantined=len(reading.quarantined),
        n_known=reading.n_known,
        n_grouped=len(reading.grouped),
        reasons=dict(sorted(Counter(i.reason.partition(":")[0] for i in reading.quarantined).items())),
        examples=tuple((i.source, i.reason) for i in reading.quarantined[:N_EXAMPLES]),
        n_new_labels=dict(sorted(n_new.items())),
        n_labels=dict(sorted(Counter(label.role for label in labels.values()).items())),
        n_unlearnt=n_unlearnt,
        snapshot=snapshot,
        is_new=is_new,
        findings=tuple(findings),
        notes=(*source.notes, *_still_bad(reading)),
    )
