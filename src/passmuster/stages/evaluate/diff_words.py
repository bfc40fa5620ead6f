"""A diff in plain words: what it comes down to, and one line for each change."""

from __future__ import annotations

import math
from collections.abc import Iterator

from passmuster.core.label_sets import label_in_words
from passmuster.core.statistics import Interval
from passmuster.metrics.changes import Change, Decision
from passmuster.stages.evaluate.diff import Diff
from passmuster.stages.evaluate.serving_words import beside_lines
from passmuster.stages.evaluate.words import open_words, percent

LABELS = {
    "none": "no label was read, so this is no look at the test; --labels tells right from wrong, and counts as a look",
    "reported": "right and wrong as reports on both have shown already: no further look at the test",
    "opened": "the test labels were opened for this: look {look} at them",
    "given": "right and wrong by the labels that came with the items; the test was not opened",
}


NAMES = ("the new bundle", "the old one")
WEIGHED = "; weighted by their chances of being asked for"


def summary_lines(found: Diff, *, served: bool = True) -> Iterator[str]:
    """How many decisions change, for better or worse, beside what chance and the engine do by themselves.

    With `served`, also what it takes to serve each of the two.
    """
    share = found.changed
    n = len(found.changes)
    yield (
        f"{n:,} of {share.n:,} decisions change ({percent(share.value)}; between {percent(share.low)} and "
        f"{percent(share.high)} on items like these)"
    )
    if n:
        unknown = ", without a label" if found.n_labelled else ""
        yield ", ".join(
            f"{count:,} {kind}{unknown if kind == 'changed' else ''}" for kind, count in found.counts().items()
        )
    if found.n_withheld:
        silent = f" ({found.n_silent:,} of them another answer, not counted above)" if found.n_silent else ""
        yield f"{found.n_withheld:,} of {share.n:,} answers are withheld by both, whatever they would have said{silent}"
    yield from compared(found)
    yield LABELS[found.asked.labels_from].format(look=found.asked.look)
    if found.n_labelled and found.n_labelled < share.n:
        yield f"{found.n_labelled:,} of {share.n:,} items have a label that may be read"
    if found.asked.n_left_out:
        yield f"{found.asked.n_left_out:,} items are left out: one of the two learned from them, or they cannot be read"
    yield from noise(found)
    yield from serving(found) if served else ()
    if found.mapped:
        yield "names of classes mapped: " + ", ".join(f"{old} is now {new}" for old, new in found.mapped.items())
    if found.only_before:
        yield f"classes that only the old bundle knows: {', '.join(found.only_before)}"
    if found.only_after:
        yield f"classes that only the new bundle knows: {', '.join(found.only_after)}"


def compared(found: Diff) -> Iterator[str]:
    """The paired table over the labelled items."""
    table = found.comparison
    if table is None:
        return
    gain, flips = table.difference, table.negative_flips
    if math.isnan(gain.value):
        yield f"{table.n:,} items have a label, but {open_words(gain.high)}, at a level of 95 %"
        return
    yield (
        f"of {table.n:,} labelled items {table.only_candidate:,} got better and {table.only_incumbent:,} worse"
        f"{WEIGHED if table.weighed else ''}: {100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to "
        f"{100 * gain.high:+.1f}), exact McNemar p = {table.p_mcnemar:.2g}"
    )
    yield (
        f"negative flips: {table.only_incumbent:,} of {table.n:,} labelled items go from right to wrong"
        f"{WEIGHED if table.weighed else ''}: {percent(flips.value)} of all ({percent(flips.low)} to "
        f"{percent(flips.high)})"
    )
    yield "these intervals are of 95 %; the gates of a release judge the same labels at a stricter level"
    cost = found.cost
    if cost is not None:
        alone = ", each counted once" if table.weighed else ""
        yield f"the changes add {cost:+,.4g} to what mistakes cost on these {found.n_labelled:,} labelled items{alone}"


def noise(found: Diff) -> Iterator[str]:
    """What the same bundle does not repeat, and what learning again changes."""
    said = found.noise
    positions = [change.position for change in found.changes]
    n_asked = said.n_asked(positions)
    if n_asked:
        rest = len(positions) - n_asked
        yield (
            f"{said.of(positions):,} of {n_asked:,} changes {'that were asked again ' if rest else ''}are noise: asked "
            "item by item, a bundle does not repeat its answer"
            + (f"; {rest:,} changes were not asked again" if rest else "")
        )
    yield (
        f"of {said.rate.n:,} items drawn from all, {round(said.rate.value * said.rate.n):,} are not repeated (at most "
        f"{percent(said.rate.high)})"
    )
    yield f"no difference between the two below {100 * noise_bound(found):.1f} points can be told from noise"
    for other in said.retrained:
        yield (
            f"the same recipe learnt again ({other.bundle[:8]}) decides {percent(other.differ.value)} of the items "
            f"otherwise ({percent(other.differ.low)} to {percent(other.differ.high)}): that much is the draw of a seed"
        )


def serving(found: Diff) -> Iterator[str]:
    """What it takes to serve each of the two."""
    rows = found.serving.get("rows")
    if rows:
        yield from beside_lines(rows, told(found), NAMES, noise_of_changes(found))


def told(found: Diff) -> Interval | None:
    """By how much one is more often right, where a label tells."""
    table = found.comparison
    return None if table is None or math.isnan(table.difference.value) else table.difference


def noise_bound(found: Diff) -> float:
    """The largest upper end of what is not repeated, asked or learnt again: a share of answers."""
    return max([found.noise.rate.high, *(other.differ.high for other in found.noise.retrained)])


def noise_of_changes(found: Diff) -> float:
    """`noise_bound`, less what asking the changed items themselves again has ruled out."""
    positions = [change.position for change in found.changes]
    ruled_out = found.noise.n_asked(positions) == len(positions) and not found.noise.of(positions)
    return max([0.0 if ruled_out else found.noise.rate.high, *(other.differ.high for other in found.noise.retrained)])


def change_line(change: Change, name: str, *, noisy: bool) -> str:
    """One change: its kind, the item, what was said and what is said now."""
    label = "" if change.label is None else f" [{label_in_words(change.label)}]"
    edge = "  (noise)" if noisy else ""
    return f"  {change.kind:<20}  {said(change.before)} -> {said(change.after)}{label}  {name}{edge}"


def said(decision: Decision) -> str:
    """An answer with its probability; in brackets where it is withheld."""
    words = f"{label_in_words(decision.said)} {decision.sure:.2f}"
    return f"({words})" if decision.withheld else words
