"""Exports of Label Studio as label rows: its full JSON, JSON-MIN and CSV, recognised by what is in them.

The choices of an annotation are read (the tag ``Choices``): one, or in a multi-label project any number, where an
annotation that was submitted without a choice says "none of the classes". A task may have several annotations: the
latest of each annotator is a row, in the order in which they were made, so that contradictions between people are kept
and the latest counts. Cancelled annotations and tasks without one are rows without a label; predictions are not labels.
How the file is read: `passmuster.stages.govern.label_studio_file`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from passmuster.core.digests import content_of
from passmuster.core.errors import DataError
from passmuster.core.label_sets import SINGLE
from passmuster.core.records import Item
from passmuster.modality.base import Modality
from passmuster.stages.govern.label_cells import BEGIN_ANEW, LabelCells
from passmuster.stages.govern.label_studio_file import Said, open_export
from passmuster.stages.govern.label_table import LabelRow
from passmuster.stages.govern.rows import plain
from passmuster.stages.govern.tables import USUAL
from passmuster.store.store import Store

UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what an upload puts before the file's own name


def read_label_studio(
    path: Path, store: Store, modality: Modality, items: Sequence[Item]
) -> tuple[list[LabelRow], str] | None:
    """Rows with the ids of `items`, and a line that accounts for the export; None when the file is none.

    A row is matched by a data field that holds an id or path, else by its text or its file's name. One that matches
    nothing keeps what it says, for the error that names it.

    Raises
    ------
    DataError
        Those of `open_export`; ``label_studio.choices`` for an annotation with more than one choice in a single-label
        project.
    """
    read = open_export(path, store.config.data)
    if read is None:
        return None
    kind, said, counts = read
    find = Finder.of(store, modality, items)
    cells = LabelCells.of(store.config)
    rows = []
    for one in sorted(said, key=lambda one: one.at):
        rows.append((one.at, LabelRow(find.id_of(one), label_of(one, cells), one.where, None, one.who)))
    standing = uncorrected(rows)
    n = len(rows) - len(standing)
    return standing, counts.note(kind) + (f"; corrected by the same person later: {n:,}" if n else "")


def uncorrected(rows: Sequence[tuple[str, LabelRow]]) -> list[LabelRow]:
    """Rows without those that their own author corrected: where all that a person said of an item has a time, only the
    latest stays. Two at the same time, or one without any, stay: nobody knows which of them counts."""
    latest: dict[tuple[str, str], str] = {}
    undated = {(row.id, row.who) for at, row in rows if row.label is not None and not at}
    for at, row in rows:
        if row.label is not None:
            latest[row.id, row.who] = at  # in order of time
    return [
        row for at, row in rows
        if row.label is None or (row.id, row.who) in undated or at == latest[row.id, row.who]
    ]  # fmt: skip


def label_of(one: Said, cells: LabelCells) -> str | None:
    """What an annotation says as a label; None where it says nothing."""
    if one.choices is None or (cells.task == SINGLE and not one.choices):
        return None
    if cells.task == SINGLE and len(one.choices) > 1:
        raise DataError(
            "label_studio.choices",
            "an annotation has more than one choice, and an item of a single-label project has one label",
            value=", ".join(one.choices[:5]),
            where=one.where,
            next=f"export a project with single choices; or {BEGIN_ANEW}",
        )
    if cells.task == SINGLE:
        return one.choices[0].strip() or None
    try:
        return cells.read(list(one.choices))
    except ValueError as error:
        raise DataError("label_studio.choices", str(error), where=one.where, next="rename the choice") from error


@dataclass(frozen=True)
class Finder:
    """Item ids by what an export may know of an item."""

    store: Store
    modality: Modality
    ids: frozenset[str]
    by_name: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_digest: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, modality: Modality, items: Sequence[Item]) -> Finder:
        names: dict[str, list[str]] = defaultdict(list)
        for item in items:
            names[PurePosixPath(item.id).name].append(item.id)
        digests = {item.digest: item.id for item in reversed(items)}  # of copies, the first
        return cls(store, modality, frozenset(i.id for i in items), {k: tuple(v) for k, v in names.items()}, digests)

    def id_of(self, one: Said) -> str:
        """The id of the item, or what the export says where none fits."""
        config = self.store.config.data
        named = (config.id_column,) if config.id_column else tuple(n for n in USUAL["id"] if n != "id" or one.own_id)
        values = [text for name in named if (text := plain(one.data.get(name))) is not None]
        if hit := next((value for value in values if value in self.ids), ""):
            return hit
        strings = [value for value in one.data.values() if isinstance(value, str) and value.strip()]
        for value in strings:
            if hit := self._by_path(value) or (self._by_text(value) if self.modality.name == "text" else ""):
                return hit
        return values[0] if values else (strings[0][:80] if strings else one.where)

    def _by_path(self, value: str) -> str:
        """By path or file name, with what Label Studio puts around them taken off."""
        parts = urlsplit(value)
        local = parse_qs(parts.query).get("d", [""])[0]
        path = (local or unquote(parts.path)).lstrip("/")
        while path:  # the longest end of the path that is an id
            if path in self.ids:
                return path
            path = path.partition("/")[2]
        name = PurePosixPath(local or unquote(parts.path)).name
        for tried in (name, UPLOADED.sub("", name)):
            if len(fits := self.by_name.get(tried, ())) == 1:
                return fits[0]
        return ""

    def _by_text(self, value: str) -> str:
        try:
            payload = self.modality.from_json(value, self.store.config.data)
        except DataError:
            return ""  # no text that could be an item
        return self.by_digest.get(self.store.keyed(content_of(payload)), "")
