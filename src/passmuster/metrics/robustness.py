"""What natural faults cost: accuracy under each corruption and severity, over all of them, and beside another model.

An item that a fault left as it was says nothing about the fault: its entry is NaN, and it is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from passmuster.core.bootstrap import bootstrap_sums
from passmuster.core.statistics import Interval, proportion

Fault = tuple[str, int]  # corruption and severity


@dataclass(frozen=True)
class Robustness:
    """`accuracy` under each ``(corruption, severity)``, their mean over all, and the corruption that costs most.

    `clean_of` is the clean accuracy of the same items; `clean` that of all.
    """

    clean: Interval
    accuracy: dict[Fault, Interval]
    clean_of: dict[Fault, float]
    mean: Interval
    worst: str
    worst_severity: int


def robustness(
    clean: np.ndarray,
    corrupted: Mapping[Fault, np.ndarray],
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> Robustness:
    """Summarise which items stay right.

    Parameters
    ----------
    clean : ``(n,)`` 0/1, right on the untouched item
    corrupted : ``(corruption, severity)`` to ``(n,)`` 0/1 for the same items, NaN where the fault changed nothing; one
        that is a number in each
    weights : ``(n,)``, for how much each item counts; None: alike

    Returns
    -------
    Robustness
        Wilson's interval for each; the mean accuracy over corruptions and severities (Hendrycks and Dietterich 2019,
        section 4, as accuracy and without the division by a peer's error), bootstrapped over items. The worst is the
        corruption of lowest mean accuracy, and its severity of lowest accuracy.

    >>> found = robustness(np.ones(4), {("blur", 1): np.array([1, 1, 0, 1])}, rng=np.random.default_rng(0))
    >>> found.mean.value, found.worst
    (0.75, 'blur')
    """
    of = {key: np.asarray(v, dtype=np.float64) for key, v in corrupted.items()}
    seen = {key: ~np.isnan(v) for key, v in of.items()}
    w = np.ones(len(clean)) if weights is None else np.asarray(weights, dtype=np.float64)
    accuracy = {key: proportion(v[seen[key]], weights=w[seen[key]]) for key, v in of.items()}
    names = sorted({name for name, _ in of})
    by_name = {n: float(np.mean([a.value for (name, _), a in accuracy.items() if name == n])) for n in names}
    worst = min(names, key=lambda name: by_name[name])
    severities = {severity: a.value for (name, severity), a in accuracy.items() if name == worst}
    cells = np.stack(list(of.values()))  # (faults, n)
    right, counted = np.nan_to_num(cells) * w, ~np.isnan(cells) * w
    whole = right.sum(axis=1) / counted.sum(axis=1)

    def mean(sums: np.ndarray) -> np.ndarray:
        hits, n = sums[:, : len(right)], sums[:, len(right) :]  # where none of a fault's items was drawn, as it was
        share = np.divide(hits, n, out=np.broadcast_to(whole, n.shape).copy(), where=n > 0)
        return np.asarray(share.mean(axis=1))

    return Robustness(
        clean=proportion(clean, weights=w),
        accuracy=accuracy,
        clean_of={key: float(np.average(np.asarray(clean)[mask], weights=w[mask])) for key, mask in seen.items()},
        mean=bootstrap_sums(np.concatenate([right, counted]).T, mean, rng=rng),
        worst=worst,
        worst_severity=min(severities, key=lambda s: (severities[s], s)),
    )


@dataclass(frozen=True)
class CorruptionError:
    """Errors under faults beside an incumbent's: `of` each corruption, their mean, and the worst corruption.

    1 is as the incumbent, below is better.
    """

    of: dict[str, float]
    mean: Interval
    worst: str


def corruption_error(
    candidate: Mapping[Fault, np.ndarray],
    incumbent: Mapping[Fault, np.ndarray],
    *,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> CorruptionError:
    """Mean corruption error against an incumbent: per corruption, errors summed over severities, one by the other's.

    ``CE_c = sum_s E_(s,c) / sum_s E'_(s,c)`` and mCE its mean over corruptions (Hendrycks and Dietterich 2019,
    section 4; there the incumbent is AlexNet). An incumbent without any error under a corruption is taken to have made
    half of one, where the candidate made some; both without: 1. Both maps are as for `robustness`, of the same faults
    and items, NaN in the same places; `weights` (n,) say for how much each counts. The interval is a bootstrap over
    items, both models' answers together.

    >>> a, b = {("blur", 1): np.array([1, 0, 0, 1])}, {("blur", 1): np.array([1, 1, 0, 1])}
    >>> corruption_error(a, b, rng=np.random.default_rng(0)).mean.value
    2.0
    """
    names = list(dict.fromkeys(name for name, _ in candidate))

    def errors(of: Mapping[Fault, np.ndarray], name: str) -> np.ndarray:
        """(severities, n): what each item adds to the sum, NaN where it does not count."""
        return np.stack([1 - np.asarray(v, dtype=np.float64) for (n, _), v in of.items() if n == name])

    pairs = [(errors(candidate, name), errors(incumbent, name)) for name in names]
    parts = [(np.nan_to_num(a), np.nan_to_num(b), (~np.isnan(a)).astype(np.float64)) for a, b in pairs]
    columns = np.concatenate([rows for part in parts for rows in part]).T  # (n, 3 x faults)
    if weights is not None:
        columns = columns * (np.asarray(weights, dtype=np.float64) / np.mean(weights))[:, None]
    ends = np.cumsum([3 * len(a) for a, _ in pairs])[:-1]

    def ratios(sums: np.ndarray) -> np.ndarray:
        """(b, corruptions)."""
        found = []
        for part in np.split(sums, ends, axis=1):
            a, b, counted = np.split(part, 3, axis=1)
            n_counted = np.maximum(counted, 1e-9)
            ours, theirs = (a / n_counted).sum(axis=1), (b / n_counted).sum(axis=1)
            half = (0.5 / n_counted).min(axis=1)
            some = np.where(ours > 0, ours / half, 1.0)
            found.append(np.divide(ours, theirs, out=some, where=theirs > 0))
        return np.stack(found, axis=1)

    plain = ratios(columns.sum(axis=0)[None])[0]
    return CorruptionError(
        of=dict(zip(names, plain.tolist())),
        mean=bootstrap_sums(columns, lambda sums: np.asarray(ratios(sums).mean(axis=1)), rng=rng),
        worst=names[int(plain.argmax())],
    )
