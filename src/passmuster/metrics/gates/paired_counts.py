"""What the answers of two models to the same items add up to, as the counts that the gates of versions judge by.

A report may hold them in two ways: the labelled items, weighed for what they stand for where they were drawn, and the
whole test, of which only those items are unknown that the two answer differently and nobody labelled. Which of the two
tells more is settled before anybody looks at who was right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from passmuster.core.records import Report

COUNTS = ("both_right", "only_candidate", "only_incumbent", "both_wrong")


def counts_of(report: Report) -> dict[str, int] | None:
    """The four counts of the paired comparison; None when absent, broken, or of another release than the report's."""
    section: Any = report.sections.get("versions")
    if not isinstance(section, dict) or section.get("incumbent") != report.incumbent:
        return None
    counts = {key: section.get(key) for key in COUNTS}
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 0 for value in counts.values()):
        return None
    whole = {key: int(value) for key, value in counts.items() if value is not None}
    return whole if sum(whole.values()) > 0 else None


@dataclass(frozen=True)
class Worth:
    """The paired counts in items that tell as much as one: those of the difference, and those of negative flips.

    On `differ` items the two answer differently and a label says who is right; on `unknown` more, none does. To
    somebody who does not know who was right, they are worth `n_apart` (0: `n`). `words` say what the counts are of,
    where they are of the whole test, labelled or not: `n_items`, and `n_unlabelled` of those that the two answer
    differently.
    """

    n: float
    better: float
    worse: float
    n_flips: float
    flips: float
    differ: float = 0.0
    unknown: float = 0.0
    n_apart: float = 0.0
    words: str = ""
    n_items: int = 0
    n_unlabelled: int = 0

    @property
    def undecided(self) -> Worth:
        """The same with as many gains as losses: what may be known of it before anybody looks at who was right."""
        more = self.n_apart / max(self.n, 1e-12) if self.n_apart else 1.0
        n, half, unknown = self.n * more, self.differ * more / 2, self.unknown * more
        return replace(self, n=n, better=half, worse=half, n_flips=n, flips=half, unknown=unknown)


def sharper(report: Report, counts: Mapping[str, int], p_value: Callable[[Worth], float]) -> Worth:
    """The counts that would refute more: by `p_value`, if gains and losses were as many.

    Because neither is looked at, whoever then tests the chosen counts errs no more often than with either alone.
    """
    drawn, census = worth_of(report, counts), census_of(report)
    if census is None:
        return drawn
    share = (census.differ + census.unknown) / max(census.n, 1.0)
    if not share:  # no answer differs: there was nothing to draw
        return census
    drawn = replace(drawn, differ=share * drawn.n)
    return min((drawn, census), key=lambda one: p_value(one.undecided))


def census_of(report: Report) -> Worth | None:
    """The counts of the whole test (`metrics.disagreements.census_of_disagreements`); None where absent or broken."""
    given: Any = report.sections["versions"].get("census")
    if not isinstance(given, dict):
        return None
    keys = ("n", "only_candidate", "only_incumbent", "unknown", "differ", "n_apart", "n_items", "n_differ", "n_unknown")
    found = [_number(given.get(key)) for key in keys]
    n, better, worse, unknown, differ = found[:5]
    if min(found) < 0 or better + worse > differ + 1e-9 or differ + unknown > n + 1e-9:
        return None
    n_items, n_differ, n_unknown = (round(one) for one in found[6:])
    few = f", worth {n:,.0f} of which none goes with another" if round(n) < n_items else ""
    unlabelled = f"; {n_unknown:,} of the {n_differ:,} without a label, read against it" if n_unknown else ""
    words = f"the two differ on {n_differ:,} of {n_items:,} test items{few}{unlabelled}"
    return Worth(n, better, worse, n, worse, differ, unknown, found[5], words, n_items, n_unknown)


def worth_of(report: Report, counts: Mapping[str, int]) -> Worth:
    """The counts as they are, or what drawn, weighted or clustered ones are worth.

    `metrics.disagreements.Told.worth` and `metrics.versions.worth_of_pairs` say how; a broken entry counts
    as no labels, so that nothing passes.
    """
    given: Any = report.sections["versions"].get("worth")
    if given is None:
        n_all, n_worse = sum(counts.values()), counts["only_incumbent"]
        return Worth(n_all, counts["only_candidate"], n_worse, n_all, n_worse)
    read = given if isinstance(given, dict) else {}
    n, better, worse = (_number(read.get(key)) for key in ("n", "only_candidate", "only_incumbent"))
    n_flips, flips = _number(read.get("n_flips", n)), _number(read.get("flips", worse))
    fits = better + worse <= n + 1e-9 and flips <= n_flips + 1e-9
    whole = min(n, better, worse, n_flips, flips) >= 0
    return Worth(n, better, worse, n_flips, flips) if fits and whole else Worth(0, 0, 0, 0, 0)


def _number(value: Any) -> float:
    """A finite number, else -1."""
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_one else -1.0
