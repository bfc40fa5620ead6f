"""Folders of files: one folder per class, folders of splits, or a flat heap."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from passmuster.core.errors import DataError
from passmuster.modality.base import Modality
from passmuster.stages.govern.rows import HALF_A_PAIR, SPLIT_WORDS, GivenSplit, Row, Source

LABEL_FILES = ("labels.csv", "labels.tsv", "labels.jsonl", "labels.parquet")
MOST_SHOWN = 5
HIDDEN = ("thumbs.db", "desktop.ini")


def open_folder(folder: Path, modality: Modality, *, with_labels: bool) -> Source:
    """A folder as a source. The id of a file is its path below `folder`.

    Folders named train, test or unlabeled give the split; a folder inside them, or one beside others, gives the class
    when `with_labels`, but not a single one with loose files beside it. A ``labels.csv`` in the folder is a table of
    labels, and then folder names are not.

    Raises
    ------
    DataError
        ``data.empty`` for a folder without files, ``data.modality`` when none of them fits the project.
    """
    files = list(_walk(folder))
    beside = next((folder / name for name in LABEL_FILES if folder / name in files), None) if with_labels else None
    files = [f for f in files if f != beside]
    if not files:
        raise DataError("data.empty", "there are no files in this folder", where=folder, next="check the path")
    if not any(f.suffix.lower() in modality.suffixes for f in files):
        raise _wrong_kind(folder, files, modality)
    below = [f.relative_to(folder).parts for f in files]
    tops = {parts[0] for parts in below if len(parts) > 1}
    splits = {top: SPLIT_WORDS[top.lower()] for top in tops if top.lower() in SPLIT_WORDS}
    notes = []
    if splits:
        notes.append("folders give the split: " + ", ".join(f"{k} → {v or 'unlabelled'}" for k, v in splits.items()))
    if beside:
        notes.append(f"labels are read from {beside.name} in the folder")
    lone = tops if with_labels and not splits and len(tops) == 1 else set()
    loose = any(len(parts) == 1 for parts in below)
    if lone and not beside:
        use = "no class, because files lie beside it" if loose else "its name was taken for a class"
        notes.append(f"one folder only, {next(iter(lone))!r}: {use}")
    use_names = with_labels and beside is None and not (lone and loose)
    if use_names and len(tops) > 1 and not splits:
        shown = ", ".join(sorted(tops)[:MOST_SHOWN]) + (", …" if len(tops) > MOST_SHOWN else "")
        notes.append(f"names of {len(tops):,} folders are taken for classes: {shown}; --unlabeled takes none")
    rows = partial(_rows, list(zip(files, below, strict=True)), modality, splits, use_names)
    return Source(folder.name, rows, beside, tuple(notes))


def _walk(folder: Path) -> Iterator[Path]:
    """Files below `folder`, in order of their names; hidden ones and those of the operating system left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in HIDDEN:
                yield Path(root) / name


def _rows(
    files: list[tuple[Path, tuple[str, ...]]], modality: Modality, splits: dict[str, GivenSplit], use_names: bool
) -> Iterator[Row]:
    for path, parts in files:
        name = "/".join(parts)
        inside = parts[0] in splits and len(parts) > 1
        split = splits[parts[0]] if inside else ""
        classes = parts[1:-1] if inside else parts[:-1]
        nameless = inside and split == "" and SPLIT_WORDS[parts[0].lower()] == ""  # the unlabelled heap
        label = classes[0] if use_names and classes and not nameless else None
        if HALF_A_PAIR.search(name):  # what Python makes of bytes that are not UTF-8
            shown = name.encode("utf-8", "backslashreplace").decode()
            yield Row(shown, shown, None, "item.encoding: the file's name is not UTF-8", given_split=split)
        elif path.suffix.lower() in modality.suffixes:
            yield Row(name, name, path, label=label, given_split=split)
        else:
            problem = f"item.suffix: not a file that holds {modality.name} ({path.suffix or 'no suffix'})"
            yield Row(name, name, None, problem, given_split=split)


def _wrong_kind(folder: Path, files: list[Path], modality: Modality) -> DataError:
    from passmuster.modality.find import modalities
    from passmuster.stages.govern.tables import is_table

    tables = [f for f in files if is_table(f)]
    others = [n for n in modalities if any(f.suffix.lower() in modalities[n].suffixes for f in files)]
    if tables:
        hint = f"name the table itself: muster add {tables[0]}"
    elif others:
        hint = f"make a project for them: muster init NAME --modality {others[0]}"
    else:
        hint = "check the path"
    return DataError(
        "data.modality",
        f"none of {len(files):,} files holds {modality.name}",
        value=", ".join(sorted({f.suffix or "no suffix" for f in files})[:5]),
        limit=", ".join(sorted(modality.suffixes)),
        where=folder,
        next=hint,
    )
