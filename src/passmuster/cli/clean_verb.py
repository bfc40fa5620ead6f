"""`muster clean`: give the disk back what nothing needs any more."""

from __future__ import annotations

import typer

from passmuster.cli.session import session_of


def clean(context: typer.Context) -> None:
    """Show what nothing needs any more, and with --yes remove it: left contents, embeddings, checkpoints.

    Bundles, reports, data, labels, traffic, incidents and the ledger are never touched.
    """
    session = session_of(context)
    from passmuster.flows.clean import clean as remove_leftovers
    from passmuster.flows.clean import find_leftovers

    store = session.store()
    remove = session.yes and not session.dry_run
    found = remove_leftovers(store) if remove else find_leftovers(store)
    n_bytes = sum(leftover.n_bytes for leftover in found)
    lines = [f"{in_units(one.n_bytes):>10}  {one.n:,} {one.what}" for one in found]
    done = "freed" if remove else "would free"
    lines.append(f"{done} {in_units(n_bytes)}" if found else "there is nothing that is not needed")
    rows = [{"kind": one.kind, "what": one.what, "n": one.n, "n_bytes": one.n_bytes} for one in found]
    next = "muster clean --yes" if found and not remove else ""
    session.done({"removed": remove, "n_bytes": n_bytes, "leftovers": rows}, lines, next=next)


def in_units(n_bytes: int) -> str:
    """Bytes as people read them.

    >>> in_units(812), in_units(3 * 2**20), in_units(5 * 2**30)
    ('812 B', '3.0 MiB', '5.0 GiB')
    """
    size, unit = float(n_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} B" if unit == "B" else f"{size:,.1f} {unit}"
