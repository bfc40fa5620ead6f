"""`muster verify`: is everything what it was when it was written?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passmuster.cli.session import Session, session_of
from passmuster.core.errors import IntegrityError, NotFoundError

if TYPE_CHECKING:
    from passmuster.store.store import Store


def verify(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Bundle folders or catalog.db files; the project when left out.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Public key (PEM) that must have signed; the project's own.")] = None,
) -> None:
    """Check the ledger, the data versions, every bundle and every signature; exit 9 with all that is wrong."""
    from passmuster.flows.verify import verify as run

    session = session_of(context)
    given = [session.folder / path for path in paths or []]
    store = store_if_any(session) if given else session.store()
    found = run(store, given, key=key and session.folder / key, progress=session.progress)
    looked = (
        f"looked at {found.n_events:,} events, {found.n_snapshots:,} dataset versions, {found.n_bundles:,} bundles, "
        f"{found.n_signatures:,} signatures, {found.n_checkpoints:,} ledger checkpoints"
    )
    lines = [*(f"WRONG  {problem}" for problem in found.problems), *(f"note: {n}" for n in found.notes), looked]
    if found.whole:
        session.done(found, [*lines, "whole: nothing was changed, dropped or reordered"], "")
    else:
        n = len(found.problems)
        error = IntegrityError(
            "verify.problems", f"{n} problem{'s' if n > 1 else ''} found", where=found.problems[0],
            next="restore from a backup what is named above",
        )  # fmt: skip
        session.failed(found, lines, error)


def store_if_any(session: Session) -> Store | None:
    """The project's store, or None outside a project: copies can be checked with a key alone."""
    try:
        return session.store()
    except NotFoundError:
        return None
