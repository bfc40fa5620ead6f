"""Read the team's own behaviour tests: one row of a spreadsheet each, every row checked before the model is asked.

After CheckList (Ribeiro et al. 2020): a minimum functionality test (MFT) says what is expected of an item; an
invariance test (INV) gives an item and a changed one that must be answered alike; a directional test (DIR) says of
which class the probability must not fall, or not rise, when the item changes.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from passmuster.core.config import DataConfig
from passmuster.core.digests import sha256_hex
from passmuster.core.errors import DataError, MusterError, NotFoundError
from passmuster.core.label_sets import MULTI, NO_CLASS, join_classes, split_label
from passmuster.core.records import Payload
from passmuster.modality.base import Modality

COLUMNS = ("test", "kind", "item", "changed", "expected", "direction", "tolerance", "note")
NEEDED = ("test", "kind", "item")
KINDS = ("MFT", "INV", "DIR")
DIRECTIONS = ("not lower", "not higher")
TOLERANCE = 0.1  # of a probability, by which it may still go the wrong way (as in CheckList's own suites)
SHOWN = 20  # problems in one message
HOW = "docs/how-to/behaviour.md"


@dataclass(frozen=True)
class Row:
    """One test as it was written. `row` is its number in the spreadsheet, where the header is row 1.

    `expected` is a label (MFT), a class (DIR) or "" (INV); `changed` is None for MFT.
    """

    row: int
    test: str
    kind: str
    item: Payload
    changed: Payload | None = None
    expected: str = ""
    direction: str = ""
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Behaviour:
    """Every row of a file, in order, and the SHA-256 of its bytes."""

    name: str
    sha256: str
    rows: tuple[Row, ...]


def read_behaviour(
    path: Path, modality: Modality, config: DataConfig, classes: Sequence[str], task: str
) -> Behaviour:  # fmt: skip
    """The tests in a CSV or TSV file; images are named by their path from the file's folder.

    Raises
    ------
    NotFoundError
        ``behaviour.none`` when there is no file.
    DataError
        ``behaviour.file`` when it is no table with the columns needed; ``behaviour.rows`` naming row and column of
        everything that cannot be used.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(
            "behaviour.none", f"the behaviour tests cannot be read: {error.strerror}", where=path,
            limit="[evaluate] behaviour", next=f"write it ({HOW}), or mend the path",
        ) from error  # fmt: skip
    header, records = _table(data, path)
    problems: list[str] = []
    rows = []
    reader = _Reader(path.parent, modality, config, tuple(classes), task)
    for number, cells in records:
        found = [f"row {number}: {len(cells)} cells for {len(header)} columns"] if len(cells) > len(header) else []
        named = {name: cell.strip() for name, cell in zip(header, cells)}
        row = reader.read(number, named, found)
        problems += found
        if row is not None and not found:
            rows.append(row)
    if problems:
        more = f" … and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
        raise DataError(
            "behaviour.rows", f"there are rows that cannot be used. {'; '.join(problems[:SHOWN])}{more}",
            value=f"{len(problems):,} of them in {len(records):,} rows", where=path, next=f"mend them ({HOW})",
        )  # fmt: skip
    if not rows:
        raise DataError("behaviour.file", "there is no test in it", where=path, next=f"write one ({HOW})")
    return Behaviour(path.name, sha256_hex(data), tuple(rows))


def _table(data: bytes, path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and each row that is not blank with its number in the spreadsheet."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "behaviour.file", f"it is not UTF-8 at byte {error.start}", where=path, next="save it as CSV UTF-8"
        ) from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise DataError("behaviour.file", f"it is no CSV: {error}", where=path) from error
    header = [name.strip().lower() for name in records[0]] if records else []
    unknown = [name for name in header if name not in COLUMNS]
    missing = [name for name in NEEDED if name not in header]
    if unknown or missing or len(set(header)) < len(header):
        what = f"no column {missing[0]!r}" if missing else f"unknown column {unknown[0]!r}" if unknown else "one twice"
        raise DataError(
            "behaviour.file", f"the columns are not those of behaviour tests: {what}", value=", ".join(header),
            limit=", ".join(COLUMNS), where=path, next=HOW,
        )  # fmt: skip
    return header, [(i, r) for i, r in enumerate(records[1:], start=2) if any(cell.strip() for cell in r)]


_Wrong = Callable[[str, str], None]  # takes a column, and what is wrong with the row's cell there


@dataclass(frozen=True)
class _Reader:
    folder: Path
    modality: Modality
    config: DataConfig
    classes: tuple[str, ...]
    task: str

    def read(self, number: int, cells: dict[str, str], problems: list[str]) -> Row | None:
        """One row, or None; what is wrong with it is added to `problems`."""

        def wrong(column: str, what: str) -> None:
            problems.append(f"row {number}, column {column}: {what}")

        def cell(column: str) -> str:
            return cells.get(column, "")

        kind = cell("kind").upper()
        if not cell("test"):
            wrong("test", "empty; name what is tested")
        if kind not in KINDS:
            wrong("kind", f"{cell('kind')!r} is none of {', '.join(KINDS)}")
            return None
        item = self._payload("item", cell("item"), wrong)
        changed = self._payload("changed", cell("changed"), wrong) if kind != "MFT" else None
        expected, direction, tolerance = "", "", TOLERANCE
        for column, kinds in (("changed", "INV, DIR"), ("expected", "MFT, DIR"), ("direction", "DIR")):
            if cell(column) and kind not in kinds:
                wrong(column, f"{cell(column)!r} says nothing in a row of kind {kind}; it is for {kinds}")
        if kind in ("MFT", "DIR"):
            expected = self._label(cell("expected"), kind, wrong)
        if kind == "DIR":
            direction = cell("direction").lower()
            if direction not in DIRECTIONS:
                wrong("direction", f"{cell('direction')!r} is neither {' nor '.join(map(repr, DIRECTIONS))}")
            tolerance = self._tolerance(cell("tolerance"), wrong)
        elif cell("tolerance"):
            wrong("tolerance", f"{cell('tolerance')!r} says nothing in a row of kind {kind}; it is for DIR")
        if item is None or problems:
            return None
        return Row(number, cell("test"), kind, item, changed, expected, direction, tolerance)

    def _payload(self, column: str, cell: str, wrong: _Wrong) -> Payload | None:
        if not cell:
            wrong(column, "empty")
            return None
        try:
            data = cell.encode() if self.modality.name == "text" else (self.folder / cell).read_bytes()
            return self.modality.decode(data, self.config)
        except OSError as error:
            wrong(column, f"{cell!r} cannot be read: {error.strerror}")
        except MusterError as error:
            wrong(column, f"{cell[:40]!r}: {error.what}")
        return None

    def _label(self, cell: str, kind: str, wrong: _Wrong) -> str:
        several = self.task == MULTI and kind == "MFT"
        names = [cell]
        if several:
            parts = [part.strip() for part in cell.split(self.config.label_separator) if part.strip()]
            names = list(split_label(cell)) if cell == NO_CLASS else parts
        if not cell:
            wrong("expected", "empty; name a class")
        for name in names if cell else ():
            if name not in self.classes:
                near = difflib.get_close_matches(name, self.classes, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.classes[:10])}"
                wrong("expected", f"the model has no class {name!r}; {hint}")
        return join_classes(names) if several else cell

    def _tolerance(self, cell: str, wrong: _Wrong) -> float:
        try:
            value = float(cell.replace(",", ".")) if cell else TOLERANCE
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            wrong("tolerance", f"{cell!r} is no number from 0 to 1")
        return value
