"""Read a source: first its ids and labels, then its contents, which go to the blob store in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from passmuster.core.digests import content_of, sha256_hex
from passmuster.core.errors import DataError
from passmuster.core.progress import Progress
from passmuster.core.records import Item
from passmuster.modality.base import Modality
from passmuster.stages.govern.label_cells import LabelCells
from passmuster.stages.govern.label_table import LabelRow, match, read_label_table, refuse_contradictions
from passmuster.stages.govern.rows import Row, Source, reason_of
from passmuster.store.store import Store

# Contents lie in the order of their digests, so that each batch touches pages all over the file: many small contents at
# once. A batch of a thousand texts wrote twenty times its bytes.
BATCH_ITEMS, BATCH_BYTES = 65_536, 33_554_432
RESERVE = 2  # times a batch, of disk that undoing would need: for the log of what came before, and that of removing it


@dataclass
class Reading:
    """What came of reading a source. `labels` are by item key, new items and old ones alike."""

    n_read: int = 0
    n_known: int = 0
    n_still_bad: int = 0  # of those known
    still_bad: str = ""  # the first of them, and why
    kept: list[Item] = field(default_factory=list)
    quarantined: list[Item] = field(default_factory=list)
    labels: dict[str, tuple[str, str]] = field(default_factory=dict)  # key -> label, who
    grouped: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # key of a known item -> groups, new ones among them


def check_ids(source: Source) -> dict[str, str]:
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
            next="give each row an id of its own; if the column names people: --subject-column, not --id-column",
        )
    return ids


def side_table(
    path: Path | None, store: Store, source: Source, ids: Mapping[str, str], before: Mapping[str, Item]
) -> dict[str, LabelRow]:
    """Rows of the table of labels by item id; the last one that has a label counts where an id comes twice.

    Raises
    ------
    DataError
        ``label.*``; ``label.contradiction`` for an id that comes with two labels.
    """
    if path is None:
        return {}
    rows = read_label_table(path, store.config.data, LabelCells.of(store.config))
    found = match(rows, {*ids, *(item.id for item in before.values())}, source.name)
    refuse_contradictions(rows, found, one_each=True)
    side: dict[str, LabelRow] = {}
    for number, row in enumerate(rows):
        if row.label is not None or found[number] not in side:
            side[found[number]] = row
    return side


def read_source(
    store: Store,
    modality: Modality,
    source: Source,
    before: Mapping[str, Item],
    side: Mapping[str, LabelRow],
    dry_run: bool,
    progress: Progress,
) -> Reading:
    reading = Reading()
    waiting: list[bytes] = []
    changed: list[Row] = []

    def flush() -> None:
        if not dry_run:
            store.blobs.reserve(RESERVE * sum(map(len, waiting)))
            store.blobs.put_many(waiting)
        waiting.clear()

    n_waiting = 0
    for row in progress.track(source.rows(), f"reading {source.name}"):
        reading.n_read += 1
        item, data = _item_of(row, store, modality, side.get(row.id))
        known = before.get(item.key)
        if known is not None and (known.digest, known.status, known.reason) == (item.digest, item.status, item.reason):
            reading.n_known += 1
            if item.status != "kept":
                reading.n_still_bad += 1
                reading.still_bad = reading.still_bad or f"{item.source}: {item.reason}"
            if not item.groups.keys() <= known.groups.keys():  # a column was named since; what is there stays
                reading.grouped[item.key] = {**item.groups, **known.groups}
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
        given_split=row.given_split,
        subject=(side.subject if side else "") or row.subject,
        at=(side.at if side else "") or row.at,
        groups={**row.groups, **side.groups} if side else row.groups,
    )
    if row.content is None:
        return replace(item, status="quarantined", reason=row.problem), b""
    try:
        data = row.content if isinstance(row.content, bytes) else _read_file(row.content, store)
        payload = modality.decode(data, store.config.data)
    except DataError as error:
        return replace(item, status="quarantined", reason=reason_of(error)), b""
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


def _note_label(reading: Reading, item: Item, row: Row, side: LabelRow | None, actor: str) -> None:
    if item.status != "kept":
        return
    if side is not None and side.label is not None:
        reading.labels[item.key] = (side.label, side.who or actor)
    elif row.label is not None:
        reading.labels[item.key] = (row.label, actor)


def _with_labels_of_old(
    reading: Reading, side: Mapping[str, LabelRow], before: Mapping[str, Item], actor: str
) -> Reading:
    """A table of labels may name items that were added earlier; their labels count too."""
    by_id = {item.id: item for item in before.values() if item.status == "kept"}
    for identity, row in side.items():
        if row.label is not None and identity in by_id:
            reading.labels.setdefault(by_id[identity].key, (row.label, row.who or actor))
    return reading
