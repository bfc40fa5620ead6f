"""How a model's answers differ between groups of items: selection, opportunity, odds, precision, being right.

Each rate of each group has its interval, and so has the gap between the groups that differ most. A group with fewer
than `FEWEST` items behind a rate is not compared; it is named instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from passmuster.core.statistics import Interval, proportion

FEWEST = 10  # items behind a rate, below which a group is too small to tell
ACCURACY, SELECTION, OPPORTUNITY, ODDS, PRECISION = (
    "group_accuracy_gap", "selection_rate_gap", "equal_opportunity_gap", "equalised_odds_gap", "predictive_parity_gap",
)  # fmt: skip
GAPS = (ACCURACY, SELECTION, OPPORTUNITY, ODDS, PRECISION)
Rates = dict[str, Interval]  # of one kind, by group


@dataclass(frozen=True)
class Gap:
    """The difference between the groups that differ most, at 95 % for all pairs of groups and all classes together.

    `kind` is one of `GAPS`, `number` the class it is of (-1: of none). `most` and `least` are the groups; `untold`
    those that were too small to be compared. `found` has no value where fewer than two groups could be.
    """

    kind: str
    number: int
    found: Interval
    most: str
    least: str
    untold: tuple[str, ...]


def group_accuracy(
    right: np.ndarray, groups: np.ndarray, *, weights: np.ndarray | None = None, clusters: np.ndarray | None = None
) -> Rates:
    """How often each group's items (n,) are answered rightly, with Wilson's interval; by name.

    >>> found = group_accuracy(np.array([True, True, False]), np.array(["a", "a", "b"]))
    >>> {name: rate.value for name, rate in found.items()}
    {'a': 1.0, 'b': 0.0}
    """
    return _rates(np.asarray(right), np.ones(len(right), bool), groups, weights, clusters, 0.95)


def group_gaps(
    right: np.ndarray,
    truth: np.ndarray,
    said: np.ndarray,
    groups: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
) -> list[Gap]:
    """Gaps between groups: of being right, and for each class four of the field's own.

    Selection rate ``P(said c)`` (demographic parity); ``P(said c | is c)`` (equal opportunity: Hardt, Price and Srebro
    2016, definition 2.2); the larger of that gap and the one in ``P(said c | is not c)`` (equalised odds, definition
    2.1, as fairlearn's difference); ``P(is c | said c)`` (predictive parity: Chouldechova 2017, definition 2). A gap is
    the largest minus the smallest rate. Two groups are compared by Newcombe's interval (1998, Statistics in Medicine
    17, method 10), with Bonferroni's share of the error for each pair of groups, each class and each rate of a gap.

    Parameters
    ----------
    right : (n,) bool, whether the whole answer is right
    truth, said : (n, k) bool, which classes an item carries, and which were said of it
    groups : (n,) names

    >>> right = np.tile([True, False], 100)
    >>> groups = np.repeat(["a", "b"], 100)
    >>> gap, *_ = group_gaps(right, right[:, None], np.ones((200, 1), bool), groups)
    >>> gap.kind, gap.found.value
    ('group_accuracy_gap', 0.0)
    """
    everyone = np.ones(len(right), bool)
    n_pairs = max(1, len(list(combinations(np.unique(groups), 2))))
    n_classes = truth.shape[1]

    def gap(kind: str, number: int, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Gap:
        shared = n_pairs * len(parts) * (n_classes if number >= 0 else 1)
        own = 1.0 - (1.0 - level) / shared
        found = [_widest(_rates(values, among, groups, weights, clusters, own), level) for values, among in parts]
        told = [one for one in found if one[0].n]
        untold = tuple(sorted({name for one in found for name in one[3]}))
        if not told:
            return Gap(kind, number, Interval(float("nan"), 0.0, 1.0, 0, "newcombe", level), "", "", untold)
        widest = max(told, key=lambda one: one[0].value)
        value, low, high = (max(getattr(one[0], part) for one in told) for part in ("value", "low", "high"))
        interval = Interval(value, low, high, widest[0].n, "newcombe, all pairs of groups together", level)
        return Gap(kind, number, interval, widest[1], widest[2], untold)

    gaps = [gap(ACCURACY, -1, [(right, everyone)])]
    for c in range(n_classes):
        is_c, said_c = truth[:, c], said[:, c]
        gaps += [
            gap(SELECTION, c, [(said_c, everyone)]),
            gap(OPPORTUNITY, c, [(said_c, is_c)]),
            gap(ODDS, c, [(said_c, is_c), (said_c, ~is_c)]),
            gap(PRECISION, c, [(is_c, said_c)]),
        ]
    return gaps


def difference(a: Interval, b: Interval) -> tuple[float, float, float]:
    """Value and bounds of a rate less another, from their own score intervals (Newcombe 1998, method 10).

    >>> from passmuster.core.statistics import wilson
    >>> [round(x, 4) for x in difference(wilson(56, 70), wilson(48, 80))]
    [0.2, 0.0524, 0.3339]
    """
    value = a.value - b.value
    low = value - float(np.hypot(a.value - a.low, b.high - b.value))
    high = value + float(np.hypot(a.high - a.value, b.value - b.low))
    return value, low, high


def _rates(
    values: np.ndarray,
    among: np.ndarray,
    groups: np.ndarray,
    weights: np.ndarray | None,
    clusters: np.ndarray | None,
    level: float,
) -> Rates:
    """The share of true `values` in each group's items that are `among`."""
    found = {}
    for name in np.unique(groups):
        mask = among & (groups == name)
        found[str(name)] = proportion(
            values[mask],
            weights=None if weights is None else weights[mask],
            clusters=None if clusters is None else clusters[mask],
            level=level,
        )
    return found


def _widest(rates: Rates, level: float) -> tuple[Interval, str, str, tuple[str, ...]]:
    """Largest less smallest, the groups that are so, and those too small to tell.

    The largest of all differences is at least the lower bound of any pair, and at most the largest upper bound.
    """
    told = {name: rate for name, rate in rates.items() if rate.n >= FEWEST}
    untold = tuple(name for name, rate in rates.items() if rate.n < FEWEST)
    if len(told) < 2:
        return Interval(float("nan"), 0.0, 1.0, 0, "newcombe", level), "", "", untold
    most = max(told, key=lambda name: told[name].value)
    least = min(reversed(told), key=lambda name: told[name].value)
    low, high = 0.0, 0.0
    for a, b in combinations(told.values(), 2):
        _, below, above = difference(a, b)
        low, high = max(low, below, -above), max(high, abs(below), abs(above))
    n = sum(rate.n for rate in told.values())
    value = told[most].value - told[least].value
    return Interval(value, low, min(1.0, high), n, "newcombe", level), most, least, untold
