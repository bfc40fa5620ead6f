"""Items that are at hand in Python, as the records of a table: what reads tables reads them too.

They are written to a temporary file that nobody else can open, because a table is read twice and a generator only once.
No more than a batch of rows lies in memory.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path, PurePath
from typing import IO, Any
from uuid import UUID

import numpy as np

from passmuster.core.config import DataConfig
from passmuster.core.digests import content_of, sha256_hex
from passmuster.core.disk import took_no_more
from passmuster.core.errors import DataError, ResourceError, UsageError
from passmuster.core.table_files import BATCH_ROWS, Record
from passmuster.modality.base import Modality
from passmuster.modality.given import one_thing
from passmuster.stages.govern.rows import Encoded, NoCell, reason_of
from passmuster.stages.govern.tables import Tabular

SHAPES = 'texts, pairs of item and label, mappings such as {"text": ..., "label": ..., "id": ...}, or a data frame'


@dataclass(frozen=True)
class Values:
    """What `add` was given instead of a path.

    Parameters
    ----------
    given : object
        An iterable of items (texts; of an image project uint8 arrays, Pillow images, bytes or paths of image files), of
        pairs of an item and its label (tuples or lists), or of mappings from column to cell; or a data frame: pandas,
        polars, a Hugging Face dataset, whatever offers Arrow's stream or the interchange protocol.
    name : str
        What ids of rows without one begin with, and what errors call them.
    """

    given: Any
    name: str = "values"


@contextmanager
def written_down(values: Values, modality: Modality, config: DataConfig, folder: Path) -> Iterator[Tabular]:
    """The values as a table, for as long as the context lasts; the temporary file lies in `folder`.

    Raises
    ------
    UsageError
        ``add.values`` for what is not rows at all.
    DataError
        ``data.empty`` without rows, ``data.unreadable`` for a data frame that Arrow cannot take.
    ResourceError
        ``disk.full``.
    """
    content = config.text_column or ("image" if modality.name == "image" else "text")
    label = config.label_column or "label"
    header: dict[str, None] = {}
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closing it may fail on a full disk)
    line = -1
    try:
        for line, given in enumerate(rows_of(values.given)):
            record = _record(line, given, content, label, modality, config)
            header.update(dict.fromkeys(record.cells))
            with _room(folder):
                _write(file, record)
        if not header and line >= 0:
            raise DataError(
                "data.no_column", "no column has a name that is a text", where=values.name, next="name the columns"
            )
        if not header:
            raise DataError("data.empty", "there are no rows", where=values.name, next="look at what was handed over")
        with _room(folder):
            file.flush()
        yield Tabular(values.name, list(header), partial(_read, file), values.name, "{name}[{line}]")
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """A full disk, told as one; what fails in somebody's generator stays their error."""
    try:
        yield
    except OSError as error:
        if not took_no_more(error):
            raise
        raise ResourceError(
            "disk.full", "the disk is full; nothing was added", where=folder, next="make room, and add again"
        ) from error


def rows_of(given: Any, code: str = "add.values", shapes: str = SHAPES) -> Iterator[Any]:
    """Rows of a data frame as mappings, or the elements of anything else that can be iterated.

    Raises
    ------
    UsageError
        `code`, for what is not rows; `shapes` tells what they look like.

    >>> list(rows_of(["one", {"text": "two"}]))
    ['one', {'text': 'two'}]
    """
    if what := one_thing(given):
        raise UsageError(code, f"rows were expected, not {what}", limit=shapes, next="give a list of rows")
    if hasattr(given, "iloc") and hasattr(given, "columns"):  # pandas: cells of mixed kinds stay what they are
        parts = (given.iloc[at : at + BATCH_ROWS] for at in range(0, len(given), BATCH_ROWS))
        return (row for part in parts for row in part.to_dict("records"))
    if hasattr(given, "iter_rows"):  # polars
        return iter(given.iter_rows(named=True))
    if hasattr(given, "features") and hasattr(given, "column_names"):  # Hugging Face: classes are numbers with names
        return _named_classes(given)
    if (hasattr(given, "__arrow_c_stream__") or hasattr(given, "__dataframe__")) and (
        hasattr(given, "columns") or hasattr(given, "schema") or not isinstance(given, Iterable)
    ):  # a single column has none of these, and is a list of texts
        return _arrow_rows(given)
    if not isinstance(given, Iterable):
        raise UsageError(
            code, "rows were expected", value=type(given).__name__, limit=shapes, next="give a path or a list"
        )
    return iter(given)


def _named_classes(given: Any) -> Iterator[Mapping[str, Any]]:
    names = {column: f.names for column, f in (given.features or {}).items() if getattr(f, "names", None)}
    for row in given:
        said = {c: (n[row[c]] if row[c] >= 0 else None) for c, n in names.items() if isinstance(row.get(c), int)}
        yield {**row, **said}


def _arrow_rows(given: Any) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.interchange

    try:
        if hasattr(given, "__arrow_c_stream__"):
            batches: Iterable[Any] = pyarrow.RecordBatchReader.from_stream(given)
        else:
            batches = pyarrow.interchange.from_dataframe(given).to_batches(max_chunksize=BATCH_ROWS)
        for batch in batches:
            for at in range(0, batch.num_rows, BATCH_ROWS):
                yield from batch.slice(at, BATCH_ROWS).to_pylist()
    except (pyarrow.ArrowException, NotImplementedError) as error:
        detail = str(error).splitlines()[0][:160]
        raise DataError(
            "data.unreadable", f"Arrow cannot read it: {detail}", value=type(given).__name__, next="give a list of rows"
        ) from error


def _record(line: int, given: Any, content: str, label: str, modality: Modality, config: DataConfig) -> Record:
    """One row; what cannot be a cell of a table is `NoCell`, which matters to its own row, and there only if used."""
    if isinstance(given, Mapping):
        row = given
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        row = {content: given[0], label: given[1]}
    else:
        row = {content: given}
    cells: dict[str, Any] = {}
    for name, value in row.items():
        if not isinstance(name, str):
            continue
        try:
            cells[name] = cell_of(value, modality, config)
        except DataError as error:
            cells[name] = NoCell(reason_of(error))
        except RecursionError:
            cells[name] = NoCell("item.type: no cell of a table (it holds itself, or more than can be followed)")
    unnamed = row and not cells
    return Record(line, cells, f"item.row: no column has a name that is a text: {row!r:.40}" if unnamed else "")


def cell_of(value: Any, modality: Modality, config: DataConfig) -> Any:
    """A value as a table file would hold it: text, number, list of those, or an image's bytes."""
    if value is None or (isinstance(value, (bool, int, float, bytes)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return cell_of(value.value, modality, config)
    if isinstance(value, (str, UUID, timedelta)):
        return str(value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else str(value)
    if isinstance(value, (datetime, date, time)):
        return None if value != value else value.isoformat()  # NaT differs from itself
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, PurePath):
        return str(value)
    if modality.name == "image":
        if isinstance(value, Mapping) and {"bytes", "path"} >= value.keys():  # as Hugging Face keeps images
            return value.get("bytes") or value.get("path")
        if type(value).__module__.startswith("PIL.") or (isinstance(value, np.ndarray) and value.ndim > 1):
            pixels = modality.of_value(value, config)
            file = Encoded(modality.encode(pixels))
            file.named_by = sha256_hex(content_of(pixels)).encode()
            return file
    if isinstance(value, (list, tuple, set, frozenset)):
        members = [cell_of(member, modality, config) for member in value]
        if not any(isinstance(member, bytes) for member in members):
            return sorted(members, key=str) if isinstance(value, (set, frozenset)) else members
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, np.timedelta64):
        return None if np.isnat(value) else str(value.astype("timedelta64[us]").item())
    if isinstance(value, np.longdouble):
        return float(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return cell_of(value.tolist(), modality, config)
    if isinstance(value, Mapping) and not any(isinstance(member, bytes) for member in value.values()):
        return {str(k): cell_of(v, modality, config) for k, v in value.items()}
    if hasattr(value, "as_py"):
        return cell_of(value.as_py(), modality, config)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise DataError("item.type", "no cell of a table", value=type(value).__name__, limit="texts, numbers, times, lists")


def _write(file: IO[bytes], record: Record) -> None:
    """A line of JSON, and after it the bytes that it tells of."""
    files = {name: value for name, value in record.cells.items() if isinstance(value, bytes)}
    told = {name: [len(data), getattr(data, "named_by", b"").decode()] for name, data in files.items()}
    unusable = {name: value.reason for name, value in record.cells.items() if isinstance(value, NoCell)}
    cells = {n: None if n in unusable else value for n, value in record.cells.items() if n not in files}
    file.write(json.dumps([record.line, cells, record.problem, unusable, told]).encode() + b"\n")
    for data in files.values():
        file.write(data)


def _read(file: IO[bytes]) -> Iterator[Record]:
    file.seek(0)
    while line := file.readline():
        number, cells, problem, unusable, told = json.loads(line)
        cells |= {name: NoCell(reason) for name, reason in unusable.items()}
        for name, (n_bytes, named_by) in told.items():
            data = file.read(n_bytes)
            cells[name] = data
            if named_by:
                cells[name] = Encoded(data)
                cells[name].named_by = named_by.encode()
        yield Record(number, cells, problem)
