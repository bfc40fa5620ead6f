"""`muster init`: begin a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from passmuster.cli.session import session_of


def init(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="Folder of the project; made when it is not there.")] = Path(),
    name: Annotated[str, typer.Option("--name", help="Name of the project; the folder's name otherwise.")] = "",
    modality: Annotated[
        str, typer.Option("--modality", help="text or image; otherwise what most files in the folder are.")
    ] = "",
    task: Annotated[
        str,
        typer.Option("--task", help="single-label (one class for each item) or multi-label (any number, none too)."),
    ] = "",
) -> None:
    """Begin a project: a muster.toml to look through, and an empty store in .muster."""
    session = session_of(context)
    folder = session.folder / path
    from passmuster.core.config_file import FILE_NAME
    from passmuster.stages.govern import detect_modality, init

    was_there = (folder / FILE_NAME).exists()
    if session.dry_run:
        found = modality or detect_modality(folder)
        session.done({"folder": str(folder), "modality": found}, [f"would begin a project for {found} in {folder}"], "")
        return
    store = init(folder, name=name, modality=modality, task=task)
    project = store.config.project
    of = "" if project.task == "single-label" else f", {project.task},"
    lines = [f"{'found' if was_there else 'began'} project {project.name!r} for {project.modality}{of} in {folder}"]
    if not was_there:
        lines.append(f"settings and policy: {folder / FILE_NAME}")
    data = {
        "folder": str(store.folder),
        "name": project.name,
        "modality": project.modality,
        "task": project.task,
        "new": not was_there,
    }
    where = "" if folder.resolve() == Path.cwd() else f" -C {folder}"
    session.done(data, lines, next=f"muster{where} add PATH")
