"""Tables that come with a model: items, and what was said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, NotFoundError
from passmuster.core.records import Payload
from passmuster.modality.base import Modality

MAX_BYTES = 4 * 2**30
CONTENT = {"text": ("text", "item"), "image": ("path", "file", "item")}  # columns that hold an item, or name its file


def read_rows(path: Path, n_rows: int | None = None) -> list[dict[str, Any]]:
    """Rows of a CSV, TSV, JSON lines or Parquet file, one at least; the first `n_rows` of them.

    Raises
    ------
    NotFoundError
        ``table.none``.
    DataError
        ``table.unreadable``.
    """
    import polars as pl

    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise NotFoundError(
            "table.none", "there is no such table of a usual size", limit=f"{MAX_BYTES:,} bytes", where=path
        )
    try:
        match path.suffix.lower():
            case ".parquet":
                table = pl.read_parquet(path, n_rows=n_rows)
            case ".jsonl" | ".ndjson":
                table = pl.read_ndjson(path, n_rows=n_rows)
            case suffix:
                separator = "\t" if suffix == ".tsv" else ","
                table = pl.read_csv(path, n_rows=n_rows, separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError("table.unreadable", f"the table cannot be read: {error}", where=path) from error
    if not len(table):
        raise DataError("table.unreadable", "the table has no rows", where=path)
    return table.to_dicts()


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
