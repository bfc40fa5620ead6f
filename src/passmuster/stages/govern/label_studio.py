"""Exports of Label Studio as label rows: its full JSON, JSON-MIN and CSV, recognised by what is in them.

The choices of an annotation are read (the tag ``Choices``): one, or in a multi-label project any number, where an
annotation that was submitted without a choice says "none of the classes". A task may have several annotations: the
latest of each annotator is a row, in the order in which they were made, so that contradictions between people are kept
and the latest counts. Cancelled annotations and tasks without one are rows without a label; predictions are not labels.
The formats are described in Label Studio's documentation, "Export annotations" and "Label Studio JSON format of
annotated tasks"; JSON-MIN and CSV put the fields of the task's data, the name of each control and the facts about the
annotation side by side.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from passmuster.core.config import DataConfig
from passmuster.core.digests import content_of
from passmuster.core.errors import DataError
from passmuster.core.label_sets import SINGLE
from passmuster.core.records import Item
from passmuster.core.table_files import header_of, is_table, records_of
from passmuster.modality.base import Modality
from passmuster.stages.govern.label_cells import BEGIN_ANEW, LabelCells
from passmuster.stages.govern.label_table import LabelRow
from passmuster.stages.govern.rows import plain
from passmuster.stages.govern.tables import USUAL, choose_column
from passmuster.store.store import Store

MAX_EXPORT_BYTES = 512 * 2**20  # read whole
FACTS = ("annotator", "annotation_id", "lead_time")  # columns that every JSON-MIN and CSV export has
USUAL_CONTROLS = (*USUAL["label"], "choice", "sentiment", "taxonomy")  # names in Label Studio's own templates
UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what an upload puts before the file's own name


@dataclass
class Counts:
    """What was seen besides labels."""

    n_tasks: int = 0
    n_annotations: int = 0
    n_cancelled: int = 0
    n_unanswered: int = 0
    n_predictions: int = 0

    def note(self, kind: str) -> str:
        """One line that accounts for the export."""
        return (
            f"Label Studio {kind}: {self.n_tasks:,} tasks, {self.n_annotations:,} annotations, of which "
            f"{self.n_cancelled:,} cancelled; tasks without an annotation: {self.n_unanswered:,}; predictions, which "
            f"are not labels: {self.n_predictions:,}"
        )


@dataclass(frozen=True)
class Said:
    """One annotation, or a task without one: the task's data, the choices, who said so and when.

    `choices` is None for a task without an annotation and for a cancelled one. `where` names it in errors; `own_id`
    says whether a field `id` of the data is the user's, and not the number that Label Studio gave the task.
    """

    data: Mapping[str, Any]
    choices: tuple[str, ...] | None
    who: str
    at: str
    where: str
    own_id: bool


def read_label_studio(
    path: Path, store: Store, modality: Modality, items: Sequence[Item]
) -> tuple[list[LabelRow], str] | None:
    """Rows with the ids of `items`, and a line that accounts for the export; None when the file is none.

    A row is matched by a data field that holds an id or path, else by its text or its file's name. One that matches
    nothing keeps what it says, for the error that names it.

    Raises
    ------
    DataError
        ``label_studio.json``, ``label_studio.control`` when it cannot be told which control holds the label,
        ``label_studio.choices`` for an annotation with more than one choice in a single-label project.
    """
    read = _open(path, store.config.data)
    if read is None:
        return None
    kind, said, counts = read
    find = Finder.of(store, modality, items)
    cells = LabelCells.of(store.config)
    rows = []
    for one in sorted(said, key=lambda one: one.at):
        rows.append((one.at, LabelRow(find.id_of(one), _label(one, cells), one.where, None, one.who)))
    standing = _uncorrected(rows)
    n = len(rows) - len(standing)
    return standing, counts.note(kind) + (f"; corrected by the same person later: {n:,}" if n else "")


def _uncorrected(rows: Sequence[tuple[str, LabelRow]]) -> list[LabelRow]:
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


def _label(one: Said, cells: LabelCells) -> str | None:
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


def _open(path: Path, config: DataConfig) -> tuple[str, list[Said], Counts] | None:
    counts = Counts()
    if path.suffix.lower() == ".json":
        content = _json(path)
        records = content if isinstance(content, list) else [content]
        if not records or not all(isinstance(record, dict) for record in records):
            return None
        if all(isinstance(record.get("data"), dict) and "annotations" in record for record in records):
            _check_shape(records, path)
            return "JSON", list(_tasks(records, path, config.label_column, counts)), counts
        if all(name in record for record in records for name in FACTS):
            numbered = [(f"{path.name}, entry {i}", record) for i, record in enumerate(records, start=1)]
            return "JSON-MIN", list(_flat(numbered, path, config, counts)), counts
        return None
    if not is_table(path) or not set(FACTS) <= set(header_of(path)):
        return None
    lines = []
    for record in records_of(path):
        where = f"{path.name}:{record.line}"
        if record.problem:
            raise DataError("label.row", f"a row cannot be used: {record.problem}", where=where, next="mend the row")
        lines.append((where, record.cells))
    return "CSV", list(_flat(lines, path, config, counts)), counts


def _json(path: Path) -> Any:
    n_bytes = path.stat().st_size
    if n_bytes > MAX_EXPORT_BYTES:
        raise DataError(
            "label_studio.json", "the export is too large", value=n_bytes, limit=MAX_EXPORT_BYTES, where=path,
            next="export it in parts",
        )  # fmt: skip
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError("label_studio.json", f"this is no JSON: {error}", where=path, next="export it again") from error


def _tasks(records: Sequence[Mapping[str, Any]], path: Path, control: str, counts: Counts) -> Iterator[Said]:
    """The full JSON: tasks with their annotations, each with its results."""
    control = _control_of(records, path, control)
    for i, task in enumerate(records, start=1):
        where = f"{path.name}, task {task.get('id', i)}"
        counts.n_tasks += 1
        counts.n_predictions += len(task.get("predictions") or [])
        annotations = task["annotations"] or []
        if not annotations:
            counts.n_unanswered += 1
            yield Said(task["data"], None, "", "", where, own_id=True)
        for annotation in annotations:
            counts.n_annotations += 1
            cancelled = bool(annotation.get("was_cancelled"))
            counts.n_cancelled += cancelled
            found = [r["value"]["choices"] for r in _choices(annotation) if r.get("from_name") == control]
            choices = None if cancelled else tuple(str(c) for some in found for c in some)
            at = str(annotation.get("updated_at") or annotation.get("created_at") or "")
            yield Said(task["data"], choices, _who(annotation.get("completed_by")), at, where, own_id=True)


def _check_shape(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    for i, task in enumerate(records, start=1):
        annotations = task["annotations"] or []
        whole = isinstance(annotations, list) and all(
            isinstance(a, dict) and all(isinstance(r, dict) for r in a.get("result") or []) for a in annotations
        )
        if not whole:
            where = f"{path.name}, task {task.get('id', i)}"
            raise DataError(
                "label_studio.json", "its annotations are no list of results", where=where, next="export again"
            )


def _choices(annotation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    results = annotation.get("result") or []
    chosen = [r for r in results if r.get("type") == "choices" and isinstance(r.get("value"), dict)]
    return [r for r in chosen if isinstance(r["value"].get("choices"), list)]


def _control_of(records: Sequence[Mapping[str, Any]], path: Path, named: str) -> str:
    """The control whose choices are the labels."""
    annotations = [annotation for task in records for annotation in task["annotations"] or []]
    controls = sorted({str(result.get("from_name")) for one in annotations for result in _choices(one)})
    if named in controls or (not named and len(controls) <= 1):
        return named or (controls[0] if controls else "")
    raise DataError(
        "label_studio.control",
        f"there is no control named {named!r}" if named else "more than one control has choices",
        limit=", ".join(controls) or "no control has choices",
        where=path,
        next=f"name it with --label-column{f' {controls[0]}' if controls else ''}",
    )


def _flat(
    records: Sequence[tuple[str, Mapping[str, Any]]], path: Path, config: DataConfig, counts: Counts
) -> Iterator[Said]:
    """JSON-MIN and CSV: an annotation in each record, data and control side by side."""
    header = list(dict.fromkeys(name for _, record in records for name in record))
    control = choose_column(header, config.label_column, USUAL_CONTROLS, path)
    if not control:
        raise DataError(
            "label_studio.control", "it cannot be told which column holds the choice", limit=", ".join(header),
            where=path, next="name it with --label-column",
        )  # fmt: skip
    known = {control, *FACTS, "id", "created_at", "updated_at", "was_cancelled", "agreement"}
    tasks = set()
    for where, record in records:
        cancelled = str(record.get("was_cancelled", "")).strip().lower() in ("true", "1")
        tasks.add(str(record.get("id", where)))
        counts.n_annotations += 1
        counts.n_cancelled += cancelled
        counts.n_tasks = len(tasks)
        data = {name: value for name, value in record.items() if name not in known or name == config.id_column}
        choices = None if cancelled else _flat_choices(record.get(control))
        at = str(record.get("updated_at") or record.get("created_at") or "")
        yield Said(data, choices, _who(record.get("annotator")), at, where, own_id=False)


def _flat_choices(value: Any) -> tuple[str, ...]:
    """One choice stands as it is; more than one as ``{"choices": [...]}``, in CSV as that text."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(value)
        except ValueError:
            return (value,)
    if isinstance(value, dict):
        value = value.get("choices", [])
    if isinstance(value, list):
        return tuple(choice for part in value for choice in _flat_choices(part))
    text = plain(value)
    return () if text is None else (text,)


def _who(value: Any) -> str:
    """The annotator's e-mail address, else a number by which Label Studio knows them."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    text = plain(value) or ""
    return f"annotator {text}" if text.isdecimal() else text
