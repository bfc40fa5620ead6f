"""A rate from few labels and many predictions: the labels say how wrong the predictions are, the predictions the rest.

Every item of a pool has features that foretell its value; a few have labels, drawn with known probabilities in one or
several rounds. The estimate is the mean prediction over the whole pool plus the weighted mean error of the predictions
on the labelled items (Cassel, Särndal and Wretman 1976; Angelopoulos et al. 2023; Zrnic and Candès 2024). The weights
alone make it right, whatever the predictions are worth; good predictions make it precise.

The pool itself is a sample of the world, so its own variance is added: a wholly labelled pool gives back the binomial
interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import normal_isf, student_isf
from passmuster.core.errors import DataError
from passmuster.core.statistics import STRICT, Interval, wilson

METHOD = "prediction-powered.v3"  # versions: docs/why/008-how-test-labels-are-read.md
CAREFUL = "prediction-powered.v4"
MODEL_LABELS = (
    30.0  # the predicted variance counts like this many labels beside the variance seen (few labels see little)
)
MAX_LEVERAGE = 0.9
MAX_STEPS = 50


@dataclass(frozen=True)
class Round:
    """One draw, seen from the labelled items ``(n,)``.

    Parameters
    ----------
    n_population : how many unlabelled items it was drawn from
    drawn : which labelled items it gave
    probabilities : with which chance each was drawn; read only where `drawn`
    before : which had their label when it was drawn
    """

    n_population: int
    drawn: np.ndarray
    probabilities: np.ndarray
    before: np.ndarray


@dataclass(frozen=True)
class Prior:
    """What is believed of the coefficients of the features before any label: their values, and how firmly ``(p,)``.

    The first belongs to the constant. `firmness` is a ridge penalty: about as many labels as would outweigh it.
    """

    values: tuple[float, ...]
    firmness: tuple[float, ...]


@dataclass(frozen=True)
class Powered:
    """A rate with its interval, the refitted predictions ``(N,)``, the weights ``(n,)``, and what the labels are worth.

    `worth` is the number of random labels that would have given the same variance.
    """

    interval: Interval
    predictions: np.ndarray
    weights: np.ndarray
    worth: float


def at_random(n: int, n_pool: int) -> Round:
    """The round that `n` labels are when all items were equally likely to be labelled."""
    return Round(n_pool, np.ones(n, dtype=bool), np.full(n, n / n_pool), np.zeros(n, dtype=bool))


def combined_weights(rounds: Sequence[Round], n: int) -> tuple[np.ndarray, np.ndarray]:
    """For how many items of the pool each of `n` labelled ones stands, and the factors ``(n,)`` of its error's square.

    Each round alone estimates the pool without bias: what was labelled before counts for itself, what it drew counts
    by the inverse of its chance, scaled to the round's population, which also makes up for items left unanswered. The
    rounds are mixed in inverse proportion to the variance they would have if all items were alike, which depends on
    numbers of items only; so several equal-chance rounds weigh like one.

    >>> before = np.array([False, False, True, True])
    >>> first = Round(10, ~before | before, np.full(4, 0.4), np.zeros(4, bool))
    >>> combined_weights([first], 4)[0]
    array([2.5, 2.5, 2.5, 2.5])
    """
    used = [r for r in rounds if r.drawn.any()]
    if not used:
        raise DataError("powered.rounds", "no label comes from a draw", value=n)
    answered = np.array([int(r.drawn.sum()) for r in used], dtype=np.float64)
    population = np.maximum(np.array([r.n_population for r in used], dtype=np.float64), answered)
    left = population - answered
    if left[-1] == 0:  # the last round answered all there was: the pool is known
        shares = np.where(np.arange(len(used)) == len(used) - 1, 1.0, 0.0)
    else:  # an earlier one may have done so too, if the pool grew afterwards
        shares = answered / (population * np.maximum(left, 0.5))
        shares /= shares.sum()
    weights, factors = np.zeros(n), np.zeros(n)
    for r, share, size in zip(used, shares, population, strict=True):
        inverse = np.where(r.drawn, 1.0 / r.probabilities, 0.0)
        inverse *= size / inverse.sum()
        weights += share * (inverse + r.before)
        factors += share**2 * np.maximum(inverse - 1.0, 0.0) * inverse
    return weights, factors


def powered_rate(
    values: np.ndarray,
    positions: np.ndarray,
    features: np.ndarray,
    prior: Prior,
    rounds: Sequence[Round],
    *,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
    careful: bool = False,
) -> Powered:
    """The mean of 0 and 1, or of values between, among the world's items, from labels at some `positions` of a pool.

    The predictions are a logistic regression on `features`, fitted to the labels by penalised likelihood, each label
    counting alike: what that gets wrong the weights set right, and in the fit they would only be noise. With few labels
    it stays near the prior, and a useless feature loses its say, so that poor predictions do no worse than none (as
    the tuning of Angelopoulos, Duchi and Zrnic 2023). Squared errors are divided by one less their leverage, which
    makes up for the fitting on average (HC2 of MacKinnon and White 1985), and mixed with the predicted variance. From
    the variance follows an effective number of labels, for Wilson's interval.

    Parameters
    ----------
    values : (n,) 0 or 1; or with `careful` anything between
    positions : (n,) of the labelled items in the pool
    features : (N, p), the first column all 1
    prior : of the coefficients
    rounds : how the labels were drawn
    clusters : (N,) items that stand and fall together share a name; None: each its own
    careful : the variance that was seen counts for more, because few labels do not tell it surely: times ``(t / z)^2``
        at the one-sided level `core.statistics.STRICT`, with the degrees of freedom that the squares leave. And values
        between 0 and 1 are not taken to vary as coins of that mean would, but by as much as they are seen to
        (the dispersion of McCullagh and Nelder 1989, section 4.5, held near 1 by `MODEL_LABELS` labels). Over a whole
        pool they still count as coins, so that the interval of few is never narrower than labelling all would be by
        more than that

    >>> rng = np.random.default_rng(0)
    >>> chance = rng.random(1_000)
    >>> truth = (rng.random(1_000) < chance).astype(float)
    >>> x = np.stack([np.ones(1_000), np.log(chance / (1 - chance))], axis=1)
    >>> found = powered_rate(truth[:100], np.arange(100), x, Prior((0, 1), (0.25, 4)), [at_random(100, 1_000)])
    >>> 100 < found.worth < 400, bool(found.interval.low < truth.mean() < found.interval.high)
    (True, True)
    """
    y, at = np.asarray(values, dtype=np.float64), np.asarray(positions)
    n_pool, n = len(features), len(y)
    weights, factors = combined_weights(rounds, n)
    weights, factors = weights * (n_pool / weights.sum()), factors / n_pool**2
    coefficients, leverage = fit_logistic(features[at], y, np.ones(n), prior)
    predictions = expit(features @ coefficients)
    near = predictions[at]
    error = y - near
    rate = float(predictions.mean() + (weights * error).sum() / n_pool)
    rate = min(max(rate, 0.5 / (n_pool + 1)), 1 - 0.5 / (n_pool + 1))
    names = np.arange(n_pool) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    scale = np.sqrt(factors)
    parts = scale * error / np.sqrt(1 - leverage)
    seen = _squares(parts, names[at])
    foretold = float((factors * near * (1 - near)).sum())
    if careful:
        seen *= _unsure(parts, names[at])
        foretold *= _dispersion(y, near, leverage)
    if factors.any():
        foretold *= _squares(scale, names[at]) / float(factors.sum())
    trust = MODEL_LABELS / (MODEL_LABELS + n)
    of_pool = rate * (1 - rate) / n_pool * float((np.bincount(names) ** 2).sum()) / n_pool
    variance = (1 - trust) * seen + trust * foretold + of_pool
    worth = rate * (1 - rate) / variance
    found = wilson(rate * worth, worth, level=level)
    method = CAREFUL if careful else METHOD
    interval = Interval(rate, min(found.low, rate), max(found.high, rate), n, method, level)
    return Powered(interval, predictions, weights, worth)


def fit_logistic(x: np.ndarray, y: np.ndarray, weights: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients ``(p,)`` near the prior, and each row's leverage ``(n,)``: its say in its own prediction.

    Newton's steps on the penalised log-likelihood, shortened where they are long; it is strictly concave.
    """
    start, firm = np.asarray(prior.values, dtype=np.float64), np.asarray(prior.firmness, dtype=np.float64)
    beta = start.copy()
    for _ in range(MAX_STEPS):
        p = expit(x @ beta)
        curvature = weights * np.maximum(p * (1 - p), 1e-6)
        hessian = (x * curvature[:, None]).T @ x + np.diag(firm)
        step = np.linalg.solve(hessian, x.T @ (weights * (y - p)) - firm * (beta - start))
        beta = beta + step * min(1.0, 2.0 / (float(np.abs(step).max()) + 1e-12))
        if float(np.abs(step).max()) < 1e-7:
            break
    leverage = curvature * np.einsum("ij,ij->i", x @ np.linalg.inv(hessian), x)
    return beta, np.minimum(leverage, MAX_LEVERAGE)


def expit(x: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-x))``, kept off 0 and 1."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))


def logit(p: np.ndarray, *, least: float = 1e-6) -> np.ndarray:
    """``log(p / (1 - p))`` of chances kept `least` away from 0 and 1.

    >>> logit(np.array([0.5])).tolist()
    [0.0]
    """
    q = np.clip(np.asarray(p, dtype=np.float64), least, 1 - least)
    return np.asarray(np.log(q / (1 - q)))


def _unsure(parts: np.ndarray, names: np.ndarray) -> float:
    """By how much a variance grows because so few squares tell it; `parts` (n,) of clusters add up first."""
    squares = np.bincount(names, weights=parts)[np.unique(names)] ** 2
    n, total = len(squares), float(squares.sum())
    unsure = float((squares**2).sum()) - total**2 / n
    freedom = min(n - 1.0, 2 * total**2 / unsure) if unsure > 0 else n - 1.0
    return (student_isf(STRICT, max(1.0, freedom)) / normal_isf(STRICT)) ** 2


def _dispersion(values: np.ndarray, foretold: np.ndarray, leverage: np.ndarray) -> float:
    """The variance of values around what was foretold of them, of that of coins; of zeros and ones it is 1."""
    if np.isin(values, (0.0, 1.0)).all():
        return 1.0
    coins = foretold * (1 - foretold)
    prior = MODEL_LABELS * float(coins.mean())
    seen = float(((values - foretold) ** 2 / (1 - leverage)).sum())
    return min(1.0, (prior + seen) / (prior + float(coins.sum())))


def _squares(parts: np.ndarray, names: np.ndarray) -> float:
    """Sum over clusters of the square of the sum of their parts."""
    return float((np.bincount(names, weights=parts) ** 2).sum())
