"""Add raw items and their labels: one act that ends in a new snapshot with its findings.

The source is read twice: first its ids and labels, so that what is wrong with them is said before anything is written;
then its contents, which go to the blob store in batches. Everything else is one transaction. An add that is interrupted
leaves bytes that nobody refers to, and is simply repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import DataError
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Finding, Item, Label, Snapshot, Split
from passmuster.modality.base import Modality
from passmuster.modality.find import modalities
from passmuster.stages.govern.inspect import Copies, find_copies, inspect_items, inspect_labels
from passmuster.stages.govern.label_table import LabelRow, match, read_label_table
from passmuster.stages.govern.rows import Row, Source, open_source
from passmuster.stages.govern.snapshot import latest_snapshot, new_facts, write_snapshot
from passmuster.stages.govern.splits import place
from passmuster.stages.govern.stored import content_of
from passmuster.store.items import add_items, add_labels, drop_quarantined, read_items, read_labels
from passmuster.store.snapshots import read_findings, read_placement
from passmuster.store.store import Store

BATCH_ITEMS, BATCH_BYTES = 1_024, 33_554_432
N_EXAMPLES = 5


@dataclass(frozen=True)
class AddResult:
    """The account of one add: ``n_read == n_kept + n_quarantined + n_known``.

    `reasons` counts quarantined rows by code, `examples` shows the first of them as (source, reason). `n_new_labels`
    counts new label facts by role, `n_labels` the items that have a label now. `snapshot` is None when nothing is in the project, `is_new` false when nothing changed.
    """

    n_read: int
    n_kept: int
    n_quarantined: int
    n_known: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[tuple[str, str], ...] = ()
    n_new_labels: Mapping[str, int] = field(default_factory=dict)
    n_labels: Mapping[str, int] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    is_new: bool = False
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.n_read == self.n_kept + self.n_quarantined + self.n_known, "a row is not accounted for"


def add(
    store: Store,
    path: Path,
    *,
    labels: Path | None = None,
    unlabeled: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> AddResult:
    """Read `path` (a folder, a table or one item) into the project.

    Parameters
    ----------
    labels : a table of labels by id or path; folder names and columns then give none
    unlabeled : take no labels at all
    dry_run : read and count, write nothing

    Raises
    ------
    NotFoundError
        ``data.no_path``.
    DataError
        ``data.*`` and ``label.*``, before anything was written: duplicate ids, a column that is not there, labels that
        match nothing, files that are empty, cut off or not UTF-8, an id that came with other content before.
    ResourceError
        ``disk.full``: nothing was added.
    """
    progress = progress or Silent()
    modality = modalities[store.config.project.modality]
    with store.lock("add"):
        with_labels = labels is None and not unlabeled
        source = open_source(path, modality, store.config.data, with_labels=with_labels, keyed=store.keyed)
        with store.read() as db:
            before = {item.key: item for item in read_items(db)}
        ids = _check_ids(source)
        side = {} if unlabeled else _side_table(labels or source.labels, store, source, ids, before)
        reading = _read(store, modality, source, before, side, dry_run, progress)
        if dry_run or not (reading.kept or reading.quarantined or reading.labels):
            return _unchanged(store, source, reading)
        return _commit(store, modality, source, reading, before, progress)


@dataclass
class _Reading:
    """What came of reading a source. `labels` are by item key, new items and old ones alike."""

    n_read: int = 0
    n_known: int = 0
    kept: list[Item] = field(default_factory=list)
    quarantined: list[Item] = field(default_factory=list)
    labels: dict[str, tuple[str, str]] = field(default_factory=dict)  # key -> label, who


def _check_ids(source: Source) -> dict[str, str]:
    """Id to source of every row.

    Raises
    ------
    DataError
        ``data.duplicate_id``, naming the first id, both rows, and how many there are.
    """
    ids: dict[str, str] = {}
    twice: list[tuple[str, str, str]] = []
    for row in source.rows():
        if row.id in ids:
            twice.append((row.id, ids[row.id], row.source))
        ids[row.id] = row.source
    if twice:
        identity, first, second = twice[0]
        n = len(twice)
        raise DataError(
            "data.duplicate_id",
            f"{n:,} {'rows repeat' if n > 1 else 'row repeats'} the id of another; nothing was added",
            value=identity,
            where=f"{first} and {second}",
            next="give each row an id of its own, or name another column with --id-column",
        )
    return ids


def _side_table(
    path: Path | None, store: Store, source: Source, ids: Mapping[str, str], before: Mapping[str, Item]
) -> dict[str, LabelRow]:
    """Rows of the table of labels by item id; the last one counts where an id comes twice."""
    if path is None:
        return {}
    rows = read_label_table(path, store.config.data)
    found = match(rows, {*ids, *(item.id for item in before.values())}, source.name)
    return {found[number]: row for number, row in enumerate(rows)}


def _read(
    store: Store,
    modality: Modality,
    source: Source,
    before: Mapping[str, Item],
    side: Mapping[str, LabelRow],
    dry_run: bool,
    progress: Progress,
) -> _Reading:
    reading = _Reading()
    waiting: list[bytes] = []
    changed: list[Row] = []

    def flush() -> None:
        if not dry_run:
            store.blobs.put_many(waiting)
        waiting.clear()

    n_waiting = 0
    for row in progress.track(source.rows(), f"reading {source.name}"):
        reading.n_read += 1
        item, data = _item_of(row, store, modality, side.get(row.id))
        known = before.get(item.key)
        if known is not None and (known.digest, known.status) == (item.digest, item.status):
            reading.n_known += 1
        elif known is not None and known.status == "kept" and item.status == "kept":
            changed.append(row)
            continue
        elif known is not None and known.status == "kept":  # was readable before: what is stored stays
            reading.n_known += 1
        elif item.status == "kept":
            reading.kept.append(item)
            waiting.append(data)
            n_waiting += len(data)
            if len(waiting) >= BATCH_ITEMS or n_waiting >= BATCH_BYTES:
                flush()
                n_waiting = 0
        else:
            reading.quarantined.append(item)
        _note_label(reading, item, row, side.get(row.id), store.actor)
    if changed:
        n = len(changed)
        raise DataError(
            "data.changed",
            f"{n:,} {'ids were' if n > 1 else 'id was'} added before with other content; nothing was added",
            value=changed[0].id,
            where=changed[0].source,
            next="give changed items a new id; what is in a snapshot is never edited",
        )
    flush()
    return _with_labels_of_old(reading, side, before, store.actor)


def _item_of(row: Row, store: Store, modality: Modality, side: LabelRow | None) -> tuple[Item, bytes]:
    """The item of a row, kept or quarantined, and its bytes."""
    item = Item(
        key=store.keyed(row.id.encode("utf-8", "surrogatepass")),
        id=row.id,
        digest="",
        blob="",
        n_bytes=0,
        source=row.source,
        given_split=row.given_split,  # type: ignore[arg-type]
        subject=(side.subject if side else "") or row.subject,
        at=(side.at if side else "") or row.at,
        groups={**row.groups, **(side.groups if side else {})},
    )
    if row.content is None:
        return replace(item, status="quarantined", reason=row.problem), b""
    try:
        data = row.content if isinstance(row.content, bytes) else _read_file(row.content, store)
        payload = modality.decode(data, store.config.data)
    except DataError as error:
        facts = [f"{n} {v}" for n, v in (("value", error.value), ("limit", error.limit)) if v is not None]
        reason = f"{error.code}: {error.what}" + (f" ({', '.join(facts)})" if facts else "")
        return replace(item, status="quarantined", reason=reason), b""
    return replace(item, digest=store.keyed(content_of(payload)), blob=sha256_hex(data), n_bytes=len(data)), data


def _read_file(path: Path, store: Store) -> bytes:
    try:
        size = path.stat().st_size
        if size > store.config.data.max_item_bytes:
            raise DataError(
                "item.too_large", "the file is too large", value=size, limit=store.config.data.max_item_bytes
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError("item.unreadable", f"the file cannot be read: {error.strerror}") from error


def _note_label(reading: _Reading, item: Item, row: Row, side: LabelRow | None, actor: str) -> None:
    if item.status != "kept":
        return
    if side is not None and side.label is not None:
        reading.labels[item.key] = (side.label, side.who or actor)
    elif row.label is not None:
        reading.labels[item.key] = (row.label, actor)


def _with_labels_of_old(
    reading: _Reading, side: Mapping[str, LabelRow], before: Mapping[str, Item], actor: str
) -> _Reading:
    """A table of labels may name items that were added earlier; their labels count too."""
    by_id = {item.id: item for item in before.values() if item.status == "kept"}
    for identity, row in side.items():
        if row.label is not None and identity in by_id:
            reading.labels.setdefault(by_id[identity].key, (row.label, row.who or actor))
    return reading


def _unchanged(store: Store, source: Source, reading: _Reading) -> AddResult:
    snapshot = latest_snapshot(store)
    findings: list[Finding] = []
    if snapshot is not None:
        with store.read() as db:
            findings = read_findings(db, snapshot.digest)
    return _account(store, reading, source, snapshot, findings, {}, is_new=False)


def _commit(
    store: Store,
    modality: Modality,
    source: Source,
    reading: _Reading,
    before: Mapping[str, Item],
    progress: Progress,
) -> AddResult:
    """Splits, findings and the one transaction."""
    mended = {item.key for item in reading.kept} | {item.key for item in reading.quarantined}
    items = [*(i for i in before.values() if i.status == "kept"), *reading.kept]
    quarantined = [i for i in before.values() if i.status != "kept" and i.key not in mended] + reading.quarantined
    if not items:
        first = reading.quarantined[0]
        raise DataError(
            "data.nothing_usable",
            f"none of {reading.n_read:,} rows can be used; the first because: {first.reason}",
            where=first.source,
            next="mend the data, or name the right columns; nothing was added",
        )
    parent = latest_snapshot(store)
    with store.read() as db:
        old = read_placement(db, parent) if parent else {}
        known = read_labels(db)
    latest = {**{key: label.label for key, label in known.items()}, **{k: v for k, (v, _) in reading.labels.items()}}
    copies = find_copies(store, modality, items, progress)
    splits = place(
        [old[i.key][0] if i.key in old else None for i in items],
        [i.given_split for i in items],
        copies.group,
        [latest.get(i.key) for i in items],
        store.config.data,
        np.random.default_rng([store.config.train.seed, len(old)]),
    )
    by_key = {item.key: split for item, split in zip(items, splits, strict=True)}
    facts: list[Label] = []
    for who in sorted({who for _, who in reading.labels.values()}):
        facts += new_facts({k: v for k, (v, w) in reading.labels.items() if w == who}, by_key, known, who)
    if parent and not reading.kept and not any(fact.role == "train" for fact in facts):
        return _commit_facts(store, source, reading, parent, facts)
    findings = inspect_items(store, modality, items, splits, copies, quarantined, progress)
    findings += inspect_labels(items, splits, latest, store.config.data)
    placed = _placed(items, splits, copies)
    with store.act("data.add") as act:
        drop_quarantined(act.db, sorted(mended))
        add_items(act.db, [*reading.kept, *reading.quarantined])
        add_labels(act.db, facts)
        act.payload.update(_counts(reading, facts))
        snapshot = write_snapshot(act, store, placed, findings, parent.digest if parent else "")
    return _account(store, reading, source, snapshot, findings, Counter(f.role for f in facts), is_new=True)


def _commit_facts(
    store: Store, source: Source, reading: _Reading, parent: Snapshot, facts: Sequence[Label]
) -> AddResult:
    """Quarantined rows and test labels only: recorded, but no new data-set version."""
    with store.act("data.add") as act:
        drop_quarantined(act.db, [item.key for item in reading.quarantined])
        add_items(act.db, reading.quarantined)
        add_labels(act.db, facts)
        act.payload.update(_counts(reading, facts), snapshot=parent.digest)
        findings = read_findings(act.db, parent.digest)
    return _account(store, reading, source, parent, findings, Counter(f.role for f in facts), is_new=False)


def _placed(items: Sequence[Item], splits: Sequence[Split], copies: Copies) -> list[tuple[Item, Split, str]]:
    sizes = Counter(copies.group.tolist())
    names = [items[g].key if sizes[g] > 1 else "" for g in copies.group.tolist()]
    return list(zip(items, splits, names, strict=True))


def _counts(reading: _Reading, facts: Sequence[Label]) -> dict[str, object]:
    return {
        "n_read": reading.n_read,
        "n_kept": len(reading.kept),
        "n_quarantined": len(reading.quarantined),
        "n_known": reading.n_known,
        "n_labels": dict(sorted(Counter(fact.role for fact in facts).items())),
    }


def _account(
    store: Store,
    reading: _Reading,
    source: Source,
    snapshot: Snapshot | None,
    findings: Sequence[Finding],
    n_new: Mapping[str, int],
    *,
    is_new: bool,
) -> AddResult:
    with store.read() as db:
        n_labels = Counter(label.role for label in read_labels(db).values())
    return AddResult(
        n_read=reading.n_read,
        n_kept=len(reading.kept),
        n_quarantined=len(reading.quarantined),
        n_known=reading.n_known,
        reasons=dict(sorted(Counter(i.reason.partition(":")[0] for i in reading.quarantined).items())),
        examples=tuple((i.source, i.reason) for i in reading.quarantined[:N_EXAMPLES]),
        n_new_labels=dict(sorted(n_new.items())),
        n_labels=dict(sorted(n_labels.items())),
        snapshot=snapshot,
        is_new=is_new,
        findings=tuple(findings),
        notes=source.notes,
    )
