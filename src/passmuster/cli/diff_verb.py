"""`muster diff`: which decisions change from one bundle to another, item by item, before anybody approves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passmuster.cli.session import session_of
from passmuster.core.errors import UsageError

if TYPE_CHECKING:
    from passmuster.flows.diff import DiffResult
    from passmuster.store.store import Store

SHOWN = 20


def diff(
    context: typer.Context,
    new: Annotated[
        str, typer.Argument(help="Bundle, release or channel that would take over; the latest bundle if none.")
    ] = "",
    old: Annotated[str, typer.Argument(help="What it would replace; the live release when left out.")] = "",
    items: Annotated[
        Path | None, typer.Option("--items", help="A folder, a table or a file instead of the test.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Open the test labels that no report has shown yet; counts as a look.")
    ] = False,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="OLD=NEW: a class that has another name in the new bundle.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every change as a row.")] = None,
    n_shown: Annotated[int, typer.Option("--show", min=0, help="Changes to list here.")] = SHOWN,
) -> None:
    """List every decision that changes: right to wrong, wrong to right, withheld or not, the dearest first."""
    from passmuster.flows.diff import chosen, compare_bundles, rows

    session = session_of(context)
    store = session.store()
    mapped = read_map(map_ or [])
    if session.dry_run:
        after, before = chosen(store, new, old)
        what = f"the items of {items}" if items else "the test, and its labels, which counts" if labels else "the test"
        lines = [f"would ask {after.digest[:16]} and {before.digest[:16]} about {what}"]
        session.done({"would": lines}, lines, "muster diff")
        return
    found = compare_bundles(
        store, new, old, items=items, labels=labels, mapped=mapped, csv_file=csv, progress=session.progress
    )
    data = {**summary(found), "changes": rows(found.diff, found.names), "page": str(found.page)}
    session.done(data, lines_of(found, n_shown, csv), what_next(store, found.diff.after.digest))


def what_next(store: Store, digest: str) -> str:
    """The command that comes next for a bundle."""
    from passmuster.flows.next_steps import step_after
    from passmuster.store.releases import read_bundle, read_channels, read_releases, read_verdict

    with store.read() as db:
        bundle, verdict = read_bundle(db, digest), read_verdict(db, digest)
        release = next((release.id for release in read_releases(db) if release.bundle == digest), "")
        channels = [name for name, channel in read_channels(db).items() if channel.bundle == digest]
    return step_after(digest, verdict[0].outcome if verdict else "", release, channels, origin=bundle.origin)


def read_map(given: list[str]) -> dict[str, str]:
    """Names of classes, old to new.

    >>> read_map(["complaint=complaints"])
    {'complaint': 'complaints'}
    """
    pairs = [text.split("=", 1) for text in given]
    for text, pair in zip(given, pairs, strict=True):
        if len(pair) != 2 or not all(pair):
            raise UsageError("diff.map", "a mapping names two classes", value=text, next="--map OLD=NEW")
    return {pair[0]: pair[1] for pair in pairs}


def lines_of(found: DiffResult, n_shown: int, csv: Path | None) -> Iterator[str]:
    """The summary, the first changes, and where all of them are."""
    from passmuster.stages.evaluate.diff_words import change_line, summary_lines

    diff = found.diff
    yield f"from {diff.before.digest[:16]} to {diff.after.digest[:16]}"
    yield from (f"  {line}" for line in summary_lines(diff))
    for change in diff.changes[:n_shown]:
        yield change_line(change, str(found.names[change.position]), noisy=change.position in diff.noise.unstable)
    if len(diff.changes) > n_shown:
        yield f"  … and {len(diff.changes) - n_shown:,} more"
    if csv is not None:
        yield f"written: {csv}"
    yield f"page: {found.page}"


def summary(found: DiffResult) -> dict[str, Any]:
    """What it adds up to, for programs."""
    from passmuster.core.codec import to_plain
    from passmuster.stages.evaluate.words import to_finite

    diff, table = found.diff, found.diff.comparison
    positions = [change.position for change in diff.changes]
    return {
        "before": diff.before.digest,
        "after": diff.after.digest,
        "n": diff.changed.n,
        "n_changed": len(diff.changes),
        "changed": diff.changed,
        "kinds": diff.counts(),
        "labels_from": diff.asked.labels_from,
        "n_labelled": diff.n_labelled,
        "look": diff.asked.look or None,
        "n_left_out": diff.asked.n_left_out,
        "comparison": None if table is None else {
            "both_right": table.both_right, "only_after": table.only_candidate, "only_before": table.only_incumbent,
            "both_wrong": table.both_wrong, "p_mcnemar": table.p_mcnemar,
            "difference": to_finite(to_plain(table.difference)),
            "negative_flips": to_finite(to_plain(table.negative_flips)), "weighed": table.weighed,
        },
        "added_cost": diff.cost,
        "noise": {
            "rate": diff.noise.rate, "n_changed_asked": diff.noise.n_asked(positions),
            "n_changed_unstable": diff.noise.of(positions),
            "retrained": diff.noise.retrained,
        },
        "serving": diff.serving,
        "only_before": diff.only_before,
        "only_after": diff.only_after,
        "mapped": diff.mapped,
    }  # fmt: skip
