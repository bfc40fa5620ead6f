"""Tables that come with a model: items, and what was said of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, NotFoundError
from passmuster.core.records import Payload
from passmuster.core.table_files import TABLES, header_of, is_table, records_of
from passmuster.modality.base import Modality

CONTENT = {"text": ("text", "item"), "image": ("path", "file", "item")}  # columns that hold an item, or name its file


def read_rows(path: Path, n_rows: int | None = None) -> list[dict[str, Any]]:
    """Rows of a table, one at least, the first `n_rows` of them: of each column the cell, None where it is empty.

    Raises
    ------
    NotFoundError
        ``table.none``.
    DataError
        ``table.unreadable``, and those of `passmuster.core.table_files`.
    """
    if not path.is_file() or not is_table(path):
        raise NotFoundError("table.none", "there is no such table", where=path, limit=", ".join(TABLES))
    header = header_of(path)
    rows: list[dict[str, Any]] = []
    for record in itertools.islice(records_of(path), n_rows):
        if record.problem:
            raise DataError(
                "table.unreadable", f"a row cannot be read: {record.problem}", where=f"{path.name}:{record.line}"
            )
        rows.append({name: record.cells.get(name) for name in header})
    if not rows:
        raise DataError("table.unreadable", "the table has no rows", where=path)
    return rows


def content_column(columns: list[str], modality: Modality, where: Path) -> str:
    """The column that holds the items.

    Raises
    ------
    DataError
        ``table.columns``.
    """
    usual = CONTENT[modality.name]
    found = next((name for name in usual if name in columns), "")
    if not found:
        raise DataError(
            "table.columns", "no column of the table holds the items", value=", ".join(columns[:9]),
            limit=" or ".join(usual), where=where,
        )  # fmt: skip
    return found


def item_in(cell: Any, beside: Path, modality: Modality, config: DataConfig) -> Payload:
    """The item in a cell: the text itself, or the image in the file that it names, seen from the table `beside` it.

    Raises
    ------
    DataError
        ``item.*``, also when the cell is empty or its file is not there.
    """
    if cell is None:
        raise DataError("item.empty", "the cell is empty")
    if modality.name == "text":
        return modality.decode(str(cell).encode(), config)
    try:
        return modality.decode((beside.parent / str(cell)).read_bytes(), config)
    except OSError as error:
        raise DataError("item.unreadable", f"the file cannot be read: {error.strerror}", where=cell) from error
