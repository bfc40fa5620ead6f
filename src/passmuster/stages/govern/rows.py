"""A source of raw items as a stream of rows, whatever its shape: a folder, a table, one file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, NotFoundError
from passmuster.modality.base import Modality

if TYPE_CHECKING:
    from passmuster.stages.govern.label_cells import LabelCells

GivenSplit = Literal["", "train", "reference", "test"]

SPLIT_WORDS: dict[str, GivenSplit] = {
    "train": "train", "training": "train", "val": "train", "valid": "train", "validation": "train", "dev": "train",
    "test": "test", "testing": "test", "eval": "test",
    "reference": "reference",
    "unlabeled": "", "unlabelled": "", "unsupervised": "", "pool": "", "": "",
}  # fmt: skip

HALF_A_PAIR = re.compile("[\ud800-\udfff]")  # JSON and Python may hold it, UTF-8 may not


class Encoded(bytes):
    """An image file that was written from pixels at hand; `named_by` tells those apart, whatever wrote the file."""

    named_by: bytes = b""


@dataclass(frozen=True)
class NoCell:
    """Stands where a value cannot be a cell of a table, and says why not; it matters only where its column is used."""

    reason: str


@dataclass(frozen=True)
class Row:
    """One raw item. `content` is the file to read, the bytes themselves, or None with a `problem` that says why not.

    `label` is None where there is none; `given_split` is "" where Muster may choose.
    """

    id: str
    source: str
    content: Path | bytes | None
    problem: str = ""
    label: str | None = None
    given_split: GivenSplit = ""
    subject: str = ""
    at: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A readable source. `rows` may be read more than once and gives the same rows each time.

    `labels` is a table of labels found beside the items; `notes` say how the source was understood.
    """

    name: str
    rows: Callable[[], Iterator[Row]]
    labels: Path | None = None
    notes: tuple[str, ...] = ()


def open_source(
    path: Path,
    modality: Modality,
    config: DataConfig,
    *,
    with_labels: bool,
    keyed: Callable[[bytes], str],
    labels: LabelCells | None = None,
) -> Source:
    """How `path` will be read; nothing is decoded yet.

    Parameters
    ----------
    with_labels : whether folder names and columns may give labels
    keyed : the project's keyed digest, which names rows that have no id
    labels : how cells of labels are read; as one class each when None

    Raises
    ------
    NotFoundError
        ``data.no_path``.
    DataError
        ``data.format`` for a file that is neither a table nor an item.
    """
    from passmuster.stages.govern.folders import open_folder
    from passmuster.stages.govern.label_cells import LabelCells
    from passmuster.stages.govern.tables import Tabular, is_table, open_table

    if not path.exists():
        raise NotFoundError("data.no_path", "there is no such file or folder", value=path, next="check the path")
    if path.is_dir():
        return open_folder(path, modality, with_labels=with_labels)
    if is_table(path):
        table, cells = Tabular.of_file(path), labels or LabelCells()
        return open_table(table, modality, config, with_labels=with_labels, keyed=keyed, labels=cells)
    if path.suffix.lower() == ".json":
        from passmuster.stages.govern.label_studio_items import open_tasks

        read = labels or LabelCells()
        if tasks := open_tasks(path, modality, config, with_labels=with_labels, keyed=keyed, labels=read):
            return tasks
    if path.suffix.lower() in modality.suffixes:
        row = Row(path.name, path.name, path)
        return Source(path.name, lambda: iter([row]))
    raise DataError(
        "data.format",
        f"not a file that holds {modality.name} items",
        value=path.name,
        limit=", ".join(sorted(modality.suffixes)) + ", .csv, .tsv, .parquet, .jsonl, exports of Label Studio in .json",
        next="convert it, or name a folder",
    )


def split_of(word: str, where: str) -> GivenSplit:
    """What a folder or column means by a split's name; "" leaves the choice to Muster.

    >>> split_of("Training", "")
    'train'
    """
    try:
        return SPLIT_WORDS[word.strip().lower()]
    except KeyError as error:
        raise DataError(
            "data.split",
            "this split is not known",
            value=word,
            limit=", ".join(w for w in SPLIT_WORDS if w),
            where=where,
            next="rename it, or name another column with --split-column",
        ) from error


def reason_of(error: DataError) -> str:
    """Why a row is quarantined, on one line that begins with the code.

    >>> reason_of(DataError("item.too_long", "the text is too long", value=9, limit=5))
    'item.too_long: the text is too long (value 9, limit 5)'
    """
    facts = [f"{n} {v}" for n, v in (("value", error.value), ("limit", error.limit)) if v is not None]
    return f"{error.code}: {error.what}" + (f" ({', '.join(facts)})" if facts else "")


def plain(value: Any) -> str | None:
    """A cell as text; None where it is missing (null, NaN, empty, or the word that NaN is written as).

    >>> plain(3.0), plain(float("nan")), plain(" spam "), plain(""), plain(True)
    ('3', None, 'spam', None, 'true')
    """
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    text = str(value).strip()
    return None if text in ("", "nan", "NaN") else text


def iso_time(value: Any) -> str:
    """A cell as ISO time; "" where it is missing.

    Raises
    ------
    ValueError
        When it is no ISO time.
    """
    text = plain(value)
    return "" if text is None else datetime.fromisoformat(text).isoformat()
