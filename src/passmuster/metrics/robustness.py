"""What natural faults cost: accuracy under each corruption and severity, and over all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passmuster.core.statistics import Interval, wilson
from passmuster.metrics.calibration import mean_interval


@dataclass(frozen=True)
class Robustness:
    """`accuracy` under each ``(corruption, severity)``, their mean over all, and the corruption that costs most."""

    clean: Interval
    accuracy: dict[tuple[str, int], Interval]
    mean: Interval
    worst: str
    worst_severity: int


def robustness(
    clean: np.ndarray, corrupted: dict[tuple[str, int], np.ndarray], *, rng: np.random.Generator
) -> Robustness:
    """Summarise which items stay right.

    Parameters
    ----------
    clean : ``(n,)`` 0/1, right on the untouched item
    corrupted : ``(corruption, severity)`` to ``(n,)`` 0/1 for the same items

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
    names = sorted({name for name, _ in corrupted})
    by_name = {n: float(np.mean([v.mean() for (name, _), v in corrupted.items() if name == n])) for n in names}
    worst = min(names, key=lambda name: by_name[name])
    severities = {severity: float(v.mean()) for (name, severity), v in corrupted.items() if name == worst}
    per_item = np.mean([np.asarray(v, dtype=np.float64) for v in corrupted.values()], axis=0)
    return Robustness(
        clean=wilson(float(np.sum(clean)), len(clean)),
        accuracy={key: wilson(float(v.sum()), len(v)) for key, v in corrupted.items()},
        mean=mean_interval(per_item, rng=rng),
        worst=worst,
        worst_severity=min(severities, key=lambda s: (severities[s], s)),
    )
