"""Begin a project: `muster.toml` with every key written out, and an empty store."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from passmuster.core.config import DEFAULT_GATES, MULTI_LABEL_GATES, Config, Policy, ProjectConfig
from passmuster.core.config_file import FILE_NAME, read_config, render_config
from passmuster.core.errors import ResourceError, UsageError
from passmuster.core.label_sets import MULTI, SINGLE
from passmuster.modality.find import modalities
from passmuster.store.store import Store

HEAD = """\
# This project's configuration and policy. Every key is written out with its default; what you change here counts.
# Flags and MUSTER_* variables come first. The digest of [policy] stands in every verdict.

"""
LOOK_AT = 2_000  # files that are looked at to tell texts from images


def init(folder: Path, *, name: str = "", modality: str = "", task: str = "") -> Store:
    """Make a project in `folder`, or open the one that is there.

    Parameters
    ----------
    name : the folder's name when empty
    modality : "text" or "image"; when empty, what most files in the folder are, "text" where that does not show

    task : "single-label" (one class for each item; when empty) or "multi-label" (any number of them, none too)

    Raises
    ------
    UsageError
        ``modality.unknown``, ``task.unknown``; ``project.exists`` when the project that is there is of another modality
        or task.
    """
    if task and task not in (SINGLE, MULTI):
        raise UsageError(
            "task.unknown", "there is no such task", value=task, limit=f"{SINGLE}, {MULTI}",
            next=f"muster init {folder} --task {MULTI}",
        )  # fmt: skip
    if modality:
        modality = modalities[modality].name
    path = folder / FILE_NAME
    if path.exists():
        there = read_config(folder).project
        if modality and modality != there.modality:
            raise UsageError(
                "project.exists",
                f"there is a project for {there.modality} here already",
                value=modality,
                where=path,
                next="muster init OTHER-FOLDER",
            )
        if task and task != there.task:
            raise UsageError(
                "project.exists", f"there is a {there.task} project here already", value=task, where=path,
                next=f'set project.task = "{task}" in {FILE_NAME}, or muster init OTHER-FOLDER --task {task}',
            )  # fmt: skip
        return Store.create(folder)
    name = name or folder.resolve().name
    project = ProjectConfig(name, modality or detect_modality(folder), task or SINGLE)  # type: ignore[arg-type]  # looked up above
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{FILE_NAME}.{os.getpid()}")
        policy = Policy(gates=MULTI_LABEL_GATES if project.task == MULTI else DEFAULT_GATES)
        text = HEAD + render_config(replace(Config(), project=project, policy=policy))
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ResourceError("project.write", f"the folder cannot be written: {error}", where=folder) from error
    return Store.create(folder)


def detect_modality(folder: Path) -> str:
    """The modality of most files below `folder`, "text" when there are none."""
    files = itertools.islice((f for _, _, names in os.walk(folder) for f in names), LOOK_AT)
    suffixes = Counter(Path(f).suffix.lower() for f in files)
    counts = {n: sum(suffixes[s] for s in modalities[n].suffixes) for n in modalities}
    return max(counts, key=lambda n: counts[n])
