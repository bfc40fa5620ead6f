"""The file that Label Studio exported, as annotations: its full JSON, JSON-MIN and CSV, recognised by what is in them.

The choices of an annotation are read (the tag ``Choices``). What else an annotation may hold (a rating, a taxonomy, a
region) is counted by its kind and told, because a label that goes missing in silence is worse than one more command.
The formats are described in Label Studio's documentation, "Export annotations" and "Label Studio JSON format of
annotated tasks"; JSON-MIN and CSV put the fields of the task's data, the name of each control and the facts about the
annotation side by side.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.core.table_files import header_of, is_table, records_of
from passmuster.stages.govern.rows import plain
from passmuster.stages.govern.tables import USUAL, choose_column

MAX_EXPORT_BYTES = 512 * 2**20  # read whole
LEAD_TIME = "lead_time"  # seconds, which no other tool's tables have under this name
FACTS = ("annotator", "annotation_id", LEAD_TIME)  # columns that every JSON-MIN and CSV export has
USUAL_CONTROLS = (*USUAL["label"], "choice", "sentiment", "taxonomy")  # names in Label Studio's own templates


@dataclass
class Counts:
    """What was seen besides labels."""

    n_tasks: int = 0
    n_annotations: int = 0
    n_cancelled: int = 0
    n_unanswered: int = 0
    n_predictions: int = 0
    other: Counter[str] = field(default_factory=Counter)  # results that are no choice, by kind

    def others(self) -> str:
        """Results that are not read, each kind with how many there are."""
        return ", ".join(f"{kind} {n:,}" for kind, n in self.other.most_common())

    def note(self, kind: str) -> str:
        """One line that accounts for the export."""
        return (
            f"Label Studio {kind}: {self.n_tasks:,} tasks, {self.n_annotations:,} annotations, of which "
            f"{self.n_cancelled:,} cancelled; tasks without an annotation: {self.n_unanswered:,}; predictions, which "
            f"are not labels: {self.n_predictions:,}"
            + (f"; results that are no choices, and are not read: {self.others()}" if self.other else "")
        )


@dataclass(frozen=True)
class Said:
    """One annotation, or a task without one: the task's data, the choices, who said so and when.

    `choices` is None for a task without an annotation and for a cancelled one. `where` names it in errors; `own_id`
    says whether a field `id` of the data is the user's, and not the number that Label Studio gave the `task`.
    """

    data: Mapping[str, Any]
    choices: tuple[str, ...] | None
    who: str
    at: str
    where: str
    own_id: bool
    task: str


def open_export(path: Path, config: DataConfig, *, any_kind: bool = False) -> tuple[str, list[Said], Counts] | None:
    """Which form an export has, its annotations, and what else was seen; None when the file is no export.

    With `any_kind` no choice is needed: only the tasks are of interest.

    Raises
    ------
    DataError
        ``label_studio.json``, ``label_studio.control`` when it cannot be told which control holds the label,
        ``label_studio.kinds`` where there are annotations and none of them holds a choice.
    """
    read = _open(path, config)
    if read is not None and not any_kind:
        _check_kinds(*read[1:], path)
    return read


def _check_kinds(said: Sequence[Said], counts: Counts, path: Path) -> None:
    if counts.other and not any(one.choices for one in said):
        raise DataError(
            "label_studio.kinds", "no annotation holds a choice, and of an annotation only the choice is read",
            value=counts.others(), limit="Choices", where=path,
            next="write them to a table with the columns id and label, then muster label TABLE.csv",
        )  # fmt: skip


def _open(path: Path, config: DataConfig) -> tuple[str, list[Said], Counts] | None:
    counts = Counts()
    if path.suffix.lower() == ".json":
        content = _json(path)
        if isinstance(content, dict) and isinstance(content.get("tasks"), list):
            content = content["tasks"]
        records = content if isinstance(content, list) else [content]
        if not records or not all(isinstance(record, dict) for record in records):
            return None
        if all(isinstance(record.get("data"), dict) for record in records) and any(
            "annotations" in record for record in records
        ):
            _check_shape(records, path)
            return "JSON", list(_tasks(records, path, config.label_column, counts)), counts
        if all(_has_facts(record) for record in records):
            numbered = [(f"{path.name}, entry {i}", record) for i, record in enumerate(records, start=1)]
            return "JSON-MIN", list(_flat(numbered, path, config, counts)), counts
        return None
    if not is_table(path) or not _has_facts(header_of(path)):
        return None
    lines = []
    for record in records_of(path):
        where = f"{path.name}:{record.line}"
        if record.problem:
            raise DataError("label.row", f"a row cannot be used: {record.problem}", where=where, next="mend the row")
        lines.append((where, record.cells))
    return "CSV", list(_flat(lines, path, config, counts)), counts


def _has_facts(names: Collection[str]) -> bool:
    """Whether these columns are those of a flat export: one of the facts may be missing, but not the time taken."""
    return LEAD_TIME in names and sum(name in names for name in FACTS) >= len(FACTS) - 1


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
        number = str(task.get("id", i))
        where = f"{path.name}, task {number}"
        counts.n_tasks += 1
        counts.n_predictions += len(task.get("predictions") or [])
        annotations = task.get("annotations") or []
        if not annotations:
            counts.n_unanswered += 1
            yield Said(task["data"], None, "", "", where, True, number)
        for annotation in annotations:
            counts.n_annotations += 1
            cancelled = bool(annotation.get("was_cancelled"))
            counts.n_cancelled += cancelled
            read = _choices(annotation)
            counts.other.update(_kind(r) for r in annotation.get("result") or [] if r not in read)
            found = [r["value"]["choices"] for r in read if r.get("from_name") == control]
            choices = None if cancelled else tuple(str(c) for some in found for c in some)
            at = str(annotation.get("updated_at") or annotation.get("created_at") or "")
            yield Said(task["data"], choices, _who(annotation.get("completed_by")), at, where, True, number)


def _check_shape(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    for i, task in enumerate(records, start=1):
        annotations = task.get("annotations") or []
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


def _kind(result: Mapping[str, Any]) -> str:
    return str(result.get("type") or "of no kind")[:40]


def _control_of(records: Sequence[Mapping[str, Any]], path: Path, named: str) -> str:
    """The control whose choices are the labels."""
    annotations = [annotation for task in records for annotation in task.get("annotations") or []]
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
        n_other = counts.other.total()
        choices = None if cancelled else _flat_choices(record.get(control), counts.other)
        if not choices and counts.other.total() > n_other:  # another kind of answer, not the answer "none"
            choices = None
        at = str(record.get("updated_at") or record.get("created_at") or "")
        yield Said(data, choices, _who(record.get("annotator")), at, where, False, str(record.get("id", where)))


def _flat_choices(value: Any, other: Counter[str]) -> tuple[str, ...]:
    """One choice stands as it is, more than one as ``{"choices": [...]}``, in CSV as that text; `other` is counted."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(value)
        except ValueError:
            return (value,)
    if isinstance(value, dict):
        if "choices" not in value:
            named = [name for name, held in value.items() if isinstance(held, list)] or list(value)
            other[str(named[0] if named else "of no kind")[:40]] += 1
        value = value.get("choices", [])
    if isinstance(value, list):
        return tuple(choice for part in value for choice in _flat_choices(part, other))
    text = plain(value)
    return () if text is None else (text,)


def _who(value: Any) -> str:
    """The annotator's e-mail address, else a number by which Label Studio knows them."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    text = plain(value) or ""
    return f"annotator {text}" if text.isdecimal() else text
