"""A candidate against the incumbent on the same items: who is right where, and which decisions change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.paired import mcnemar_exact, paired_bootstrap, paired_difference
from passmuster.core.statistics import Interval, effective_size, proportion, rate_size


@dataclass(frozen=True)
class Comparison:
    """Counts of the paired table, its exact McNemar p-value (of what the counts are worth), and what changes.

    `difference` is the candidate's accuracy minus the incumbent's. `negative_flips` is the share of items that the
    incumbent had right and the candidate has wrong (Yan et al. 2021, Positive-congruent training, CVPR, eq. 1).
    `changed` are positions where the decisions differ, right or wrong. `worth` is what the counts are worth in items of
    their own where items have weights or share clusters (`worth_of_pairs`); None where each is one.
    """

    both_right: int
    only_candidate: int
    only_incumbent: int
    both_wrong: int
    p_mcnemar: float
    difference: Interval
    negative_flips: Interval
    changed: tuple[int, ...]
    worth: Mapping[str, float] | None = None

    @property
    def n(self) -> int:
        """Items that were compared."""
        return self.both_right + self.only_candidate + self.only_incumbent + self.both_wrong

    @property
    def weighed(self) -> bool:
        """Whether its rates are others than its counts give, because items do not count alike."""
        return is_weighed(self.only_incumbent, self.n, self.negative_flips.value) or is_weighed(
            self.only_candidate - self.only_incumbent, self.n, self.difference.value
        )


def is_weighed(count: int, n: int, rate: float) -> bool:
    """Whether a `rate` is another than `count` of `n`.

    >>> is_weighed(37, 450, 0.062), is_weighed(37, 450, 37 / 450)
    (True, False)
    """
    return n > 0 and abs(rate - count / n) > 5e-5


def retrain_words(section: Mapping[str, Any]) -> str:
    """How many of the changed decisions learning the same again would change anyway; "" where that is unknown.

    `section` is the report's ``versions``: its ``changed`` decisions, and the share of answers in ``retrain`` that
    differ between two bundles of the candidate's recipe.

    >>> known = {"bundle": "f" * 64, "value": 0.01, "low": 0.004, "high": 0.03, "n": 400}
    >>> retrain_words({"n": 400, "changed": [{}] * 9, "retrain": known})
    'about 4 of the 9 changed decisions are what learning the same again changes anyway (1 in 100 answers)'
    """
    found, n_changed = section.get("retrain"), len(section.get("changed") or ())
    if not isinstance(found, Mapping) or not n_changed or not found.get("n"):
        return ""
    by_chance = round(float(found["value"]) * section["n"])
    share = f"({100 * float(found['value']):.2g} in 100 answers)"
    if by_chance >= n_changed:
        return f"the {n_changed:,} changed decisions are no more than learning the same again changes anyway {share}"
    return (
        f"about {by_chance:,} of the {n_changed:,} changed decisions are what learning the same again changes anyway "
        f"{share}"
    )


def compare(
    labels: Sequence[str],
    candidate: Sequence[str],
    incumbent: Sequence[str],
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
    n_resamples: int = 1_000,
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
        difference = paired_bootstrap(
            new_right, old_right, rng=rng, weights=weights, clusters=groups, n_resamples=n_resamples
        )
    worth = None if plain else worth_of_pairs(new_right, old_right, weights=weights, clusters=clusters)
    told = (better, worse) if worth is None else (round(worth["only_candidate"]), round(worth["only_incumbent"]))
    return Comparison(
        both_right=int((new_right & old_right).sum()),
        only_candidate=better,
        only_incumbent=worse,
        both_wrong=int((~new_right & ~old_right).sum()),
        p_mcnemar=mcnemar_exact(*told),
        difference=difference,
        negative_flips=proportion(~new_right & old_right, weights=weights, clusters=clusters),
        changed=tuple(int(i) for i in np.flatnonzero(new != old)),
        worth=worth,
    )


def worth_of_pairs(
    candidate: np.ndarray,
    incumbent: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    clusters: Sequence[str] | np.ndarray | None = None,
) -> dict[str, float]:
    """The paired counts of as many independent, equally weighted items as would tell as much as these.

    Exact tests count items, but the answers to one person's texts change together. `candidate` and `incumbent` say who
    is right (n,). `n_flips` and `flips` keep the weighted share that went from right to wrong and have its effective
    size; `n`, `only_candidate` and `only_incumbent` that of the mean difference, or the other where it is smaller.

    >>> old, new = np.ones(8), np.repeat([0.0, 1.0], 4)
    >>> found = worth_of_pairs(new, old, clusters=["ann"] * 4 + ["bea"] * 4)
    >>> round(found["n"], 2), round(found["only_incumbent"], 2)
    (1.0, 0.5)
    """
    new, old = np.asarray(candidate, dtype=np.float64), np.asarray(incumbent, dtype=np.float64)
    w = np.ones(len(new)) if weights is None else np.asarray(weights, dtype=np.float64)
    better, worse = (float((w * mask).sum() / w.sum()) for mask in (new > old, new < old))
    n_flips = rate_size(new < old, weights=w, clusters=clusters)
    n = min(n_flips, effective_size(new - old, weights=w, clusters=clusters))
    return {
        "n": n, "only_candidate": n * better, "only_incumbent": n * worse, "n_flips": n_flips, "flips": n_flips * worse,
    }  # fmt: skip
