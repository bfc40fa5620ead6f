"""Items to label as a CSV file, for whoever prefers a spreadsheet. `muster label FILE` reads it back."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from passmuster.core.errors import NotFoundError, ResourceError, UsageError
from passmuster.core.records import Role
from passmuster.flows.labelling import Suggestion, suggest
from passmuster.modality.find import modalities
from passmuster.stages.govern.label_table import EXPORTED, guard_cell
from passmuster.store.items import read_items
from passmuster.store.store import Store


def export_labels(store: Store, path: Path, *, n: int = 40, role: Role | None = "train") -> int:
    """Write up to `n` items without a label to `path`, to be labelled; returns how many there were.

    The columns are id, text (of texts), label (empty), role, weight, guess and why. The guess is empty for the test: it
    would sway the evidence. Cells that a spreadsheet would take for a formula begin with an apostrophe, which reading
    back takes off again.

    Parameters
    ----------
    role : "train", "test", or None for both, split as is best

    Raises
    ------
    UsageError
        ``label.exists`` when the file is there; ``label.n``.
    NotFoundError
        ``label.none_left`` when every item of that part has its label; ``label.no_test``.
    """
    if path.exists():
        raise UsageError("label.exists", "this file exists, and may hold labels", where=path, next="name another one")
    if n < 1:
        raise UsageError("label.n", "not a number of items", value=n, limit="1 or more")
    found = suggest(store, n=n, role=role, seed=store.config.train.seed)
    if not found:
        raise NotFoundError("label.none_left", f"no {role or ''} item waits for a label", next="muster train")
    _write(store, path, found)
    return len(found)


def _write(store: Store, path: Path, asked: Sequence[Suggestion]) -> None:
    modality = modalities[store.config.project.modality]
    with store.read() as db:
        items = read_items(db, keys=[suggestion.key for suggestion in asked])
    with_text = modality.name == "text"
    header = [name for name in EXPORTED if with_text or name != "text"]
    contents = store.blobs.get_many([item.blob for item in items])
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for suggestion, item, data in zip(asked, items, contents, strict=True):
                text = [guard_cell(str(modality.decode(data, store.config.data)))] if with_text else []
                guess = suggestion.guess if suggestion.role == "train" and not math.isnan(suggestion.confidence) else ""
                row = [guard_cell(item.id), *text, "", suggestion.role, f"{suggestion.weight:.12g}"]
                writer.writerow([*row, guard_cell(guess), suggestion.why])
    except OSError as error:
        raise ResourceError("label.write", f"the file cannot be written: {error.strerror}", where=path) from error
