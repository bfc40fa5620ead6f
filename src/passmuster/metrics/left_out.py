"""Whether what was left without a label, of items drawn for the test, was left out by lot.

Draws come in random order, so stopping early leaves out a random part. Whoever passes over what is hard to tell, or a
whole class, leaves out a part that the labelled rest does not speak for, and no weight mends that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import hypergeometric_pmf

DOUBTED = ""  # the name of the mark of items that the model doubts more than the median item of their draw


@dataclass(frozen=True)
class LeftOut:
    """How many of the items drawn have no label, and the mark that most surely has to do with it.

    `share` is what those stand for, of all that was drawn, each by the inverse of its chance. `mark` is a class that
    the model answers, or `DOUBTED`; `n_marked_left` of the `n_left` have it, and `n_marked_told` of the labelled ones.
    `p` is the chance of so many or more, had it been by lot, times the number of marks looked at; 1 at most.
    """

    n_drawn: int
    n_left: int
    share: float
    mark: str
    n_marked_left: int
    n_marked_told: int
    p: float


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


def left_out(
    said: Sequence[str], confidence: np.ndarray, left: np.ndarray, draws: np.ndarray, weights: np.ndarray
) -> LeftOut:
    """What was left out of some draws, and how sure it is that it was not by lot.

    Parameters
    ----------
    said : (n,), what the model answers to every item drawn
    confidence : (n,), how sure it is
    left : (n,) bool, which have no label
    draws : (n,) int
    weights : (n,), the inverse of each one's chance

    >>> left = np.arange(40) < 10
    >>> found = left_out(["spam"] * 10 + ["ham"] * 30, np.full(40, 0.9), left, np.zeros(40, int), np.ones(40))
    >>> found.mark, found.n_marked_left, found.n_marked_told, found.share, found.p < 1e-8
    ('spam', 10, 0, 0.25, True)
    """
    names = np.array(said, dtype=object)
    doubted = np.zeros(len(left), dtype=bool)
    for draw in np.unique(draws):
        here = draws == draw
        doubted[here] = confidence[here] < np.median(confidence[here])
    marks = {DOUBTED: doubted, **{name: names == name for name in sorted(set(said))}}
    chances = {name: surplus_chance(marked, left, draws) for name, marked in marks.items()}
    name = min(chances, key=lambda mark: chances[mark])
    marked = marks[name]
    return LeftOut(
        n_drawn=len(left),
        n_left=int(left.sum()),
        share=float(weights[left].sum() / weights.sum()) if len(left) else 0.0,
        mark=name,
        n_marked_left=int((marked & left).sum()),
        n_marked_told=int((marked & ~left).sum()),
        p=min(1.0, chances[name] * len(marks)),
    )


def marked_more(mark: str, n_left: float, n_drawn: float, n_marked_left: float, n_marked_told: float) -> str:
    """How those left out differ, in words.

    >>> marked_more("spam", 19, 84, 19, 0)
    'the model calls 19 of them “spam”, and 0 of the 65 labelled'
    """
    verb, name = ("calls", f" “{mark}”") if mark != DOUBTED else ("doubts", "")
    told = f"{n_marked_told:,.0f} of the {n_drawn - n_left:,.0f} labelled"
    return f"the model {verb} {n_marked_left:,.0f} of them{name}, and {told}"
