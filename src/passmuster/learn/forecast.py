"""What another dozen labels will bring to accuracy: a curve from today's error, as steep as curves usually are.

The error falls as a power of the number of labels, ``error(n) = error * (n / n_labels) ** -slope`` (Cortes et al. 1994;
Hestness et al. 2017). Today's error is what the model itself expects, one less its mean confidence over the pool, and
what a test showed, where there was one. Cross-validation is no help here: labels that were chosen for doubt are harder
than the pool (with 160 of them AG News reads .42 where the error is .16), and the slope between half of the labels and
all said nothing of the gain that came (docs/log.md). So the slope is a prior, measured on benchmark sets, and the
interval holds how much it differs from set to set, and what no curve can know: which items the next dozen will be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import UsageError

LEVEL = 0.8  # of the forecast's interval
Z = 1.2816  # of a two-sided normal interval at that level
SMALLEST_ERROR = 0.005


@dataclass(frozen=True)
class CurvePrior:
    """What curves of chosen labels looked like on training halves of Banking77, AG News, SMS spam and Fashion-MNIST."""

    slope_few: float = 0.45  # with fewer labels per class than `few`
    slope: float = 0.25
    slope_spread: float = 0.25
    few: float = 5.0
    error_spread: float = 0.4  # of the logarithm of (1 - mean confidence) about that of the error
    luck: float = 0.05  # spread of a gain, as a share of sqrt(error * n_more / n_labels)
    noise: float = 0.0  # spread of a gain however many labels there are: of a head that is fitted and calibrated anew
    too_sure_few: float = 0.0  # logarithm of the error over what the model expects, with fewer labels than `few`
    too_sure: float = 0.0  # and with more


PRIOR = CurvePrior()
# Of sets of classes, on sets composed of halves of training splits (bench/choose_label_sets.py): a head is too sure of
# itself while few labels carry each class, for one because there are classes that it has not seen.
PRIOR_OF_ITEM_F1 = CurvePrior(
    slope_few=0.45, few=8.0, error_spread=0.3, luck=0.04, noise=0.01, too_sure_few=0.3, too_sure=0.1
)
PRIOR_OF_WHOLE_SETS = CurvePrior(slope_few=0.25, few=8.0, error_spread=0.3, luck=0.04, noise=0.01, too_sure_few=0.2)


@dataclass(frozen=True)
class Forecast:
    """What `n_more` labels are expected to bring to accuracy, in [-1, 1], with an interval at `level`.

    `error` is the error expected of today's labels on fresh items, `error_spread` that of its logarithm.
    """

    n_labels: int
    n_more: int
    error: float
    error_spread: float
    slope: float
    slope_spread: float
    gain: float
    low: float
    high: float
    level: float = LEVEL
    luck: float = PRIOR.luck
    noise: float = PRIOR.noise


def expected_error(probabilities: np.ndarray) -> float:
    """The error that a model expects of itself: one less the mean probability of its first answers (n, k).

    >>> expected_error(np.array([[0.75, 0.25], [0.5, 0.5]]))
    0.375
    """
    return float(1.0 - probabilities.max(axis=1).mean())


def forecast_gain(
    n_labels: int,
    n_more: int,
    error: float,
    *,
    n_classes: int,
    tested: tuple[float, int] | None = None,
    prior: CurvePrior = PRIOR,
) -> Forecast:
    """The gain that `n_more` labels are expected to bring.

    Parameters
    ----------
    n_labels : how many there are, 1 or more
    n_more : 0 or more
    error : that the model expects of itself, in [0, 1]
    n_classes : seen among the labels
    tested : error and number of test labels of a model that learnt from these labels, where one was evaluated

    Raises
    ------
    UsageError
        ``forecast.n`` for a number of labels that cannot be.

    >>> found = forecast_gain(40, 12, 0.2, n_classes=4)
    >>> round(found.gain, 3), found.low < 0 < found.high
    (0.013, True)
    """
    if n_labels < 1 or n_more < 0:
        raise UsageError("forecast.n", "not a number of labels", value=(n_labels, n_more), limit="1 or more, 0 or more")
    is_few = n_labels < prior.few * n_classes
    too_sure = prior.too_sure_few if is_few else prior.too_sure
    estimates = [(math.log(max(SMALLEST_ERROR, error)) + too_sure, prior.error_spread)]
    if tested is not None and tested[1] > 0:
        seen = (tested[0] * tested[1] + 0.5) / (tested[1] + 1)
        estimates.append((math.log(seen), math.sqrt((1 - seen) / (seen * tested[1]))))
    log_error, error_spread = _combined(estimates)
    slope = prior.slope_few if is_few else prior.slope
    error = min(1.0, math.exp(log_error))
    return gain_of(n_labels, n_more, error, error_spread, slope, prior.slope_spread, prior.luck, prior.noise)


def gain_of(
    n_labels: int, n_more: int, error: float, error_spread: float, slope: float, slope_spread: float,
    luck: float = PRIOR.luck, noise: float = PRIOR.noise,
) -> Forecast:  # fmt: skip
    """The forecast that a curve gives; the numbers are those of `Forecast` and `CurvePrior`."""
    ratio = n_labels / (n_labels + n_more)
    kept = ratio**slope
    gain = error * (1.0 - kept)
    by_slope = error * kept * -math.log(ratio) * slope_spread
    by_luck = luck * math.sqrt(error * n_more / n_labels)
    half = Z * math.sqrt((gain * error_spread) ** 2 + by_slope**2 + by_luck**2 + (noise if n_more else 0.0) ** 2)
    low, high = gain - half, gain + half
    return Forecast(n_labels, n_more, error, error_spread, slope, slope_spread, gain, low, high, luck=luck, noise=noise)


def _combined(estimates: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean and spread of independent estimates, by their precisions."""
    precisions = [1.0 / spread**2 for _, spread in estimates]
    total = sum(precisions)
    return sum(p * value for p, (value, _) in zip(precisions, estimates, strict=True)) / total, total**-0.5
