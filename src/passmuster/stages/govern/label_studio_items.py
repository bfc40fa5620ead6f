"""An export of Label Studio as a source of items: the texts of its tasks, with the label that stands for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.modality.base import Modality
from passmuster.stages.govern.label_cells import LabelCells
from passmuster.stages.govern.label_studio import label_of, uncorrected
from passmuster.stages.govern.label_studio_file import Said, open_export
from passmuster.stages.govern.label_table import LabelRow, refuse_contradictions
from passmuster.stages.govern.rows import HALF_A_PAIR, Row, Source, plain
from passmuster.stages.govern.tables import USUAL, choose_column, content_of_cell

NAMELESS = (
    "label-studio"  # the name of the file has the time of the export in it, and the next one brings the same texts
)


def open_tasks(
    path: Path,
    modality: Modality,
    config: DataConfig,
    *,
    with_labels: bool,
    keyed: Callable[[bytes], str],
    labels: LabelCells,
) -> Source | None:
    """A JSON export as a source of texts; None when the file is none.

    A task without an id of its own is named by its text, as a row of a table is. There is room for one label of an
    item, so people who disagree are refused here; ``muster label`` keeps what each of them said.

    Raises
    ------
    DataError
        Those of `open_export`; ``data.modality`` for pictures, which are no part of an export; ``data.no_column`` where
        it is not clear which field holds the text; ``label.contradiction``.
    """
    read = open_export(path, config, any_kind=not with_labels)
    if read is None:
        return None
    kind, said, counts = read
    if modality.name != "text":
        raise DataError(
            "data.modality", "an export of Label Studio holds addresses of its pictures, not the pictures", where=path,
            next=f"muster add FOLDER-OF-PICTURES --unlabeled, then muster label {path}",
        )  # fmt: skip
    column = _text_column(said, config, path)
    tasks = _named(said, column, config, keyed)
    found = _labels(said, tasks, labels) if with_labels else {}
    rows: list[Row] = []
    for task, (identity, one) in tasks.items():
        value = one.data.get(column)
        if isinstance(value, str) and HALF_A_PAIR.search(value):
            content, problem = None, "item.encoding: half a surrogate pair"
        else:
            content, problem = content_of_cell(value, path.parent, modality)
        rows.append(Row(identity, f"{path.name}, task {task}", content, problem, found.get(identity)))
    notes = [counts.note(kind), f"columns: content = {column!r}"]
    if found:
        notes.append(f"who labelled is not kept; it is by: muster add {path} --unlabeled, then muster label {path}")
    return Source(path.name, lambda: iter(rows), None, tuple(notes))


def _text_column(said: list[Said], config: DataConfig, path: Path) -> str:
    header = list(dict.fromkeys(name for one in said for name in one.data))
    column = choose_column(header, config.text_column, USUAL["text"], path)
    texts = [name for name in header if any(isinstance(one.data.get(name), str) for one in said)]
    if not column and len(texts) != 1:
        raise DataError(
            "data.no_column", "it is not clear which field of the tasks holds the texts", value=", ".join(header),
            where=path, next=f"muster add {path} --text-column NAME",
        )  # fmt: skip
    return column or texts[0]


def _named(
    said: list[Said], column: str, config: DataConfig, keyed: Callable[[bytes], str]
) -> dict[str, tuple[str, Said]]:
    """By task: the id of its item, and one of its annotations."""
    names = (config.id_column,) if config.id_column else USUAL["id"]
    found: dict[str, tuple[str, Said]] = {}
    seen: Counter[str] = Counter()
    for one in said:
        if one.task in found:
            continue
        own = [text for name in names if one.own_id or name != "id" or config.id_column
               if (text := plain(one.data.get(name))) is not None]  # fmt: skip
        name = own[0] if own else f"{NAMELESS}#{keyed(str(one.data.get(column)).encode('utf-8', 'replace'))[:16]}"
        seen[name] += 1
        found[one.task] = (name if own or seen[name] == 1 else f"{name}-{seen[name]}", one)
    return found


def _labels(said: list[Said], tasks: Mapping[str, tuple[str, Said]], cells: LabelCells) -> dict[str, str]:
    """By id, the label that all who said something of an item agree on."""
    rows = [
        (one.at, LabelRow(tasks[one.task][0], label_of(one, cells), one.where, None, one.who))
        for one in sorted(said, key=lambda one: one.at)
    ]
    standing = uncorrected(rows)
    refuse_contradictions(standing, {i: row.id for i, row in enumerate(standing)}, one_each=True)
    return {row.id: row.label for row in standing if row.label is not None}
