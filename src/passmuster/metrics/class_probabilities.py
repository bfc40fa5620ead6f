"""How much probability each class gets: on its own items, and on all of them against how often it comes.

A class whose labels were bad, or that came too often in training, may lose hardly an answer: probabilities tell first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from passmuster.core.statistics import effective_size
from passmuster.metrics.regressions import mean_rise

FEWEST = 6  # items below which the ranks of their signs prove nothing at any level that gates use


@dataclass(frozen=True)
class ClassProbability:
    """One class, with `n` items that carry it: by how much their log-loss rose on average, and the one-sided p-value
    that it did not; how many items of it are `expected` by the probabilities (and by the live release's), how many were
    `seen`, and the p-value that chance brings so many or so few.
    """

    name: str
    n: int
    rise: float
    p_rise: float
    seen: float
    expected: float
    expected_live: float
    p_expected: float


def class_probabilities(
    new_losses: np.ndarray,
    old_losses: np.ndarray,
    new: np.ndarray,
    old: np.ndarray,
    members: np.ndarray,
    names: Sequence[str],
    *,
    weights: np.ndarray,
    clusters: np.ndarray,
) -> list[ClassProbability]:
    """Every class, paired on the same items.

    Parameters
    ----------
    new_losses, old_losses : (n, k) log-loss of each item as to each class, or (n, 1) as a whole
    new, old : (n, k) probability of each class
    members : (n, k) bool, which items carry which class
    names : k
    weights, clusters : (n,) as labels were drawn, and what stands and falls together; numbers of items are those of as
        many independent ones as know the class's share as well
    """
    found = []
    for c, name in enumerate(names):
        inside = members[:, c]
        column = min(c, new_losses.shape[1] - 1)
        rises = (new_losses - old_losses)[inside, column]
        size = effective_size(new[:, c] - inside, weights=weights, clusters=clusters) if len(new) > 1 else 1.0
        share, expected, live = (float(np.average(p, weights=weights)) for p in (inside, new[:, c], old[:, c]))
        found.append(ClassProbability(
            name, int(inside.sum()), *rise_of(rises, np.asarray(weights)[inside]), size * share,
            size * expected, size * live, chance_of(size * share, size, expected),
        ))  # fmt: skip
    return found


def rise_of(rises: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The mean of rises (n,), and the one-sided p-value that they are none: of ranks, which weights have not; so where
    items count unequally, Student's of the weighted mean.

    >>> rise_of(np.arange(1.0, 9.0), np.ones(8))
    (4.5, 0.00390625)
    """
    if not len(rises) or (weights == weights[0]).all():
        return float(rises.mean()) if len(rises) else 0.0, rank_test(rises)
    found = mean_rise(rises, np.zeros(len(rises)), weights)
    return found.rise, found.p if int((np.abs(rises) > 1e-9).sum()) >= FEWEST else 1.0


def rank_test(rises: np.ndarray) -> float:
    """One-sided p-value of signed ranks (Wilcoxon 1945) that rises (n,) are no likelier, or larger, than falls.

    >>> round(rank_test(np.arange(1.0, 9.0)), 4), rank_test(np.zeros(9))
    (0.0039, 1.0)
    """
    from scipy.stats import wilcoxon  # slow to import

    moved = rises[np.abs(rises) > 1e-9]
    if len(moved) < FEWEST:
        return 1.0
    return float(wilcoxon(moved, alternative="greater").pvalue)


def chance_of(seen: float, n: float, share: float) -> float:
    """Two-sided p-value that of `n` items, each of a class with its own probability, `seen` or still fewer (more) are.

    Bounded by a binomial of the mean probability, which is wider (Hoeffding 1956). Numbers need not be whole.

    >>> round(chance_of(5, 20, 0.5), 4), chance_of(10, 20, 0.5)
    (0.0414, 1.0)
    """
    share = min(max(share, 1e-12), 1.0 - 1e-12)
    if seen <= n * share:
        p = float(special.betainc(max(n - seen, 1e-9), seen + 1, 1 - share))
    else:
        p = float(special.betainc(seen, max(n - seen, 0.0) + 1, share))
    return min(1.0, 2 * p)
