"""What a gate can tell before the test is opened: how small a difference n labels show, and how many are needed.

Nothing here reads a score. A `Prospect` holds what is known beforehand: how many labels there are, how they cluster,
and guesses. Each statistical gate turns it into a `Forecast` by the very test with which it will judge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from passmuster.core.distributions import beta_ppf, binomial_ppf
from passmuster.core.statistics import MAX_MORE, smallest
from passmuster.metrics.gates.base import POWER, exact_bounds


@dataclass(frozen=True)
class Promise:
    """At most `max_risk` of the answers above a threshold are wrong; `risk` and the `share` of items are guesses."""

    max_risk: float
    risk: float
    share: float


@dataclass(frozen=True)
class Price:
    """What one answer costs at most, and what a wrong one costs on average; None: not known, costs differ by class."""

    largest: float
    wrong: float | None


@dataclass(frozen=True)
class Prospect:
    """What is known before the test is opened.

    `n` labelled test items, of which the smallest class has the share `smallest_class`. `design_effect` is how many
    clustered labels one independent label is worth (1: no clusters). `accuracy` is a guess of the candidate's, `differ`
    of the share of items that candidate and live release answer differently, which was seen on a test worth
    `n_compared` independent items, labelled or not; None, or 0: not known.

    Faults are tried on `n_corrupted` items and attacks on `n_attacked`, at most. The smallest declared group has the
    share `smallest_group` of `n_groups`; 0: none is declared. `set_coverage` is what prediction sets aim at, `promise`
    what the guard promises of its answers and `price` what they cost; None: nothing.
    """

    n: int
    accuracy: float | None = None
    differ: float | None = None
    smallest_class: float = 1.0
    n_classes: int = 1
    design_effect: float = 1.0
    n_corrupted: int = MAX_MORE
    n_attacked: int = MAX_MORE
    smallest_group: float = 1.0
    n_groups: int = 0
    set_coverage: float | None = None
    promise: Promise | None = None
    price: Price | None = None
    n_compared: int = 0

    @property
    def n_effective(self) -> int:
        """Independent items that the labels are worth."""
        return int(self.n / self.design_effect + 1e-9)


@dataclass(frozen=True)
class Forecast:
    """What one gate can tell with the labels there are.

    `detectable` is the value nearest to the gate's bound that passes with the asked power (None: none does, whatever
    the answers), `n_needed` the labels with which `assumed` passes with that power (None: no number, or no assumption).
    Both are in the unit of the gate's bound.
    """

    gate: str
    level: float
    n: int
    bound: float
    detectable: float | None
    assumed: float | None
    n_needed: int | None
    reason: str


def rate_above(bound: float, n: int, alpha: float, power: float = POWER) -> float | None:
    """The smallest true rate that n labels show, by the exact test, to be at least `bound` with probability `power`.

    >>> round(rate_above(0.8, 100, 0.05), 3), rate_above(0.8, 10, 0.05)
    (0.891, None)
    """
    fewest = binomial_ppf(1 - alpha, n, bound) + 1 if n else 1
    while fewest <= n and exact_bounds(fewest / n, n, alpha)[0] < bound:  # the gate itself has the last word
        fewest += 1
    return None if fewest > n else beta_ppf(power, fewest, n - fewest + 1)


def labels_for_rate(rate: float, bound: float, alpha: float, power: float = POWER) -> int | None:
    """The fewest labels that show a true `rate` to be at least `bound` with probability `power`; None: no number does.

    >>> labels_for_rate(0.9, 0.8, 0.05), labels_for_rate(0.8, 0.8, 0.05)
    (88, None)
    """
    if rate <= bound:
        return None

    def works(n: int) -> bool:
        found = rate_above(bound, n, alpha, power)
        return found is not None and found <= rate

    return smallest(works, MAX_MORE)


def spread(n: int | None, design_effect: float) -> int | None:
    """Independent labels as clustered ones."""
    return None if n is None else math.ceil(n * design_effect - 1e-9)


def forecast_rate(
    gate: str, bound: float, prospect: Prospect, alpha: float, power: float, *, what: str, assumed: float | None,
    share: float = 1.0,
) -> Forecast:  # fmt: skip
    """The forecast of a gate that asks a rate to be at least `bound`, of which a `share` of the labels tells."""
    n = int(prospect.n_effective * share + 1e-9)
    found = rate_above(bound, n, alpha, power)
    needed = None if assumed is None else labels_for_rate(assumed, bound, alpha, power)
    n_needed = spread(needed, prospect.design_effect / max(share, 1e-9))
    reason = (
        f"{what} of at least {found:.3f} would pass" if found is not None
        else f"nothing can pass: {n:,} labels never prove {bound:g}"
    )  # fmt: skip
    return Forecast(
        gate, alpha, prospect.n, bound, found, assumed, n_needed, f"{reason}{needs(n_needed, assumed, bound)}"
    )


def forecast_rate_below(
    gate: str, bound: float, prospect: Prospect, alpha: float, power: float, *, what: str, assumed: float | None,
    share: float = 1.0, unit: float = 1.0,
) -> Forecast:  # fmt: skip
    """The forecast of a gate that asks for at most `bound`: a rate, or the mean of what lies between 0 and `unit`."""
    if bound >= unit:  # no answer can miss it
        told = f"{what} cannot be above {unit:.3g}: everything passes"
        return Forecast(gate, alpha, prospect.n, bound, unit, assumed, 0, told)
    n = int(prospect.n_effective * share + 1e-9)
    stays = rate_above(1 - bound / unit, n, alpha, power) if bound > 0 else None
    found = None if stays is None else (1 - stays) * unit
    needed = None if assumed is None else labels_for_rate(1 - assumed / unit, 1 - bound / unit, alpha, power)
    n_needed = spread(needed, prospect.design_effect / max(share, 1e-9))
    reason = f"nothing can pass on {n:,} labels" if found is None else f"{what} of at most {found:.3g} would pass"
    return Forecast(
        gate, alpha, prospect.n, bound, found, assumed, n_needed, f"{reason}{needs(n_needed, assumed, bound)}"
    )


def foretells_nothing(gate: str, alpha: float, prospect: Prospect, bound: float, why: str) -> Forecast:
    """The forecast of a gate of which nothing can be said beforehand."""
    return Forecast(gate, alpha, prospect.n, bound, None, None, None, why)


def needs(n_needed: int | None, assumed: float | None, bound: float) -> str:
    """The end of a reason: how many labels what is assumed would need."""
    if assumed is None:
        return ""
    if n_needed is None:
        return f"; at {assumed:.3f}, as assumed, no number of labels passes"
    return f"; {assumed:.3f}, as assumed, needs about {n_needed:,} labels"
