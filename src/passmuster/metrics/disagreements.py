"""Labels of items that two models answer differently: what they say of all items, however unequally they were drawn.

Where both answer alike neither is better, and that is known without a label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from passmuster.core.nested_rates import difference_among, rate_among
from passmuster.core.paired import mcnemar_exact
from passmuster.core.statistics import effective_size, kish_size, rate_size
from passmuster.metrics.versions import Comparison

METHOD = "score, known where both agree, weighted where they differ"


@dataclass(frozen=True)
class Told:
    """What labels tell: of all `n` items the share `share` is answered differently, of these the candidate is `better`
    on a (weighted) share and worse on the share `worse`, as told by `size` equally weighted labels; 0: by none."""

    share: float
    n: float
    better: float
    worse: float
    size: float

    @property
    def worth(self) -> dict[str, int]:
        """The paired counts of as many random labels as would tell as much as these, which were drawn unequally.

        m labels of disagreements are what ``m / share`` random labels bring. Where none has a label, though answers
        differ, that is nothing; where none differ, all items.
        """
        n = self.size / self.share if self.share else math.floor(self.n)
        return {
            "n": round(n),
            "only_candidate": round(self.size * self.better),
            "only_incumbent": round(self.size * self.worse),
        }


def told_by_disagreements(
    labels: Sequence[str],
    candidate: Sequence[str],
    incumbent: Sequence[str],
    weights: np.ndarray,
    *,
    n_rest: int,
    n_rest_differ: int,
    clusters: Sequence[str] | np.ndarray | None = None,
    most: float = math.inf,
) -> Told:
    """What the labels say of all items, where the two answer differently on some.

    Where both answer alike neither is better, and that is known without a label: of the whole test, labelled or not,
    a known share of items is answered differently. So labels count only there, with Kish's (1965) number of equally
    weighted ones, ``m = sum(w)^2 / sum(w^2)``, those of one cluster as one. Where every disagreement has a label
    nothing is left to weigh, and each counts once: a wholly labelled test gives its own counts.

    Parameters
    ----------
    labels, candidate, incumbent : names of classes on the labelled items
    weights : (n,) for how many items each stands
    n_rest, n_rest_differ : unlabelled test items, and on how many of them the two answer differently
    clusters : (n,) names of what stands and falls together
    most : independent items that the whole test is worth, which the labels are worth at most: the share of items on
        which the two differ is known no better

    >>> same, one = ["a"] * 8, ["b"] * 8
    >>> told_by_disagreements(same, same, same[:4] + one[:4], np.ones(8), n_rest=92, n_rest_differ=4).worth
    {'n': 50, 'only_candidate': 4, 'only_incumbent': 0}
    """
    truth, new, old = (np.asarray(list(x), dtype=object) for x in (labels, candidate, incumbent))
    differ = new != old
    n = len(truth) + n_rest
    share = (int(differ.sum()) + n_rest_differ) / n if n else 0.0
    w = np.asarray(weights, dtype=np.float64)[differ]
    if not len(w):
        return Told(share, min(n, most), 0.0, 0.0, 0.0)
    if not n_rest_differ:
        w = np.ones(len(w))
    groups = np.arange(len(truth)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    kish = kish_size(w, groups[differ])
    better, worse = (float(w[(said == truth)[differ]].sum() / w.sum()) for said in (new, old))
    return Told(share, min(n, most), better, worse, min(kish, most * share))


def read_by_disagreements(found: Comparison, told: Told) -> Comparison:
    """The comparison with its rates, intervals, worth and McNemar's test read by what the labelled disagreements tell.

    A rate of all items is the known share of disagreements times the weighted share among those, with the intervals of
    `core.nested_rates`. Where answers differ and none of those has a label, the rates are not numbers; what is known
    is how far they may lie from 0: no more can change than differs.

    >>> from passmuster.metrics.versions import compare
    >>> said = ["a"] * 20, ["a"] * 16 + ["b"] * 4, ["a"] * 12 + ["b"] * 4 + ["a"] * 4
    >>> plain = compare(*said, rng=np.random.default_rng(0))
    >>> asked = told_by_disagreements(*said, np.ones(20), n_rest=80, n_rest_differ=2)
    >>> plain.negative_flips.value, round(read_by_disagreements(plain, asked).negative_flips.value, 3)
    (0.2, 0.05)
    """
    gain = difference_among(told.share, told.n, told.better, told.worse, told.size)
    flips = rate_among(told.share, told.n, told.worse, told.size)
    n, worth = found.difference.n, told.worth
    return replace(
        found,
        p_mcnemar=mcnemar_exact(worth["only_candidate"], worth["only_incumbent"]),
        difference=replace(gain, n=n, method=METHOD),
        negative_flips=replace(flips, n=n, method=METHOD),
        worth=worth,
    )


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
