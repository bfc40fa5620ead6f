"""Table files as records: CSV, TSV, JSON lines and Parquet, each streamed, plain or gzipped (CSV, TSV, JSON lines)."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from passmuster.core.errors import DataError

TEXT_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
TABLES = (*TEXT_TABLES, ".parquet")
DELIMITERS = ",;\t|"
BATCH_ROWS = 4_096
HEADER_ROWS = 200  # of JSON lines that are looked at to learn the columns


@dataclass(frozen=True)
class Record:
    """One row: its line (or row) number from 1, the header not counted for Parquet, and its cells or what is wrong."""

    line: int
    cells: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def is_table(path: Path) -> bool:
    """Whether the name is that of a table that can be read.

    >>> is_table(Path("a.csv.gz")), is_table(Path("a.png"))
    (True, False)
    """
    return _suffix(path) in TABLES


def _suffix(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".gz"):
        inner = Path(name[:-3]).suffix
        return inner if inner in TEXT_TABLES else ".gz"
    return path.suffix.lower()


def header_of(path: Path) -> list[str]:
    """Names of the columns, in order.

    Raises
    ------
    DataError
        ``data.empty``, ``data.encoding``, ``data.truncated``, ``data.unreadable`` or ``data.header``.
    """
    if path.stat().st_size == 0:
        raise DataError("data.empty", "the file is empty", where=path, next="check the file")
    kind = _suffix(path)
    if kind == ".parquet":
        with _parquet(path) as file:
            header = list(file.schema_arrow.names)
    elif kind in (".csv", ".tsv"):
        with _text(path) as file:
            header = _csv_header(path, file)
    else:
        seen: dict[str, None] = {}
        for record in _json_lines(path):
            seen.update(dict.fromkeys(record.cells))
            if record.line >= HEADER_ROWS:
                break
        header = list(seen)
    if not header or not any(header):
        raise DataError("data.empty", "the table has no columns", where=path, next="check the file")
    if twice := sorted({h for h in header if header.count(h) > 1}):
        raise DataError("data.header", "two columns have the same name", value=twice[0], where=path, next="rename one")
    return header


def records_of(path: Path) -> Iterator[Record]:
    """Rows in order; a row that cannot be read is a record with a problem, a file that cannot is a `DataError`."""
    kind = _suffix(path)
    if kind == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path) if kind in (".csv", ".tsv") else _json_lines(path)


@contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    """The file as UTF-8 text, a byte order mark taken off; errors name the line."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _truncated(path, f"the compressed file ends early or is damaged: {error}") from error


def _not_utf8(path: Path) -> DataError:
    """Where the first byte lies that is not UTF-8; read again, because the decoder only knows its block."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    guess = "cp1252"  # what Windows writes; Latin-1 is a part of it but for control characters
    position = 0
    with opener(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                guess = "utf16"
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                where = f"{path}, line {number}, byte {position + error.start}"
                value = f"byte 0x{line[error.start]:02x}"
                break
            position += len(line)
        else:
            where, value = str(path), "its last bytes"
    remedy = f"iconv -f {guess} -t utf8 {path.name} > utf8-{path.name}"
    return DataError("data.encoding", "the file is not UTF-8", value=value, where=where, next=remedy)


def _truncated(path: Path, what: str, where: str = "") -> DataError:
    return DataError("data.truncated", what, where=where or path, next="get the whole file again; nothing was added")


def _csv_header(path: Path, file: IO[str]) -> list[str]:
    first = file.readline()
    if not first.strip():
        raise DataError("data.empty", "the table has no header", where=path, next="check the file")
    if "\0" in first:
        raise _not_utf8(path)
    delimiter = _delimiter(path, first)
    file.seek(0)
    try:
        return [h.strip() for h in next(csv.reader(file, delimiter=delimiter, strict=True))]
    except csv.Error as error:
        raise DataError("data.header", f"the header cannot be read: {error}", where=path, next="mend line 1") from error


def _delimiter(path: Path, header: str) -> str:
    return "\t" if _suffix(path) == ".tsv" else max(DELIMITERS, key=header.count)


def _csv_rows(path: Path) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # long texts are refused by their own limit, with a reason
    with _text(path) as file:
        header = _csv_header(path, file)
        file.seek(0)
        delimiter = _delimiter(path, file.readline())
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        next(reader)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error):
                    what = "the file ends inside a quoted cell"
                    raise _truncated(path, what, f"{path}, line {line}") from error
                yield Record(line, problem=f"item.row: {error}")
                continue
            if not fields:
                continue  # an empty line is no row
            if len(fields) != len(header):
                yield Record(line, problem=f"item.row: {len(fields)} cells where the header has {len(header)}")
                continue
            yield Record(line, {h: v if v != "" else None for h, v in zip(header, fields, strict=True)})


def _json_lines(path: Path) -> Iterator[Record]:
    with _text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                if not line.endswith("\n"):
                    raise _truncated(path, "the last line is cut off", f"{path}, line {number}") from error
                yield Record(number, problem=f"item.row: not JSON: {error}")
                continue
            if isinstance(value, dict):
                yield Record(number, value)
            else:
                yield Record(number, problem=f"item.row: expected an object, got {type(value).__name__}")


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        detail = str(error).splitlines()[0][:160]
        raise DataError(
            "data.unreadable",
            f"the Parquet file is damaged or cut off: {detail}",
            where=path,
            next="get the whole file again; nothing was added",
        ) from error


def _parquet_rows(path: Path) -> Iterator[Record]:
    with _parquet(path) as file:
        line = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            names: Sequence[str] = batch.schema.names
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                line += 1
                yield Record(line, dict(zip(names, values, strict=True)))
