"""Read items that a user names to compare two models on: a folder, a table of texts or paths, or one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, MusterError, NotFoundError
from passmuster.core.label_sets import MULTI, Task, join_classes
from passmuster.core.records import Payload
from passmuster.core.table_files import header_of, is_table
from passmuster.modality.base import Modality
from passmuster.stages.evaluate.novel_items import cells_of, read_table

LABEL_COLUMNS = ("label", "class", "category", "target")


@dataclass(frozen=True)
class Named:
    """Items with their names; a label where a table has one, else None. `problems` has a line for each unreadable."""

    names: tuple[str, ...]
    payloads: tuple[Payload, ...]
    labels: tuple[str | None, ...]
    problems: tuple[str, ...]


def read_named(path: Path, modality: Modality, config: DataConfig, *, task: Task) -> Named:
    """The items at `path`, in order.

    Raises
    ------
    NotFoundError
        ``items.none`` when the path does not exist.
    DataError
        ``items.empty``, and those of `read_table`.
    """
    if not path.exists():
        raise NotFoundError("items.none", "there is nothing at the path of items", where=path)
    labels: list[str | None] = []
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in modality.suffixes)
        contents: list[tuple[str, bytes | Path]] = [(p.relative_to(path).as_posix(), p) for p in files]
    elif path.suffix.lower() in modality.suffixes and not is_table(path):
        contents = [(path.name, path)]
    else:
        contents = read_table(path, modality, config)
        labels = labels_of_table(path, config, task)
        ids = ids_of_table(path, config)
        contents = [(own, content) for own, (_, content) in zip(ids, contents, strict=True)] if ids else contents
    labels = labels or [None] * len(contents)
    names, payloads, known, problems = [], [], [], []
    for (name, content), label in zip(contents, labels, strict=True):
        try:
            data = content.read_bytes() if isinstance(content, Path) else content
            payloads.append(modality.decode(data, config))
        except (MusterError, OSError) as error:
            problems.append(f"{name}: {error}")
            continue
        names.append(name)
        known.append(label)
    if not payloads:
        raise DataError(
            "items.empty", "no item could be read", value=f"{len(problems)} unreadable", where=path,
            limit=", ".join(sorted(modality.suffixes)),
        )  # fmt: skip
    return Named(tuple(names), tuple(payloads), tuple(known), tuple(problems))


def labels_of_table(path: Path, config: DataConfig, task: Task) -> list[str | None]:
    """The label of every row, None where its cell is empty; nothing when no column of labels is there."""
    header = header_of(path)
    wanted = (config.label_column,) if config.label_column else LABEL_COLUMNS
    column = next((name for name in header if name.lower() in wanted or name in wanted), None)
    if column is None:
        return []
    return [as_label(cells[column], config, task) for cells in cells_of(path, header)]


def ids_of_table(path: Path, config: DataConfig) -> list[str]:
    """The id of every row; nothing where no column has one for each, or one comes twice."""
    header = header_of(path)
    wanted = config.id_column if config.id_column in header else "id"
    column = next((name for name in header if name.lower() == wanted.lower()), None)
    if column is None:
        return []
    found = ["" if cells[column] is None else str(cells[column]).strip() for cells in cells_of(path, header)]
    return found if all(found) and len(set(found)) == len(found) else []


def as_label(value: object, config: DataConfig, task: Task) -> str | None:
    """A cell as a label; one of several classes is read as `muster add` reads it.

    >>> as_label(" late; broken ", DataConfig(), "multi-label"), as_label("", DataConfig(), "single-label")
    ('["broken","late"]', None)
    """
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if task != MULTI:
        return text
    members = [part.strip() for part in text.split(config.label_separator)]
    return join_classes(part for part in members if part)
