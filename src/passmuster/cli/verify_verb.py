"""`muster verify`: is everything what it was when it was written?"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
        f"{found.n_signatures:,} signatures, {found.n_checkpoints:,} ledger checkpoints, {found.n_blobs:,} blobs"
    )
    lines = [
        *(f"WRONG  {line}" for line in grouped(found.problems)),
        *(f"note: {n}" for n in grouped(found.notes)),
        looked,
    ]
    if not found.problems and not found.unsigned:
        session.done(found, [*lines, "whole: nothing was changed, dropped or reordered"], "")
    elif not found.problems and not (given and found.unproven):
        n = len(found.unsigned)
        said = f"nothing that was recorded was changed; {n:,} bundle{' is' if n == 1 else 's are'} unsigned, as noted"
        session.done(found, [*lines, said], "")
    elif not found.problems:
        error = IntegrityError(
            "verify.unsigned", "unsigned: nothing proves that this is what was made", value=len(found.unproven),
            where=found.unproven[0], next="muster release signs it; a copy of it must carry signature.dsse.json",
        )  # fmt: skip
        session.failed(found, lines, error)
    else:
        n = len(found.problems)
        error = IntegrityError(
            "verify.problems", f"{n} problem{'s' if n > 1 else ''} found", where=found.problems[0],
            next="restore from a backup what is named above; without one, muster status names the way on",
        )  # fmt: skip
        session.failed(found, lines, error)


def grouped(lines: Sequence[str], first: int = 3) -> list[str]:
    """The first few lines of each kind and how many more there are: lines that differ in numbers and digests only.

    >>> grouped([f"item {i:08x} was changed" for i in range(600)] + ["event 3 is missing"], first=1)
    ['item 00000000 was changed', '  … and 599 more like that', 'event 3 is missing']
    """
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kinds.setdefault(re.sub(r"[0-9a-f]{6,}|[0-9]+", "#", line), []).append(line)
    shown = []
    for alike in kinds.values():
        shown += alike[:first]
        if len(alike) > first:
            shown.append(f"  … and {len(alike) - first:,} more like that")
    return shown


def store_if_any(session: Session) -> Store | None:
    """The project's store, or None outside a project: copies can be checked with a key alone."""
    try:
        return session.store()
    except NotFoundError:
        return None
