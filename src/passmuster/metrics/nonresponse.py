"""Nonresponse: whether what was left without a label, of items drawn for the test, was left out by lot.

Draws come in random order, so stopping early leaves out a random part. Whoever passes over what is hard to tell, or a
whole class, leaves out a part that the labelled rest does not speak for, and no weight mends that.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import hypergeometric_pmf, normal_sf

DOUBTED = ""  # the name of the mark of items that the model doubts more than the median item of their draw


@dataclass(frozen=True)
class Nonresponse:
    """How many of the items drawn have no label, and the mark that most surely has to do with it.

    `share` is what those stand for, of all that was drawn, each by the inverse of its chance. `mark` is a class that
    the model answers, or `DOUBTED`; `n_marked_left` of the `n_left` have it, and `n_marked_told` of the labelled ones.
    `p` is the chance of so much or more, had it been by lot: of doubt times 2, of a class times 2 and the number of
    classes, because both are looked at; 1 at most. `n_passed` of the `n_left` were passed over: later items of their
    draw have a label. `passed_share` is what they stand for.
    """

    n_drawn: int
    n_left: int
    share: float
    mark: str
    n_marked_left: int
    n_marked_told: int
    p: float
    n_passed: int
    passed_share: float


def surplus_chance(marked: np.ndarray, left: np.ndarray, draws: np.ndarray) -> float:
    """The exact chance that as many marked items, or more, are left out, if in each draw it is decided by lot.

    A sum of independent hypergeometric numbers, one per draw: Fisher's exact test over several tables.

    Parameters
    ----------
    marked, left : (n,) bool
    draws : (n,) int, which draw each item belongs to

    >>> round(surplus_chance(np.array([1, 1, 0, 0], bool), np.array([1, 1, 0, 0], bool), np.zeros(4, int)), 4)
    0.1667
    """
    n_found, chances = 0, np.ones(1)
    for draw in np.unique(draws):
        here = draws == draw
        n_left, n_marked = int(left[here].sum()), int(marked[here].sum())
        n_found += int((marked & left & here).sum())
        chances = np.convolve(chances, hypergeometric_pmf(int(here.sum()), n_marked, n_left))
    return float(min(1.0, chances[n_found:].sum()))


def doubt_chance(confidence: np.ndarray, left: np.ndarray, draws: np.ndarray) -> float:
    """The chance that those left out are doubted as much, or more, if in each draw it is decided by lot.

    Wilcoxon's rank sums of every draw added up (van Elteren 1960, equal weights), by their normal approximation with
    the variance of the ranks as they are, ties included. Rank sums have lighter tails than it, so that it errs to the
    careful side.

    >>> round(doubt_chance(np.arange(20) / 20, np.arange(20) < 6, np.zeros(20, int)), 5)
    0.00031
    """
    above, variance = 0.0, 0.0
    for draw in np.unique(draws):
        here = draws == draw
        n, n_left = int(here.sum()), int(left[here].sum())
        _, place, times = np.unique(-confidence[here], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(times) - (times - 1) / 2.0)[place]  # the surest has the first
        above += float(ranks[left[here]].sum()) - n_left * (n + 1) / 2
        variance += n_left * (n - n_left) / max(1, n - 1) * float(ranks.var())
    return float(normal_sf((above - 0.5) / math.sqrt(variance))) if variance else 1.0


def nonresponse(
    said: Sequence[Collection[str]],
    confidence: np.ndarray,
    left: np.ndarray,
    draws: np.ndarray,
    weights: np.ndarray,
) -> Nonresponse:
    """What was left out of some draws, and how sure it is that it was not by lot.

    Parameters
    ----------
    said : (n,), the classes that the model answers to every item drawn, those of a draw in its order
    confidence : (n,), how sure it is
    left : (n,) bool, which have no label
    draws : (n,) int
    weights : (n,), the inverse of each one's chance

    >>> left = np.arange(40) < 10
    >>> found = nonresponse([["spam"]] * 10 + [["ham"]] * 30, np.full(40, 0.9), left, np.zeros(40, int), np.ones(40))
    >>> found.mark, found.n_marked_left, found.n_marked_told, found.share, found.p < 1e-8
    ('spam', 10, 0, 0.25, True)
    """
    doubted = np.zeros(len(left), dtype=bool)
    for draw in np.unique(draws):
        here = draws == draw
        doubted[here] = confidence[here] < np.median(confidence[here])
    every = sorted({name for names in said for name in names})
    marks = {DOUBTED: doubted, **{name: np.array([name in names for names in said], dtype=bool) for name in every}}
    n_classes = len(marks) - 1
    chances = {
        name: 2 * n_classes * surplus_chance(marked, left, draws) if name else 2 * doubt_chance(confidence, left, draws)
        for name, marked in marks.items()
    }
    name = min(chances, key=lambda mark: chances[mark])
    passed = passed_over(left, draws)
    marked = marks[name]
    return Nonresponse(
        n_drawn=len(left),
        n_left=int(left.sum()),
        share=float(weights[left].sum() / weights.sum()) if len(left) else 0.0,
        mark=name,
        n_marked_left=int((marked & left).sum()),
        n_marked_told=int((marked & ~left).sum()),
        p=min(1.0, chances[name]),
        n_passed=int(passed.sum()),
        passed_share=float(weights[passed].sum() / weights.sum()) if len(left) else 0.0,
    )


def passed_over(left: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Which of those left out (n,) come before an item of the same draw that has a label.

    >>> passed_over(np.array([1, 0, 1, 1], bool), np.zeros(4, int)).tolist()
    [True, False, False, False]
    """
    passed = np.zeros(len(left), dtype=bool)
    for draw in np.unique(draws):
        here = np.flatnonzero(draws == draw)
        told = np.flatnonzero(~left[here])
        if len(told):
            before = here[: told[-1]]
            passed[before] = left[before]
    return passed


def marked_more(mark: str, n_left: float, n_drawn: float, n_marked_left: float, n_marked_told: float) -> str:
    """How those left out differ, in words.

    >>> marked_more("spam", 19, 84, 19, 0)
    'the model calls 19 of them “spam”, and 0 of the 65 labelled'
    """
    verb, name = ("calls", f" “{mark}”") if mark != DOUBTED else ("doubts", "")
    told = f"{n_marked_told:,.0f} of the {n_drawn - n_left:,.0f} labelled"
    return f"the model {verb} {n_marked_left:,.0f} of them{name}, and {told}"
