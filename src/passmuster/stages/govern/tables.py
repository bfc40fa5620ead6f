"""Tables of items: CSV, TSV, JSON lines and Parquet, streamed row by row; every row becomes an item or a reason."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.core.table_files import Record, header_of, is_table, records_of
from passmuster.modality.base import Modality
from passmuster.stages.govern.label_cells import LabelCells
from passmuster.stages.govern.rows import HALF_A_PAIR, Encoded, NoCell, Row, Source, iso_time, plain, split_of

__all__ = ["Columns", "choose_column", "is_table", "open_table"]

USUAL = {
    "text": ("text", "sentence", "content", "body", "message", "review", "utterance", "question", "document", "comment",
             "description", "docstring"),
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "filepath"),
    "label": ("label", "class", "category", "target", "intent", "y"),
    "id": ("id", "uid", "key", "item_id"),
    "split": ("split", "subset", "partition"),
    "subject": ("subject", "subject_id", "patient", "patient_id"),
    "time": ("time", "timestamp", "created_at", "date"),
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Which column holds what; "" where none does."""

    content: str
    label: str = ""
    id: str = ""
    split: str = ""
    subject: str = ""
    time: str = ""
    groups: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """All of them; what stands in other columns does not matter."""
        named = (self.content, self.label, self.id, self.split, self.subject, self.time, *self.groups)
        return tuple(dict.fromkeys(name for name in named if name))


@dataclass(frozen=True)
class Tabular:
    """Records under one header: a file, or values at hand in Python. `records` gives the same ones each time.

    `name` is what ids of rows without one begin with, `where` is shown in errors, `place` says where a record lies.
    Paths of images are relative to `folder`.
    """

    name: str
    header: Sequence[str]
    records: Callable[[], Iterator[Record]]
    where: Path | str
    place: str = "{name}:{line}"
    folder: Path = Path()

    @classmethod
    def of_file(cls, path: Path) -> Tabular:
        """A table file; the errors are those of `header_of`."""
        return cls(path.name, header_of(path), partial(records_of, path), path, folder=path.parent)


def open_table(
    table: Tabular,
    modality: Modality,
    config: DataConfig,
    *,
    with_labels: bool,
    keyed: Callable[[bytes], str],
    labels: LabelCells = LabelCells(),
) -> Source:
    """A table as a source: of texts, or of images and paths to them; `labels` reads its labels.

    Raises
    ------
    DataError
        ``data.no_column`` for a column that was named and is not there, or a content column that cannot be guessed;
        ``data.empty``, ``data.encoding``, ``data.truncated``, ``data.unreadable`` for the file itself.
    """
    columns = _columns(table, modality, config, with_labels)
    used = [f"{role} = {name!r}" for role in ("content", "label", "id", "split", "subject", "time")
            if (name := getattr(columns, role))]  # fmt: skip
    rows = partial(_rows, table, modality, columns, keyed, labels)
    return Source(table.name, rows, None, ("columns: " + ", ".join(used),))


def _columns(table: Tabular, modality: Modality, config: DataConfig, with_labels: bool) -> Columns:
    header, path = table.header, table.where
    content = choose_column(header, config.text_column, USUAL["path" if modality.name == "image" else "text"], path)
    taken = {content}

    def find(role: str, named: str) -> str:
        name = choose_column([h for h in header if h not in taken or h == named], named, USUAL[role], path)
        taken.add(name)
        return name

    label = find("label", config.label_column) if with_labels else ""
    found = Columns(
        content,
        label,
        find("id", config.id_column),
        find("split", config.split_column),
        find("subject", config.subject_column),
        find("time", config.time_column),
        tuple(choose_column(header, name, (), path) for name in config.group_columns),
    )
    if not content:
        left = [h for h in header if h not in taken]
        if len(left) != 1:
            raise DataError(
                "data.no_column",
                f"it is not clear which column holds the {'image paths' if modality.name == 'image' else 'texts'}",
                value=", ".join(header),
                where=path,
                next=f"muster add {path} --text-column NAME"
                if isinstance(path, Path)
                else 'Project.open(..., overrides={"data.text_column": "NAME"})',
            )
        found = Columns(left[0], found.label, found.id, found.split, found.subject, found.time, found.groups)
    return found


def choose_column(header: Sequence[str], named: str, usual: Sequence[str], path: Path | str) -> str:
    """The column `named`, else the first usual one (upper and lower case alike), else "".

    >>> choose_column(["Text", "y"], "", ("text",), Path())
    'Text'
    """
    if named:
        if named not in header:
            near = difflib.get_close_matches(named, header, n=1, cutoff=0.4)
            raise DataError(
                "data.no_column",
                f"there is no column named {named!r}",
                limit=", ".join(header),
                where=path,
                next=f"did you mean {near[0]!r}?" if near else "name one of these",
            )
        return named
    lower = {h.strip().lower(): h for h in reversed(header)}
    return next((lower[name] for name in usual if name in lower), "")


def _rows(
    table: Tabular, modality: Modality, columns: Columns, keyed: Callable[[bytes], str], labels: LabelCells
) -> Iterator[Row]:
    occurrences: Counter[str] = Counter()
    so_far = sha256()
    n_rows = 0
    for record in table.records():
        n_rows += 1
        source = table.place.format(name=table.name, line=record.line)
        for part in _bytes_of(record):
            so_far.update(part)
        if record.problem and not record.cells:
            row = Row("", source, None, record.problem)
        else:
            row = _row(record, source, table, modality, columns, keyed, labels, occurrences)
        # A row that cannot be used and has no name is told apart by all that came before it, itself included: the same
        # rows once more, or more of them, are known; a bad row in the same place of another table is told.
        yield row if row.id else replace(row, id=f"{source}#{keyed(so_far.digest())[:16]}")
    if not n_rows:
        raise DataError("data.empty", "the table has no rows", where=table.where, next="check the file")


def _bytes_of(record: Record) -> Iterator[bytes]:
    yield f"{record.line} {record.problem}".encode("utf-8", "surrogatepass")
    for name, value in record.cells.items():
        cell = (value.named_by or bytes(value)) if isinstance(value, Encoded) else value
        yield repr(name).encode()
        yield cell if isinstance(cell, bytes) else repr(cell).encode()


def _row(
    record: Record,
    source: str,
    table: Tabular,
    modality: Modality,
    columns: Columns,
    keyed: Callable[[bytes], str],
    labels: LabelCells,
    occurrences: Counter[str],
) -> Row:
    cells, bad = _used_cells(record, columns)
    content, problem = content_of_cell(cells[columns.content], table.folder, modality)
    if bad:
        content, problem = None, bad
    identity = plain(cells.get(columns.id)) if columns.id else None
    if columns.id and identity is None:
        content, problem = None, problem or "item.no_id: the id is missing"
    elif identity is None and isinstance(content, Path):
        identity = str(cells[columns.content])
    elif identity is None and isinstance(content, bytes):
        named_by = content.named_by if isinstance(content, Encoded) else content
        name = f"{table.name}#{keyed(named_by)[:16]}"  # stays the same when rows are added or moved
        occurrences[name] += 1
        identity = name if occurrences[name] == 1 else f"{name}-{occurrences[name]}"
    try:
        at = iso_time(cells.get(columns.time)) if columns.time else ""
    except ValueError:
        at = ""
        if not problem:
            content, problem = None, f"item.time: not an ISO time: {str(cells[columns.time])[:40]!r}"
    label = None
    try:
        label = labels.read(cells.get(columns.label)) if columns.label else None
    except ValueError as error:
        if not problem:
            content, problem = None, f"item.label: {error}"
    split = plain(cells.get(columns.split)) if columns.split else None
    return Row(
        identity or "",
        source,
        content,
        problem,
        label,
        split_of(split or "", source),
        (plain(cells.get(columns.subject)) or "") if columns.subject else "",
        at,
        {name: value for name in columns.groups if (value := plain(cells.get(name))) is not None},
    )


def _used_cells(record: Record, columns: Columns) -> tuple[dict[str, Any], str]:
    """The cells that are used, each None where it cannot be, and the first reason why one of them cannot."""
    cells = {name: record.cells.get(name) for name in columns.used}
    problem = record.problem
    for name, value in cells.items():
        said = ""
        if isinstance(value, NoCell):
            said = f"{value.reason}, in {name!r}"
        elif isinstance(value, str) and (half := HALF_A_PAIR.search(value)):
            said = f"item.encoding: half a surrogate pair at character {half.start()}, in {name!r}"
        if said:
            cells[name], problem = None, problem or said
    return cells, problem


def content_of_cell(value: Any, folder: Path, modality: Modality) -> tuple[Path | bytes | None, str]:
    """Bytes or path of a content cell, or the reason why there is none."""
    if value is None or value != value or value in ("nan", "NaN"):
        return None, "item.missing: the cell is empty (null or NaN)"
    if modality.name == "image" and isinstance(value, bytes):
        return value, ""
    if not isinstance(value, str):
        return None, f"item.type: not a text ({type(value).__name__})"
    if modality.name == "image":
        name = value.strip()
        file = folder / name
        if not name:
            return None, "item.missing: the cell is empty (null or NaN)"
        return (file, "") if file.is_file() else (None, f"item.no_file: there is no file {name[:200]!r}")
    return value.encode("utf-8"), ""
