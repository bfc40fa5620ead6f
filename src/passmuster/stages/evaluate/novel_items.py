"""Read items that a user names as strange: a folder of files, a table of texts, or a table of paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, MusterError, NotFoundError, UsageError
from passmuster.core.progress import Progress
from passmuster.core.records import Payload
from passmuster.core.table_files import TABLES, header_of, is_table, records_of
from passmuster.modality.base import Modality

TEXT_COLUMNS = ("text", "content", "body", "message", "document", "sentence", "review")
UNNAMED = "novel"
TAKEN = frozenset({"test"})  # the ordinary items are called so
PATH_COLUMNS = ("path", "file", "filename", "image")


@dataclass(frozen=True)
class Novel:
    """Strange items, and one line for each that could not be read. `name` is the last part of the path.

    `title` is what the set is called in slices and tables: as it was named, or `UNNAMED`.
    """

    name: str
    payloads: tuple[Payload, ...]
    problems: tuple[str, ...]
    title: str = UNNAMED


Named = Path | str | Mapping[str, Path | str] | Sequence[Path | str]


def named_sets(given: Named | None) -> dict[str, Path]:
    """Sets of strange items by their names: of ``NAME=PATH``, of a mapping, or of paths alone.

    A single bare path is `UNNAMED`; of several, each is called by the last part of its path.

    Raises
    ------
    UsageError
        ``novel.name`` for a name that is empty, taken, used twice or has a blank in it.

    >>> named_sets(["near=a.csv", "b/far.csv"])
    {'near': PosixPath('a.csv'), 'far': PosixPath('b/far.csv')}
    >>> named_sets("strange.csv")
    {'novel': PosixPath('strange.csv')}
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs = [(str(name), Path(path)) for name, path in given.items()]
    else:
        several = [given] if isinstance(given, (str, Path)) else list(given)
        pairs = [_pair(entry, alone=len(several) == 1) for entry in several]
    found: dict[str, Path] = {}
    for name, path in pairs:
        if not name or name in found or name in TAKEN or any(c.isspace() for c in name):
            why = "is used twice" if name in found else "stands for something else" if name in TAKEN else "is none"
            raise UsageError(
                "novel.name", f"the name of a set of strange items {why}", value=name, where=path,
                limit="one word, another for each set", next="--novel near=PATH --novel far=PATH",
            )  # fmt: skip
        found[name] = path
    return found


def _pair(entry: Path | str, *, alone: bool) -> tuple[str, Path]:
    name, equals, path = str(entry).partition("=")
    if equals and "/" not in name and not Path(entry).exists():  # a path may hold the sign itself
        return name, Path(path)
    return UNNAMED if alone else "-".join(Path(entry).stem.split()), Path(entry)


def read_novel(path: Path, modality: Modality, config: DataConfig, *, title: str = UNNAMED) -> Novel:
    """The items at `path`.

    A folder is searched for files of the modality; a table (CSV, TSV, Parquet, JSON lines) has a column of texts or of
    paths relative to it. A single file of the modality is one item.

    Raises
    ------
    NotFoundError
        ``novel.none`` when the path does not exist.
    DataError
        ``novel.table``, ``novel.column`` or ``novel.empty``.
    """
    if not path.exists():
        raise NotFoundError("novel.none", "there is nothing at the path of novel items", where=path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in modality.suffixes)
        contents: list[tuple[str, bytes | Path]] = [(p.relative_to(path).as_posix(), p) for p in files]
    elif path.suffix.lower() in modality.suffixes:
        contents = [(path.name, path)]
    else:
        contents = read_table(path, modality, config)
    payloads: list[Payload] = []
    problems: list[str] = []
    for name, content in contents:
        try:
            data = content.read_bytes() if isinstance(content, Path) else content
            payloads.append(modality.decode(data, config))
        except (MusterError, OSError) as error:
            problems.append(f"{name}: {error}")
    if not payloads:
        raise DataError(
            "novel.empty", "no novel item could be read", value=f"{len(problems)} unreadable", where=path,
            limit=", ".join(sorted(modality.suffixes)),
        )  # fmt: skip
    return Novel(path.resolve().name, tuple(payloads), tuple(problems), title)


def read_novel_sets(
    given: Named | None, modality: Modality, config: DataConfig, progress: Progress
) -> list[Novel]:  # fmt: skip
    """Every set of `named_sets`, read; how many items could be is said."""
    found = []
    for title, path in named_sets(given).items():
        novel = read_novel(path, modality, config, title=title)
        which = "" if title == UNNAMED else f" of {title}"
        progress.say(f"{len(novel.payloads):,} strange items{which} read, {len(novel.problems):,} could not be")
        found.append(novel)
    return found


def read_table(path: Path, modality: Modality, config: DataConfig) -> list[tuple[str, bytes | Path]]:
    """Name and content, or the file that holds it, of every row."""
    if not is_table(path):
        raise DataError(
            "novel.table", "not a folder, an item or a table", where=path, limit=", ".join(TABLES), value=path.suffix
        )
    header = header_of(path)
    wanted = (config.text_column,) if config.text_column else TEXT_COLUMNS if modality.name == "text" else PATH_COLUMNS
    column = next((name for name in header if name.lower() in wanted or name in wanted), None)
    if column is None:
        raise DataError(
            "novel.column", "the table has no column of items", value=", ".join(header),
            limit=", ".join(wanted), where=path, next="rename the column, or set data.text_column",
        )  # fmt: skip
    rows = [(f"row {i}", cells[column]) for i, cells in enumerate(cells_of(path, header), start=1)]
    if modality.name == "text":
        return [(name, b"" if value is None else str(value).encode()) for name, value in rows]
    return [(name, path.parent / str(value)) for name, value in rows]


def cells_of(path: Path, header: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The cells of every row by the names in `header`, None where one is empty.

    Raises
    ------
    DataError
        ``novel.table`` for a row that cannot be read, and those of `passmuster.core.table_files`.
    """
    for record in records_of(path):
        if record.problem:
            raise DataError(
                "novel.table", f"a row cannot be read: {record.problem}", where=f"{path.name}:{record.line}"
            )
        yield {name: record.cells.get(name) for name in header}
