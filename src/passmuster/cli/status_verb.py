"""`muster status`: where the project stands, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from passmuster.cli.session import session_of

if TYPE_CHECKING:
    from passmuster.core.records import Channel
    from passmuster.flows.status import Candidate, ProjectStatus
    from passmuster.metrics.gates.thresholds import Threshold


def status(
    context: typer.Context,
    n_shown: Annotated[int, typer.Option("--show", min=1, help="Latest bundles to list.")] = 10,
) -> None:
    """Say where the project stands: data and labels, looks at the test, every bundle, what is live, what comes next."""
    from passmuster.flows.status import project_status

    session = session_of(context)
    found = project_status(session.store(), n_shown=n_shown)
    session.done(found, lines_of(found), found.next)


def lines_of(found: ProjectStatus) -> Iterator[str]:
    """Data, labels and looks; a table of bundles; what answers where; what waits for somebody."""
    yield f"{found.name}: {'nothing was added yet' if found.snapshot is None else data_line(found)}"
    if found.snapshot is not None:
        yield (
            f"labels: {found.n_labels['train']:,} for learning, {found.n_labels['test']:,} in the test, "
            f"which has been looked at {looks(found.n_looks)} of {found.max_looks} times{in_part(found.n_looks)}"
        )
    if found.n_findings:
        counts = ", ".join(f"{n:,} {severity}" for severity, n in found.n_findings.items())
        yield f"findings: {counts} (muster check)"
    if found.training:
        yield f"training {found.training} {'is under way' if found.under_way else 'was stopped, and can go on'}"
    yield from bundle_lines(found)
    for name, channel in sorted(found.channels.items()):
        mode = "" if channel.mode == "normal" else f", {channel.mode}"
        share = f", {100 * channel.share:.3g} % of requests" if name == "canary" else ""
        came = f", {found.came[name]}" if found.came[name] else ""
        yield f"{name}: {channel.release}{mode}{share}{came}{judged_again(found, channel)}{broken(found, channel)}"
    if found.withdrawn:
        yield f"live: nothing ({found.withdrawn})"
    yield from (f"  {note}" for note in found.notes)
    yield from (threshold_line(one) for one in found.thresholds if one.has_moved)
    if found.open_incidents:
        n = len(found.open_incidents)
        yield f"{n:,} incident{'s are' if n > 1 else ' is'} open: {', '.join(found.open_incidents[:3])}"


def threshold_line(one: Threshold) -> str:
    """A number of the policy that was another once: every value with the last release that it judged."""
    parts: list[str] = []
    for i, asked in enumerate(one.asked):
        if i + 1 == len(one.asked) or one.asked[i + 1].value != asked.value:
            parts.append(f"{asked.value:g} ({asked.at[:10]}, {asked.release} {asked.state})")
    now = "not asked for any more" if one.now is None else f"{one.now:g} now"
    return f"{one.gate} {one.number}: {', '.join(parts)}, {now}"


def judged_again(found: ProjectStatus, channel: Channel) -> str:
    """What a later release of the bundle that a channel serves was judged, "" where there is none."""
    row = next(row for row in found.candidates if row.bundle == channel.bundle)
    if row.release == channel.release:
        return ""
    return f" (the same bundle was judged again since: {row.release}, {row.verdict})"


def broken(found: ProjectStatus, channel: Channel) -> str:
    """That what a channel points at does not open, and why; "" where it does."""
    why = next(row for row in found.candidates if row.bundle == channel.bundle).unopened
    return f"; IT DOES NOT OPEN: {why}" if why else ""


def data_line(found: ProjectStatus) -> str:
    """How many items lie where, in which version of the data."""
    snapshot = found.snapshot
    assert snapshot is not None
    noun = {"text": "texts", "image": "images"}.get(found.modality, "items")
    parts = {"train": "to learn from", "test": "in the sealed test", "reference": "for reference"}
    lie = {split: snapshot.n_items.get(split, 0) for split in parts} | dict(snapshot.n_items)
    counts = [f"{n:,} {parts.get(split, split)}" for split, n in lie.items() if n]
    n = sum(lie.values())
    return f"{n:,} {noun} ({', '.join(counts)}), dataset version {snapshot.digest[:16]}"


def bundle_lines(found: ProjectStatus) -> Iterator[str]:
    """A line for each bundle, latest first, and how many more there are."""
    if not found.candidates:
        yield "no bundle so far"
        return
    width = max(len(made(row)) for row in found.candidates)
    yield f"{'bundle':<16}  {'made':<16}  {'of':<{width}}  {'right':<24}  verdict"
    for row in found.candidates:
        yield bundle_line(row, width)
    if found.n_bundles > len(found.candidates):
        yield f"… and {found.n_bundles - len(found.candidates):,} more (--show {found.n_bundles})"


def bundle_line(row: Candidate, width: int) -> str:
    """Digest, minute, rung, accuracy with its interval, verdict with its release, and where it answers."""
    from passmuster.stages.evaluate.words import between, percent

    at = row.created[:16].replace("T", " ")
    right = row.accuracy
    share = "not measured" if right is None else f"{percent(right.value)} ({between(right.low, right.high)})"
    told = f"{row.verdict} {row.release}".strip() or "not judged"
    answers = f", {' and '.join(row.channels)}" if row.channels else ""
    since = f"; {row.n_labels_since:,} labels for learning came since" if row.n_labels_since else ""
    whole = f"does not open: {row.unopened}" if row.unopened and not row.channels else ""
    more = [whole, row.outdated, "the policy was edited since" if row.edited else "", row.put_back]
    old = "".join(f"; {words}" for words in more if words)
    return f"{row.bundle[:16]}  {at:<16}  {made(row):<{width}}  {share:<24}  {told}{answers}{since}{old}"


def made(row: Candidate) -> str:
    """The rung, or that it was imported.

    >>> from passmuster.flows.status import Candidate
    >>> made(Candidate("b" * 64, "", "imported", "", None, "", None, 0, "", (), 0, ""))
    'imported'
    """
    return row.rung or row.origin


def in_part(n: float) -> str:
    """Why a number of looks is not whole, "" where it is.

    >>> in_part(2.0), in_part(1.7)
    ('', " (a look that saw a part of today's labels counts as that part)")
    """
    return "" if abs(n - round(n)) < 0.05 else " (a look that saw a part of today's labels counts as that part)"


def looks(n: float) -> str:
    """Looks as a number; a part of one where the evidence has grown since.

    >>> looks(2.0), looks(1.34)
    ('2', '1.3')
    """
    return f"{n:.0f}" if abs(n - round(n)) < 0.05 else f"{n:.1f}"
