"""Tables of labels: an id or path, a label, and what else is known of the item, read whole and matched to items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, NotFoundError, UsageError
from passmuster.core.label_sets import SINGLE
from passmuster.core.records import Role
from passmuster.core.spreadsheet import bare_cell
from passmuster.core.table_files import header_of, is_table, records_of
from passmuster.stages.govern.label_cells import BEGIN_ANEW, LabelCells
from passmuster.stages.govern.rows import iso_time, plain
from passmuster.stages.govern.tables import USUAL, choose_column

ROLES: tuple[Role, ...] = ("train", "test")
EXPORTED = ("id", "text", "label", "role", "weight", "guess", "why")  # columns of a table that Muster wrote


@dataclass(frozen=True)
class LabelRow:
    """One row of a label table. `label` is None where the cell is empty; `role` and `who` where the table says."""

    id: str
    label: str | None
    source: str = ""
    role: Role | None = None
    who: str = ""
    weight: float = 1.0
    subject: str = ""
    at: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)


def read_label_table(path: Path, config: DataConfig, labels: LabelCells = LabelCells()) -> list[LabelRow]:
    """Every row of a label table, which has a column of ids or paths and one of labels.

    Raises
    ------
    NotFoundError
        ``data.no_path``.
    DataError
        Those of reading a table; ``data.no_column``; ``label.row`` for a row that cannot be used, because a label that
        goes missing in silence is worse than one more command.
    """
    if not path.exists():
        raise NotFoundError("data.no_path", "there is no such file", where=path, next="check the path")
    if not path.is_file() or not is_table(path):
        raise DataError(
            "data.format",
            "not a table of labels",
            where=path,
            limit=".csv, .tsv, .jsonl, .parquet; of Label Studio the exports JSON, JSON-MIN and CSV, as they came",
            next="convert it",
        )
    header = header_of(path)
    id_column = choose_column(header, config.id_column if config.id_column in header else "",
                              (*USUAL["id"], *USUAL["path"]), path)  # fmt: skip
    label_column = choose_column(header, config.label_column, USUAL["label"], path)
    for role, name in (("ids or paths", id_column), ("labels", label_column)):
        if not name:
            flag = "--label-column" if role == "labels" else "--id-column"
            raise DataError(
                "data.no_column",
                f"there is no column of {role}",
                limit=", ".join(header),
                where=path,
                next=f"name it with {flag}",
            )
    subject = choose_column(header, config.subject_column if config.subject_column in header else "",
                            USUAL["subject"], path)  # fmt: skip
    time = choose_column(header, config.time_column if config.time_column in header else "", USUAL["time"], path)
    ours = {"role", "weight", "guess", "why"} <= set(header)
    bare = bare_cell if ours else str
    rows = []
    for record in records_of(path):
        where = f"{path.name}:{record.line}"
        if record.problem:
            raise bad_row(record.problem.partition(": ")[2], where)
        cells = record.cells
        identity = plain(cells.get(id_column))
        if identity is None:
            raise bad_row("the id is missing", where)
        rows.append(
            LabelRow(
                bare(identity),
                label_cell(cells.get(label_column), bare, labels, where),
                where,
                role_cell(cells.get("role"), where),
                plain(cells.get("who")) or "",
                weight_cell(cells.get("weight"), where),
                (plain(cells.get(subject)) or "") if subject else "",
                _time(cells.get(time), where) if time else "",
                {g: v for g in config.group_columns if (v := plain(cells.get(g))) is not None},
            )
        )
    if not rows:
        raise DataError("data.empty", "the table of labels has no rows", where=path, next="check the file")
    return rows


def check_role(role: Role | None) -> None:
    """Refuse a role that does not exist, whose labels would count for nothing.

    Raises
    ------
    UsageError
        ``label.role``.
    """
    if role is not None and role not in ROLES:
        raise UsageError("label.role", "no such role", value=role, limit="train, test", next='say role="train"')


def match(rows: Sequence[LabelRow], ids: Collection[str], folder: str = "") -> dict[int, str]:
    """Row number to item id, for every row.

    An id matches as it stands, as a path with ``./`` or `folder` before it, or by its file name where only one item has
    that name.

    Raises
    ------
    DataError
        ``label.unknown_item``, listing the first rows that match no item; ``label.ambiguous`` when a bare file name
        fits more than one.

    >>> match([LabelRow("photos/a.png", "cat")], {"a.png"}, "photos")
    {0: 'a.png'}
    """
    known = set(ids)
    by_name: dict[str, list[str]] = defaultdict(list)
    for identity in known:
        by_name[PurePosixPath(identity).name].append(identity)
    found: dict[int, str] = {}
    unknown: list[LabelRow] = []
    for number, row in enumerate(rows):
        name = row.id.replace("\\", "/").removeprefix("./")
        tries = (row.id, name, name.removeprefix(f"{folder}/"))
        if hit := next((t for t in tries if t in known), None):
            found[number] = hit
        elif "/" not in name and len(fits := by_name.get(name, [])) == 1:
            found[number] = fits[0]
        elif "/" not in name and len(fits) > 1:
            raise DataError(
                "label.ambiguous",
                "more than one item has this file name",
                value=name,
                limit=", ".join(sorted(fits)[:3]),
                where=row.source,
                next="write the path below the folder",
            )
        else:
            unknown.append(row)
    if unknown:
        shown = ", ".join(repr(row.id) for row in islice(unknown, 5))
        more = f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
        raise DataError(
            "label.unknown_item",
            f"{len(unknown):,} of {len(rows):,} labels match no item: {shown}{more}; nothing was recorded",
            where=unknown[0].source,
            next="write ids as muster label --export gives them, or add the items first",
        )
    return found


def refuse_contradictions(rows: Sequence[LabelRow], found: Mapping[int, str], *, one_each: bool = False) -> None:
    """Refuse rows in which one person says two things of one item for one purpose: which of them counts, nobody knows.

    What different people say stays: that is a disagreement, which is kept and shown; but not where there is room for
    one label of each item (`one_each`).

    Raises
    ------
    DataError
        ``label.contradiction``.
    """
    first: dict[tuple[str, str, str | None], LabelRow] = {}
    against: list[tuple[LabelRow, LabelRow]] = []
    for number, row in enumerate(rows):
        if row.label is None:
            continue
        before = first.setdefault((found[number], *(("", None) if one_each else (row.who, row.role))), row)
        if before.label != row.label:
            against.append((before, row))
    if against:
        before, row = against[0]
        more = f" and {len(against) - 1:,} more" if len(against) > 1 else ""
        remedy = "leave one row of each item"
        if not one_each:
            remedy += ", or say in a column who labelled"
        elif before.who != row.who:
            remedy += "; or add the items without labels, then muster label FILE, which keeps what each person said"
        raise DataError(
            "label.contradiction", f"two rows say two things of one item{more}; nothing was recorded",
            value=f"{row.id!r}: {before.label!r}, then {row.label!r}", where=f"{before.source}, {row.source}",
            next=remedy,
        )  # fmt: skip


def label_cell(cell: Any, bare: Callable[[str], str], labels: LabelCells, where: str) -> str | None:
    """What a cell says as a label."""
    try:
        return labels.read(bare(cell) if isinstance(cell, str) else cell)
    except ValueError as error:
        remedy = BEGIN_ANEW if isinstance(cell, list) and labels.task == SINGLE else "mend the row"
        raise bad_row(str(error), where, remedy) from error


def bad_row(what: str, where: str, remedy: str = "mend the row") -> DataError:
    """The error that a row cannot be used."""
    return DataError("label.row", f"a row of labels cannot be used: {what}", where=where, next=remedy)


def role_cell(value: Any, where: str) -> Role | None:
    """The role in a cell."""
    text = plain(value)
    if text is None:
        return None
    if text not in ROLES:
        raise DataError("label.role", "no such role", value=text, limit="train, test", where=where, next="mend the row")
    return text


def weight_cell(value: Any, where: str) -> float:
    """The weight in a cell; 1 where it is empty."""
    text = plain(value)
    try:
        weight = 1.0 if text is None else float(text)
    except ValueError as error:
        raise bad_row(f"the weight {text!r} is no number", where) from error
    if not 0 < weight < float("inf"):
        raise bad_row(f"the weight {text!r} is not positive", where)
    return weight


def _time(value: Any, where: str) -> str:
    try:
        return iso_time(value)
    except ValueError as error:
        raise bad_row(f"{value!r} is no ISO time", where) from error
