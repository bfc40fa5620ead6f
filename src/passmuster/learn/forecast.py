"""What another dozen labels will bring to accuracy: a learning curve through what is measured, held near the usual.

The error falls as a power of the number of labels, ``error(n) = error * (n / n_labels) ** -slope`` (Cortes et al.
1994; Hestness et al. 2017). Two things are measured by cross-validation on the labels at hand: the error, and how
much larger it is with half as many labels. Both are rough with few labels, so they are combined, by their precisions,
with what was seen on benchmark sets (`PRIOR`): how steep curves of chosen labels are, and by how much
cross-validation on chosen labels, which are harder than most, overstates the error. The interval adds what no curve
can know: which items the next dozen will be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import UsageError
from passmuster.learn.folds import N_FOLDS, stratified_folds
from passmuster.learn.heads import held_out
from passmuster.learn.logistic import fit_logistic, one_hot

LEVEL = 0.8  # of the forecast's interval
Z = 1.2816  # of a two-sided interval at that level
N_REPEATS = 3
SMALLEST_ERROR = 0.005


@dataclass(frozen=True)
class CurvePrior:
    """What learning curves of chosen labels looked like on the tuning halves; see bench/choose.py."""

    slope: float = 0.45
    slope_spread: float = 0.2
    overstated: float = 0.3  # natural logarithm of (cross-validated error / error on fresh items)
    overstated_spread: float = 0.4
    luck: float = 0.25  # spread of a gain, as a share of error * sqrt(n_more / n_labels)


PRIOR = CurvePrior()


@dataclass(frozen=True)
class MeasuredCurve:
    """Cross-validated errors of a head with all training folds and with half of each, on the same held-out items."""

    n_labels: int
    n_full: float  # labels learnt from, on average
    n_half: float
    error_full: float
    error_half: float
    n_items: int  # different items held out
    slope: float  # of the two; NaN when one of them is zero
    slope_se: float


@dataclass(frozen=True)
class Forecast:
    """What `n_more` labels are expected to bring to accuracy, in [−1, 1], with an interval at `level`.

    `error` is the error expected of today's labels on fresh items.
    """

    n_labels: int
    n_more: int
    error: float
    error_spread: float  # of the error's logarithm
    slope: float
    slope_spread: float
    gain: float
    low: float
    high: float
    level: float = LEVEL


def measure_curve(
    x: np.ndarray, labels: np.ndarray, n_classes: int, rng: np.random.Generator, *, c: float = 10.0
) -> MeasuredCurve:
    """Errors with three quarters of the labels and with three eighths, held-out items in `N_REPEATS` splits.

    Parameters
    ----------
    x : (l, d) scaled embeddings of the labelled items
    labels : (l,) class numbers

    Raises
    ------
    DataError
        ``data.too_few_labels`` when fewer than two classes have two labels.
    """
    n = len(labels)
    wrong = np.zeros((2, n))
    sizes: list[tuple[int, int]] = []
    items = np.arange(n)
    for _ in range(N_REPEATS):
        fold = stratified_folds(labels, N_FOLDS, rng)
        items = held_out(fold[None], labels)
        for number in range(N_FOLDS):
            out = np.flatnonzero(fold == number)
            inside = np.flatnonzero(fold != number)
            if not len(out):
                continue
            half = rng.permutation(inside)[: math.ceil(len(inside) / 2)]
            sizes.append((len(inside), len(half)))
            for row, learnt in enumerate((inside, half)):
                weight, bias = fit_logistic(x[learnt], one_hot(labels[learnt], n_classes), c=c)
                known = np.isin(np.arange(n_classes), labels[learnt])
                logits = np.where(known, x[out] @ weight + bias, -np.inf)
                wrong[row, out] += logits.argmax(axis=1) != labels[out]
    wrong = wrong[:, items] / N_REPEATS
    full, half_error = wrong.mean(axis=1)
    n_full, n_half = np.mean(sizes, axis=0)
    slope, slope_se = math.nan, math.inf
    if full > 0 and half_error > 0:
        octaves = math.log(n_full / n_half)
        slope = math.log(half_error / full) / octaves
        influence = (wrong[1] / half_error - wrong[0] / full) / octaves  # delta method, on the same items
        slope_se = float(influence.std(ddof=1) / math.sqrt(len(items))) if len(items) > 1 else math.inf
    return MeasuredCurve(n, float(n_full), float(n_half), float(full), float(half_error), len(items), slope, slope_se)


def forecast_gain(
    curve: MeasuredCurve,
    n_more: int,
    *,
    prior: CurvePrior = PRIOR,
    tested: tuple[float, int] | None = None,
) -> Forecast:
    """The gain that `n_more` labels are expected to bring.

    Parameters
    ----------
    curve : of the labels there are
    n_more : 0 or more
    tested : error and number of test labels of a model learnt from these labels, where one was evaluated

    Raises
    ------
    UsageError
        ``forecast.n`` when `n_more` is negative.

    >>> curve = MeasuredCurve(40, 30, 15, 0.3, 0.4, 40, 0.4, 0.2)
    >>> found = forecast_gain(curve, 12)
    >>> found.low < 0.02 < found.gain < 0.04 < found.high
    True
    """
    if n_more < 0:
        raise UsageError("forecast.n", "not a number of labels", value=n_more, limit="0 or more")
    slope, slope_spread = _combined([(prior.slope, prior.slope_spread), (curve.slope, max(curve.slope_se, 0.05))])
    slope = max(0.0, slope)
    judged = max(curve.error_full, 1.0 / (curve.n_items + 2))
    log_error = math.log(judged) - slope * math.log(curve.n_labels / curve.n_full) - prior.overstated
    relative = math.sqrt((1 - judged) / (judged * curve.n_items))
    estimates = [(log_error, math.hypot(prior.overstated_spread, relative))]
    if tested is not None and tested[1] > 0:
        seen = (tested[0] * tested[1] + 0.5) / (tested[1] + 1)
        estimates.append((math.log(seen), math.sqrt((1 - seen) / (seen * tested[1]))))
    log_error, error_spread = _combined(estimates)
    error = min(1.0, max(SMALLEST_ERROR, math.exp(log_error)))
    return gain_of(curve.n_labels, n_more, error, error_spread, slope, slope_spread, prior.luck)


def gain_of(
    n_labels: int, n_more: int, error: float, error_spread: float, slope: float, slope_spread: float,
    luck: float = PRIOR.luck,
) -> Forecast:  # fmt: skip
    """The forecast that a curve gives; `error_spread` is relative, `luck` as in `CurvePrior`."""
    ratio = n_labels / (n_labels + n_more)
    kept = ratio**slope
    gain = error * (1.0 - kept)
    by_slope = error * kept * -math.log(ratio) * slope_spread
    by_luck = luck * error * math.sqrt(n_more / n_labels)
    half = Z * math.sqrt((gain * error_spread) ** 2 + by_slope**2 + by_luck**2)
    return Forecast(
        n_labels, n_more, error, error_spread, slope, slope_spread, gain, gain - half, min(error, gain + half)
    )


def _combined(estimates: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean and spread of independent estimates by their precisions; what is no number is left out."""
    sure = [(value, spread) for value, spread in estimates if math.isfinite(value) and math.isfinite(spread)]
    precisions = [1.0 / spread**2 for _, spread in sure]
    total = sum(precisions)
    return sum(p * value for p, (value, _) in zip(precisions, sure, strict=True)) / total, total**-0.5
