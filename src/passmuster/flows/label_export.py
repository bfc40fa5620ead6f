"""Items to label as a CSV file, for whoever prefers a spreadsheet. `muster label FILE` reads it back."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from passmuster.core.errors import NotFoundError, ResourceError, UsageError
from passmuster.core.records import Role
from passmuster.core.spreadsheet import guard_cell
from passmuster.flows.labelling import Suggestion, suggest
from passmuster.modality.find import modalities
from passmuster.stages.govern.inspect import DISPUTES
from passmuster.stages.govern.label_table import EXPORTED, check_role
from passmuster.store.items import read_items, read_labels
from passmuster.store.snapshots import read_findings, read_snapshot
from passmuster.store.store import Store


def export_labels(store: Store, path: Path, *, n: int = 40, role: Role | None = "train", again: bool = False) -> int:
    """Write up to `n` items without a label to `path`, to be labelled; returns how many there were.

    The columns are id, text (of texts), label (empty), role, weight, guess and why. The guess is empty for the test: it
    would sway the evidence. Cells that a spreadsheet would take for a formula begin with an apostrophe, which reading
    back takes off again.

    Parameters
    ----------
    role : "train", "test", or None for both, split as is best
    again : with "test", items that were drawn before and have no label, as long as there are any

    Raises
    ------
    UsageError
        ``label.exists`` when the file is there; ``label.n``; ``label.role``.
    NotFoundError
        ``label.none_left`` when every item of that part has its label; ``label.no_test``.
    """
    check_role(role)
    _refuse_existing(path)
    if n < 1:
        raise UsageError("label.n", "not a number of items", value=n, limit="1 or more")
    found = suggest(store, n=n, role=role, again=again, seed=store.config.train.seed)
    if not found:
        of = {"train": "training ", "test": "test "}.get(role or "", "")
        next = "muster add PATH brings more; or muster train with those that are there"
        raise NotFoundError("label.none_left", f"no {of}item waits for a label: every one has it", next=next)
    _write(store, path, found, {})
    return len(found)


def export_disputed(store: Store, path: Path) -> int:
    """Write the items whose labels contradict each other, copies one below the other, with the labels that stand.

    Those that are changed in the file are new labels when it is read back; the others say nothing new.

    Raises
    ------
    UsageError
        ``label.exists`` when the file is there.
    NotFoundError
        ``label.no_dispute`` when no labels contradict each other.
    """
    _refuse_existing(path)
    with store.read() as db:
        snapshot = read_snapshot(db)
        findings = [f for f in read_findings(db, snapshot.digest) if f.kind in DISPUTES]
        known = read_labels(db)
        keys = list(dict.fromkeys(key for finding in findings for key in finding.items if key in known))
        ids = {item.key: item.id for item in read_items(db, keys=keys)}
    if not keys:
        raise NotFoundError("label.no_dispute", "no labels contradict each other", next="muster train")
    why = {key: finding.kind for finding in reversed(findings) for key in finding.items}
    asked = [Suggestion(k, ids[k], known[k].role, known[k].weight, why[k]) for k in keys]
    _write(store, path, asked, {key: known[key].label for key in keys})
    return len(keys)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError("label.exists", "this file exists, and may hold labels", where=path, next="name another one")


def _write(store: Store, path: Path, asked: Sequence[Suggestion], present: Mapping[str, str]) -> None:
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
                label = guard_cell(present.get(item.key, ""))
                row = [guard_cell(item.id), *text, label, suggestion.role, f"{suggestion.weight:.12g}"]
                writer.writerow([*row, guard_cell(guess), suggestion.why])
    except OSError as error:
        raise ResourceError("label.write", f"the file cannot be written: {error.strerror}", where=path) from error
