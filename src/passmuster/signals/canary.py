"""Is the canary worse than the live release? Their concurrent errors, compared after every label, all its life.

Labels are gathered in blocks of one canary label and `n_live` live ones. For a live error rate l and a canary rate
``c = l + rise``, both fixed before the block, and their pooled rate ``o = (c + n_live l) / (1 + n_live)``, the block's

    E = p_c(y_canary) prod p_l(y_live) / (p_o(y_canary) prod p_o(y_live))

has mean at most 1 whenever both have the same rate p (Turner, Ly and Grünwald 2024, Theorem 1): the mean is
``f_c(p) f_l(p)^n_live`` with linear f, its logarithm is concave, and at ``p = o`` it is 0 with slope 0. The factor f_l
falls as the live rate grows, so the same holds when the live rate is the larger: E is an e-variable for "the canary is
not worse". Products over blocks, averaged over several rises, stay below ``1 / alpha`` for ever with probability
``1 - alpha`` (Ville 1939).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from typing import Literal

RISE_STEPS = (1.0, 2.0, 4.0, 8.0)  # times the smallest rise
LARGEST_RATE = 0.99
MAX_LIVE_PER_CANARY = 10
MAX_WAITING = 1_000  # canary labels that wait for live ones; older ones are dropped, whatever they said


@dataclass(frozen=True)
class Comparison:
    """The comparison after `n_blocks` blocks. Counts are of all labels seen; `waiting_*` are not in a block yet."""

    alpha: float
    smallest_rise: float
    n_live_per_block: int
    log_e: tuple[float, ...] = (0.0,) * len(RISE_STEPS)
    waiting_canary: tuple[bool, ...] = ()
    waiting_live: tuple[bool, ...] = ()
    n_blocks: int = 0
    n_block_live_errors: int = 0
    n_canary: int = 0
    n_canary_errors: int = 0
    n_live: int = 0
    n_live_errors: int = 0
    fired: bool = False

    @property
    def statistic(self) -> float:
        """The e-value, to be held against `bound`."""
        return sum(exp(e) for e in self.log_e) / len(self.log_e)

    @property
    def bound(self) -> float:
        return 1.0 / self.alpha


def start_comparison(alpha: float, smallest_rise: float, share: float) -> Comparison:
    """A comparison that has seen nothing, for a canary that answers `share` of the requests.

    A block takes half as many live labels per canary label as should come, so that canary labels do not wait long.

    >>> start_comparison(0.01, 0.05, 0.1).n_live_per_block
    4
    """
    expected = (1.0 - share) / max(share, 1e-9)
    n_live = int(min(max(1.0, expected // 2), MAX_LIVE_PER_CANARY))
    return Comparison(alpha, smallest_rise, n_live)


def compare(comparison: Comparison, channel: Literal["canary", "live"], error: bool) -> Comparison:
    """The comparison after one more label, of the canary's answer or of the live release's.

    >>> c = start_comparison(0.05, 0.1, 0.5)
    >>> for _ in range(20):
    ...     c = compare(compare(c, "live", False), "canary", True)
    >>> c.fired
    True
    """
    if channel == "canary":
        c = replace(
            comparison,
            n_canary=comparison.n_canary + 1,
            n_canary_errors=comparison.n_canary_errors + int(error),
            waiting_canary=(*comparison.waiting_canary, error)[-MAX_WAITING:],
        )
    else:  # only the latest live labels are kept waiting: what is compared happened at the same time
        c = replace(
            comparison,
            n_live=comparison.n_live + 1,
            n_live_errors=comparison.n_live_errors + int(error),
            waiting_live=(*comparison.waiting_live, error)[-comparison.n_live_per_block :],
        )
    if c.fired or not c.waiting_canary or len(c.waiting_live) < c.n_live_per_block:
        return c
    return _take_block(c)


def _take_block(c: Comparison) -> Comparison:
    n_live, n_errors = c.n_live_per_block, sum(c.waiting_live)
    # The live rate is learnt from earlier blocks only (one error in ten to begin with), so the block cannot choose it.
    live = (c.n_block_live_errors + 1.0) / (c.n_blocks * n_live + 10.0)
    live = min(live, LARGEST_RATE - c.smallest_rise)
    gains = []
    for step in RISE_STEPS:
        canary = min(live + c.smallest_rise * step, LARGEST_RATE)
        pooled = (canary + n_live * live) / (1 + n_live)
        gain = log(canary / pooled) if c.waiting_canary[0] else log((1 - canary) / (1 - pooled))
        gains.append(gain + n_errors * log(live / pooled) + (n_live - n_errors) * log((1 - live) / (1 - pooled)))
    taken = replace(
        c,
        log_e=tuple(e + gain for e, gain in zip(c.log_e, gains, strict=True)),
        waiting_canary=c.waiting_canary[1:],
        waiting_live=(),
        n_blocks=c.n_blocks + 1,
        n_block_live_errors=c.n_block_live_errors + n_errors,
    )
    return replace(taken, fired=taken.statistic >= taken.bound)
