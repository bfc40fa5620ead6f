"""`muster label`: read labels from a table, or write a table of items to label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from passmuster.cli.session import Session, session_of
from passmuster.core.errors import UsageError


def label(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="A table of labels to read: id or path, label.")] = None,
    role: Annotated[
        str, typer.Option("--role", help="What the labels are for, train or test; otherwise by the item's split.")
    ] = "",
    who: Annotated[str, typer.Option("--who", help="Who labelled.")] = "",
    export: Annotated[Path | None, typer.Option("--export", help="Write items to label to this CSV file.")] = None,
    n: Annotated[int, typer.Option("--n", help="How many items to write.")] = 40,
    purpose: Annotated[str, typer.Option("--for", help="Write items for train or for test.")] = "train",
    label_column: Annotated[str, typer.Option("--label-column", help="Column of labels.")] = "",
    id_column: Annotated[str, typer.Option("--id-column", help="Column of ids or paths.")] = "",
) -> None:
    """Read labels from a table, or write a table of items that wait for one (--export)."""
    session = session_of(context)
    if (file is None) == (export is None):
        raise UsageError(
            "label.what",
            "name a table of labels to read, or one to write",
            next="muster label FILE.csv, or muster label --export FILE.csv",
        )
    given = {"label_column": label_column, "id_column": id_column}
    session.overrides.update({f"data.{key}": value for key, value in given.items() if value})
    if file is not None:
        _read(session, file, _role(role, "--role"), who)
    elif export is not None:
        _write(session, export, n, _role(purpose, "--for") or "train")


def _role(word: str, flag: str) -> Literal["train", "test"] | None:
    if word not in ("", "train", "test"):
        raise UsageError("label.role", "no such role", value=word, limit="train, test", where=flag)
    return word or None  # type: ignore[return-value]


def _read(session: Session, file: Path, role: Literal["train", "test"] | None, who: str) -> None:
    from passmuster.cli.findings import finding_lines, findings_as_json, snapshot_lines
    from passmuster.core.codec import to_plain
    from passmuster.stages.govern import add_labels

    result = add_labels(session.store(), file, role=role, who=who)
    n_new = sum(result.n_new.values())
    changed = f" ({result.n_changed:,} of them say something else than before)" if result.n_changed else ""
    lines = [
        f"read {result.n_read:,} rows from {file}: {n_new:,} new labels{changed}, {result.n_same:,} known already, "
        f"{result.n_empty:,} without a label",
        *(f"({note})" for note in result.notes),
    ]
    if result.snapshot:
        lines += snapshot_lines(result.snapshot, result.n_labels, is_new=result.is_new)
    if n_new:
        lines += finding_lines(result.findings)
    data = to_plain(result)
    data["findings"] = findings_as_json(result.findings)
    next = "muster train" if "train" in result.n_new else "muster evaluate"
    if result.n_empty == result.n_read:
        next = f"fill in the column label, then muster label {file}"
    session.done(data, lines, next=next)


def _write(session: Session, path: Path, n: int, role: Literal["train", "test"]) -> None:
    from passmuster.stages.govern import export_labels

    n_written = export_labels(session.store(), path, n=n, role=role)
    session.done(
        {"path": str(path), "n": n_written, "role": role},
        [f"wrote {n_written:,} items to {path}; fill in the column label"],
        next=f"muster label {path} --role {role}",
    )
