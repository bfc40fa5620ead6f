"""`muster add`: read items and labels into the project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from passmuster.cli.options import LabelColumn
from passmuster.cli.session import session_of


def add(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A folder of files, a table (CSV, TSV, JSONL, Parquet) or one file.")],
    labels: Annotated[Path | None, typer.Option("--labels", help="A table of labels: id or path, label.")] = None,
    unlabeled: Annotated[bool, typer.Option("--unlabeled", help="Take no labels, from wherever.")] = False,
    text_column: Annotated[str, typer.Option("--text-column", help="Column of texts, or of image paths.")] = "",
    copies: Annotated[
        bool, typer.Option("--copies", help="Take in items though nearly all repeat what is there under other ids.")
    ] = False,
    label_column: LabelColumn = "",
    id_column: Annotated[str, typer.Option("--id-column", help="Column of ids.")] = "",
    split_column: Annotated[str, typer.Option("--split-column", help="Column that says train or test.")] = "",
    subject_column: Annotated[
        str, typer.Option("--subject-column", help="Column of the person an item is about; kept on one side.")
    ] = "",
    time_column: Annotated[str, typer.Option("--time-column", help="Column of ISO times.")] = "",
) -> None:
    """Read items and labels into the project. Every row is kept or quarantined with a reason; the counts add up."""
    session = session_of(context)
    given = {
        "text_column": text_column,
        "label_column": label_column,
        "id_column": id_column,
        "split_column": split_column,
        "subject_column": subject_column,
        "time_column": time_column,
    }
    session.overrides.update({f"data.{key}": value for key, value in given.items() if value})
    from passmuster.cli.findings import finding_lines, findings_as_json, in_order, snapshot_lines
    from passmuster.core.codec import to_plain
    from passmuster.stages.govern import add

    store = session.store()
    result = add(
        store, path, labels=labels, unlabeled=unlabeled, copies=copies, dry_run=session.dry_run,
        progress=session.progress,
    )  # fmt: skip
    lines = [f"({note})" for note in result.notes]
    lines.append(
        f"{'would read' if session.dry_run else 'read'} {result.n_read:,} items from {path}: {result.n_kept:,} kept, "
        f"{result.n_quarantined:,} quarantined, {result.n_known:,} already there"
    )
    if result.n_grouped:
        columns = ", ".join(store.config.data.group_columns)
        verb = "would get" if session.dry_run else "got"
        lines.append(
            f"{result.n_grouped:,} that were already there {verb} what they say in the group columns: {columns}"
        )
    lines += [f"  quarantined {n:,}: {reason}" for reason, n in result.reasons.items()]
    lines += [f"    {source}: {reason}" for source, reason in result.examples]
    if result.n_new_labels:
        told = in_order(result.n_new_labels).items()
        each = ", ".join(f"{n:,} for {'training' if r == 'train' else 'the test'}" for r, n in told)
        lines.append(f"{'labels that would come' if session.dry_run else 'new labels'}: {each}")
    if result.snapshot:
        is_new = result.is_new or session.dry_run
        stands = snapshot_lines(result.snapshot, result.n_labels, is_new=is_new, n_unlearnt=result.n_unlearnt)
        lines += ["as it stands:"] if session.dry_run else []
        lines += [*stands, *finding_lines(result.findings)]
    data = to_plain(result)
    data["findings"] = findings_as_json(result.findings)
    labelled = result.snapshot is not None and result.snapshot.n_labels.get("train", 0) > 0
    session.done(data, lines, next="muster train" if labelled else "muster label --export todo.csv --for train")
