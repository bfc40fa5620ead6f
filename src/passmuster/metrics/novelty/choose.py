"""Which detector guards: by how well each told classes left out from the others, less a little for what it costs.

Whoever calls leaves some classes out of everything (head, detector, ordinary items) and says what came of it, once per
draw of classes; the test has no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import DataError
from passmuster.metrics.novelty.find import detectors, find_detector
from passmuster.metrics.ranking import auroc

AUTO = "auto"
FALLBACK = "knn.v1"  # where nothing can be left out: the one that needs neither labels nor a head
PER_TENFOLD = 0.001  # AUROC that a detector must bring for every tenfold of multiplications beyond `FREE`
FREE = 1_000.0  # multiplications for one item: about a head's


def refuse_unknown_detector(name: str) -> None:
    """An unknown detector says so now, with the nearest name, and not when a guard is fitted."""
    if name != AUTO:
        find_detector(name)


@dataclass(frozen=True)
class Trial:
    """One draw of classes left out: AUROC of each detector, and multiplications for one item."""

    areas: Mapping[str, float]
    work: Mapping[str, float]


@dataclass(frozen=True)
class Standing:
    """A detector over all trials. `area` is the mean AUROC, `behind` how far it is behind the first, costs counted.

    `behind_se` is that difference's standard error over the trials; 0 of the chosen one, and with one trial.
    """

    name: str
    area: float
    work: float
    kept_for: float  # AUROC less the price of its work
    behind: float
    behind_se: float


def try_detectors(
    names: Sequence[str],
    fit: tuple[np.ndarray, np.ndarray],
    ordinary: tuple[np.ndarray, np.ndarray],
    strange: tuple[np.ndarray, np.ndarray],
) -> Trial:
    """Fit each on embeddings (n, d) and logits (n, c) of ordinary items; score others, and strange ones.

    >>> rng = np.random.default_rng(0)
    >>> near, far = (rng.normal(3.0 * k, 0.1, (50, 2)) for k in (1, -1))
    >>> trial = try_detectors(["knn.v1"], (near, near), (near, near), (far, far))
    >>> trial.areas
    {'knn.v1': 1.0}
    """
    d, c = fit[0].shape[1], fit[1].shape[1]
    areas, work = {}, {}
    for name in names:
        arrays = detectors[name].fit(*fit)
        high, low = (detectors[name].score(arrays, *side) for side in (strange, ordinary))
        areas[name] = auroc(high, low).value
        work[name] = detectors[name].work(arrays, d, c)
    return Trial(areas, work)


def rank_detectors(trials: Sequence[Trial]) -> list[Standing]:
    """Every detector, the one to choose first.

    Raises
    ------
    DataError
        ``novelty.no_trials``.

    >>> cheap, dear = {"msp.v1": 0.9, "knn.v1": 0.902}, {"msp.v1": 100.0, "knn.v1": 1e6}
    >>> [standing.name for standing in rank_detectors([Trial(cheap, dear)])]
    ['msp.v1', 'knn.v1']
    """
    if not trials:
        raise DataError("novelty.no_trials", "no classes were left out, so that no detector can be chosen")
    names = list(trials[0].areas)
    areas = np.array([[trial.areas[name] for name in names] for trial in trials])  # (trials, detectors)
    work = np.array([max(trial.work[name] for trial in trials) for name in names])
    worth = areas - price(work)
    best = int(worth.mean(axis=0).argmax())
    lost = worth[:, [best]] - worth
    error = lost.std(axis=0, ddof=1) / math.sqrt(len(trials)) if len(trials) > 1 else np.zeros(len(names))
    order = np.argsort(lost.mean(axis=0), kind="stable")
    return [
        Standing(names[i], float(areas[:, i].mean()), float(work[i]), float(worth[:, i].mean()),
                 float(lost[:, i].mean()), float(error[i]))
        for i in order
    ]  # fmt: skip


def price(work: np.ndarray) -> np.ndarray:
    """AUROC that so many multiplications for one item must bring.

    >>> price(np.array([100.0, 1e6])).round(6).tolist()
    [0.0, 0.003]
    """
    return np.asarray(PER_TENFOLD * np.log10(np.maximum(1.0, np.asarray(work) / FREE)))
