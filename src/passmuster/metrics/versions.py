"""A candidate against the incumbent on the same items: who is right where, and which decisions change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.paired import mcnemar_exact, paired_bootstrap, paired_difference
from passmuster.core.statistics import Interval, effective_size, proportion, rate_size


@dataclass(frozen=True)
class Comparison:
    """Counts of the paired table, its exact McNemar p-value, and what changes.

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
    return Comparison(
        both_right=int((new_right & old_right).sum()),
        only_candidate=better,
        only_incumbent=worse,
        both_wrong=int((~new_right & ~old_right).sum()),
        p_mcnemar=mcnemar_exact(better, worse),
        difference=difference,
        negative_flips=proportion(~new_right & old_right, weights=weights, clusters=clusters),
        changed=tuple(int(i) for i in np.flatnonzero(new != old)),
        worth=None if plain else worth_of_pairs(new_right, old_right, weights=weights, clusters=clusters),
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


def worth_of_disagreements(
    labels: Sequence[str],
    candidate: Sequence[str],
    incumbent: Sequence[str],
    weights: np.ndarray,
    *,
    n_rest: int,
    n_rest_differ: int,
    clusters: Sequence[str] | np.ndarray | None = None,
    most: float = math.inf,
) -> dict[str, int]:
    """The paired counts of as many random labels as would tell as much as these, which were drawn unequally.

    Where both answer alike neither is better, and that is known without a label: of the whole test, labelled or not,
    a known share of items is answered differently. So labels count only there, with Kish's (1965) number of equally
    weighted ones, ``m = sum(w)^2 / sum(w^2)``, those of one cluster as one; m labels of disagreements are what
    ``m / share`` random labels bring.
    A wholly labelled test gives its own counts.

    Parameters
    ----------
    labels, candidate, incumbent : names of classes on the labelled items
    weights : (n,) for how many items each stands
    n_rest, n_rest_differ : unlabelled test items, and on how many of them the two answer differently
    clusters : (n,) names of what stands and falls together
    most : independent items that the whole test is worth, which the labels are worth at most: the share of items on
        which the two differ is known no better

    >>> same, one = ["a"] * 8, ["b"] * 8
    >>> worth_of_disagreements(same, same, same[:4] + one[:4], np.ones(8), n_rest=92, n_rest_differ=4)
    {'n': 50, 'only_candidate': 4, 'only_incumbent': 0}
    """
    truth, new, old = (np.asarray(list(x), dtype=object) for x in (labels, candidate, incumbent))
    differ = new != old
    n, n_differ = len(truth) + n_rest, int(differ.sum()) + n_rest_differ
    if not n_differ:
        return {"n": math.floor(min(n, most)), "only_candidate": 0, "only_incumbent": 0}
    w = np.asarray(weights, dtype=np.float64)[differ]
    if not len(w):
        return {"n": 0, "only_candidate": 0, "only_incumbent": 0}
    groups = np.arange(len(truth)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    kish = float(w.sum() ** 2 / (np.bincount(groups[differ], weights=w) ** 2).sum())
    better, worse = (float(w[(said == truth)[differ]].sum() / w.sum()) for said in (new, old))
    kish = min(kish, most * n_differ / n)
    return {
        "n": round(kish * n / n_differ),
        "only_candidate": round(kish * better),
        "only_incumbent": round(kish * worse),
    }


def census_of_disagreements(
    labels: Sequence[str],
    candidate: Sequence[str],
    incumbent: Sequence[str],
    *,
    rest_differs: np.ndarray,
    clusters: Sequence[str] | np.ndarray | None = None,
) -> dict[str, float]:
    """The paired counts of the whole test, with or without labels: what is not known stands apart.

    Where both answer alike neither is better; where they differ and the label is known, so is which of them is right.
    `unknown` are the others, each of which may be a gain, a loss or neither. Nothing is weighed, because nothing was
    drawn: who takes every unknown one for a loss can only find the candidate too bad, whichever items were labelled.

    Parameters
    ----------
    labels, candidate, incumbent : names of classes on the labelled items (n,)
    rest_differs : (m,) of the test items without a label, whether the two answer differently
    clusters : (n + m,) names of what stands and falls together; all counts are then those of as many independent items

    Returns
    -------
    dict
        ``n``, ``only_candidate``, ``only_incumbent``, ``unknown``, and ``differ``, the disagreements that have a label;
        ``n_apart`` is what the test is worth to anybody who does not know who was right. ``n_items``, ``n_differ`` and
        ``n_unknown`` are whole items.

    >>> said = ["a"] * 8
    >>> found = census_of_disagreements(said, said, said, rest_differs=np.array([True] * 2 + [False] * 90))
    >>> found["unknown"], found["n_items"]
    (2.0, 100)
    """
    truth, new, old = (np.asarray(list(x), dtype=object) for x in (labels, candidate, incumbent))
    unknown = np.asarray(rest_differs, dtype=bool)
    none = np.zeros(len(unknown), dtype=bool)
    differs = np.concatenate([new != old, unknown])
    better, worse = (
        np.concatenate([right, none]) for right in ((new == truth) & (new != old), (old == truth) & (new != old))
    )
    n, n_unknown = len(differs), int(unknown.sum())
    n_apart = size = float(n)
    if clusters is not None:
        lost = worse | np.concatenate([np.zeros(len(truth), dtype=bool), unknown])
        gain = better.astype(np.float64) - lost
        n_apart = rate_size(differs, clusters=clusters)
        size = min(n_apart, rate_size(lost, clusters=clusters), effective_size(gain, clusters=clusters))
    each = size / n
    return {
        "n": size,
        "n_apart": n_apart,
        "only_candidate": each * int(better.sum()),
        "only_incumbent": each * int(worse.sum()),
        "unknown": each * n_unknown,
        "differ": each * int((new != old).sum()),
        "n_items": n,
        "n_differ": int(differs.sum()),
        "n_unknown": n_unknown,
    }
