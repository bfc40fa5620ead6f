"""Rates of all items, where a few labels say what becomes of those that can change: intervals at any number of labels.

Of `n` items a share is known to be answered differently, whoever is right. Only of `size` of those is it known who is:
on a share `better` of them the candidate, on `worse` the incumbent. Wanted are `share * worse`, and
`share * (better - worse)`. Both intervals are score intervals: they hold what a test does not reject whose variance is
that under the hypothesis, at the likeliest values of all else. Where every such item has a label, they are Wilson's
and Tango's of the counts (a rate of few reaches a little farther); with fewer labels they widen steadily, up to what
nobody can doubt: no more can change than differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from passmuster.core.distributions import beta_isf, beta_ppf, normal_ppf
from passmuster.core.statistics import Interval, wilson

_HALVINGS = 24
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 20  # golden sections of the range of a share


def rate_among(share: float, n: float, worse: float, size: float, *, level: float = 0.95) -> Interval:
    """The rate ``share * worse`` of all items, each in [0, 1], with `share` from `n` items and `worse` from `size`.

    `n` and `size` need not be whole; ``size <= share * n``. With `size` 0 the value is not a number, unless nothing
    differs. Score intervals of a few among many begin too late (Brown, Cai and DasGupta 2001, section 4.1.2), so they
    reach as far as a one-sided exact bound of `worse`.

    >>> from passmuster.core.statistics import wilson
    >>> found, plain = rate_among(0.2, 100, 0.5, 20), wilson(10, 100)
    >>> abs(found.low - plain.low) < 1e-4, abs(found.high - plain.high) < 1e-4
    (True, True)
    >>> nothing = rate_among(0.4, 100, 0.0, 0)
    >>> nothing.low, round(nothing.high, 3)
    (0.0, 0.498)
    """
    most = wilson(share * n, n, level=level).high
    if size <= 0:
        return Interval(math.nan if share else 0.0, 0.0, most, round(n), "score", level)
    z, value = normal_ppf(0.5 + level / 2), share * worse
    all_kept, same, kept = share * n - size * worse, n - share * n, size * (1 - worse)

    def is_held(rate: float) -> bool:
        """The likeliest share at this rate solves a square equation; then its variance is that of a product."""
        first, third = all_kept + same, rate * (all_kept - kept)
        second = all_kept * (1 + rate) + (same - kept) * rate
        root = math.sqrt(max(0.0, second**2 - 4 * first * third))
        likeliest = min(1.0, max(rate, (second + root) / (2 * first))) if first > 0 else 1.0
        part = rate / likeliest if likeliest > 0 else 0.0
        return _is_within(z, value - rate, likeliest, part, part, size / share, n)

    low, high = _edge(value, 0.0, is_held), _edge(value, max(most, value), is_held)
    few, left = size * worse, size * (1 - worse)
    low = min(low, share * beta_ppf(1 - level, few, left + 1)) if few > 0 else 0.0
    high = max(high, min(most, share * beta_isf(1 - level, few + 1, left))) if left > 0 else high
    return Interval(value, low, high, round(n), "score", level)


def difference_among(
    share: float, n: float, better: float, worse: float, size: float, *, level: float = 0.95
) -> Interval:
    """The difference ``share * (better - worse)`` of all items; arguments as of `rate_among`, ``better + worse <= 1``.

    >>> from passmuster.core.paired import paired_difference
    >>> found, plain = difference_among(0.1, 100, 0.1, 0.9, 10), paired_difference(1, 9, 100)
    >>> abs(found.low - plain.low) < 1e-4, abs(found.high - plain.high) < 1e-4
    (True, True)
    """
    most = wilson(share * n, n, level=level).high
    if size <= 0:
        return Interval(math.nan if share else 0.0, -most, most, round(n), "score", level)
    z, value = normal_ppf(0.5 + level / 2), share * (better - worse)
    neither = max(0.0, 1 - better - worse)
    differ, same = share * n, n - share * n

    def is_held(gain: float) -> bool:
        def chance(of_all: float) -> float:
            part = gain / of_all
            lost = _likeliest_lost(better, worse, part)
            inside = better * _log(lost + part) + worse * _log(lost) + neither * _log(1 - 2 * lost - part)
            return _times_log(differ, of_all) + _times_log(same, 1 - of_all) + size * inside

        likeliest = _highest(chance, max(abs(gain), 1e-12), 1.0)
        part = gain / likeliest
        return _is_within(
            z, value - gain, likeliest, part, 2 * _likeliest_lost(better, worse, part) + part, size / share, n
        )

    far = max(most, abs(value))
    return Interval(value, _edge(value, -far, is_held), _edge(value, far, is_held), round(n), "score", level)


def _likeliest_lost(better: float, worse: float, part: float) -> float:
    """The likeliest share on which the incumbent is right, where the gain is `part` (Tango 1998, eq. 7)."""
    second = -better - worse + (2 - better + worse) * part
    third = -worse * part * (1 - part)
    lost = (math.sqrt(max(0.0, second**2 - 8 * third)) - second) / 4
    return min(max(lost, 0.0, -part), (1 - part) / 2)


def _is_within(z: float, off: float, share: float, mean: float, square: float, labels: float, n: float) -> bool:
    """Whether a product is `off` by at most `z` of its standard errors.

    `mean` and `square` are of what one differing item adds, and of its square; it is told by as many differing ones as
    `labels` of all items bring.
    """
    variance = share * max(0.0, square - mean**2) / labels + mean**2 * share * (1 - share) / n
    return off**2 <= z**2 * variance + 1e-18


def _edge(near: float, far: float, is_held: Callable[[float], bool]) -> float:
    """How far from `near` towards `far` values are held; `far` itself if it is."""
    if is_held(far):
        return far
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        near, far = (middle, far) if is_held(middle) else (near, middle)
    return near


def _highest(value: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one summit is highest (golden section)."""
    one, two = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_one, at_two = value(one), value(two)
    for _ in range(_STEPS):
        if at_one >= at_two:
            high, two, at_two = two, one, at_one
            one = high - _GOLDEN * (high - low)
            at_one = value(one)
        else:
            low, one, at_one = one, two, at_two
            two = low + _GOLDEN * (high - low)
            at_two = value(two)
    return (low + high) / 2


def _log(chance: float) -> float:
    return math.log(max(chance, 1e-300))


def _times_log(count: float, chance: float) -> float:
    return count * _log(chance) if count > 0 else 0.0
