"""Labels that are at hand in Python, as the rows of a label table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passmuster.core.config import Config, DataConfig
from passmuster.core.errors import DataError
from passmuster.modality.find import modalities
from passmuster.stages.govern.label_cells import LabelCells
from passmuster.stages.govern.label_table import LabelRow, bad_row, label_cell, role_cell, weight_cell
from passmuster.stages.govern.rows import plain, reason_of
from passmuster.stages.govern.tables import USUAL, choose_column
from passmuster.stages.govern.values import cell_of, rows_of

SHAPES = 'a mapping of id to label, pairs of id and label, mappings with "id" and "label", or the path of a table'


def label_rows(given: Any, config: Config) -> list[LabelRow]:
    """Rows of labels that are at hand as values, each read as the cells of a table are.

    Parameters
    ----------
    given : mapping, iterable or data frame
        Item id to label (of a multi-label project: to its classes); or pairs of those; or mappings with ``id``,
        ``label`` and, where they say, ``role``, ``who`` and ``weight``.

    Raises
    ------
    UsageError
        ``label.values`` for what is none of these.
    DataError
        ``label.row`` and ``label.role``, naming the row.
    """
    cells, data = LabelCells.of(config), config.data
    pairs = given.items() if isinstance(given, Mapping) else rows_of(given, "label.values", SHAPES)
    rows = []
    for number, said in enumerate(pairs):
        where = f"labels[{number}]"
        if isinstance(said, Mapping):
            more = said
            header = [name for name in said if isinstance(name, str)]
            id_column = choose_column(header, "", (data.id_column, *USUAL["id"], *USUAL["path"]), where)
            label_column = choose_column(header, "", (data.label_column, *USUAL["label"]), where)
            identity, label = said.get(id_column), said.get(label_column)
            if not (id_column and label_column):
                raise bad_row(f"it has no {'label' if id_column else 'id'}, but {', '.join(header)}", where)
        elif isinstance(said, (tuple, list)) and len(said) == 2:
            more, (identity, label) = {}, said
            where = f"labels[{identity!r}]" if isinstance(given, Mapping) else where
        else:
            raise bad_row(f"a pair of id and label was expected, not {said!r:.60}", where, f"give {SHAPES}")
        name = identity if isinstance(identity, str) else plain(_plain_cell(identity, data, where))
        if not name:
            raise bad_row("the id is missing", where)
        rows.append(
            LabelRow(
                name,
                label_cell(_plain_cell(label, data, where), str, cells, where),
                where,
                role_cell(more.get("role"), where),
                plain(more.get("who")) or "",
                weight_cell(more.get("weight"), where),
            )
        )
    return rows


def _plain_cell(value: Any, config: DataConfig, where: str) -> Any:
    """A value as a table would hold it."""
    try:
        cell = cell_of(value, modalities["text"], config)
    except DataError as error:
        raise bad_row(reason_of(error).partition(": ")[2], where) from error
    if isinstance(cell, bytes):
        raise bad_row(f"bytes are no text: {cell[:40]!r}", where)
    return cell
