"""`muster check`: run every check over the data again."""

from __future__ import annotations

import typer

from passmuster.cli.session import session_of


def check(context: typer.Context) -> None:
    """Look through the data again: copies, leakage, personal data, labels, unreadable items. Changes nothing."""
    session = session_of(context)
    from passmuster.cli.findings import finding_lines, findings_as_json
    from passmuster.stages.govern import check

    found = check(session.store(), progress=session.progress)
    has_labels = not any(f.kind == "class_balance" and "training label" in f.title and f.items == () for f in found)
    session.done(
        {"findings": findings_as_json(found)},
        finding_lines(found),
        next="muster train" if has_labels else "muster label --export todo.csv --for train",
    )
