"""A candidate against the incumbent on the same items: who is right where, and which decisions change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.paired import mcnemar_exact, paired_bootstrap, paired_difference
from passmuster.core.statistics import Interval, proportion


@dataclass(frozen=True)
class Comparison:
    """Counts of the paired table, its exact McNemar p-value, and what changes.

    `difference` is the candidate's accuracy minus the incumbent's. `negative_flips` is the share of items that the
    incumbent had right and the candidate has wrong (Yan et al. 2021, Positive-congruent training, CVPR, eq. 1).
    `changed` are positions where the decisions differ, right or wrong.
    """

    both_right: int
    only_candidate: int
    only_incumbent: int
    both_wrong: int
    p_mcnemar: float
    difference: Interval
    negative_flips: Interval
    changed: tuple[int, ...]


def compare(
    labels: Sequence[str],
    candidate: Sequence[str],
    incumbent: Sequence[str],
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
) -> Comparison:
    """Compare by name of class, so that the two may know different classes.

    The difference has Tango's score interval; with weights or clusters, a paired bootstrap.

    >>> found = compare(["a", "b"], ["a", "a"], ["a", "b"], rng=np.random.default_rng(0))
    >>> found.only_incumbent, found.changed, found.negative_flips.value
    (1, (1,), 0.5)
    """
    truth, new, old = (np.asarray(list(x), dtype=object) for x in (labels, candidate, incumbent))
    new_right, old_right = new == truth, old == truth
    better, worse = int((new_right & ~old_right).sum()), int((~new_right & old_right).sum())
    plain = (weights is None or bool((np.asarray(weights) == np.asarray(weights)[0]).all())) and (
        clusters is None or len(set(clusters)) == len(truth)
    )
    if plain:
        difference = paired_difference(better, worse, len(truth))
    else:
        groups = None if clusters is None else np.asarray(clusters)
        difference = paired_bootstrap(new_right, old_right, rng=rng, weights=weights, clusters=groups)
    return Comparison(
        both_right=int((new_right & old_right).sum()),
        only_candidate=better,
        only_incumbent=worse,
        both_wrong=int((~new_right & ~old_right).sum()),
        p_mcnemar=mcnemar_exact(better, worse),
        difference=difference,
        negative_flips=proportion(~new_right & old_right, weights=weights, clusters=clusters),
        changed=tuple(int(i) for i in np.flatnonzero(new != old)),
    )
