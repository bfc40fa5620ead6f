"""Ranges of numbers: where a value of the configuration or of a gate may lie, in words and as JSON Schema."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, ends included unless open; infinite where nothing bounds it. No value is NaN or infinite.

    >>> share = Range(0, 1, low_open=True)
    >>> share.holds(1), share.holds(0), share.holds(float("nan"))
    (True, False, False)
    >>> print(share)
    above 0, at most 1
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies inside."""
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        low = f"{'above' if self.low_open else 'at least'} {self.low:,g}" if math.isfinite(self.low) else ""
        high = f"{'below' if self.high_open else 'at most'} {self.high:,g}" if math.isfinite(self.high) else ""
        return ", ".join(words for words in (low, high) if words) or "any number"

    def as_schema(self) -> dict[str, float]:
        """Keywords of JSON Schema.

        >>> Range(1).as_schema(), Range(0, 1, high_open=True).as_schema()
        ({'minimum': 1}, {'minimum': 0, 'exclusiveMaximum': 1})
        """
        ends = {
            "exclusiveMinimum" if self.low_open else "minimum": self.low,
            "exclusiveMaximum" if self.high_open else "maximum": self.high,
        }
        return {name: end for name, end in ends.items() if math.isfinite(end)}


RATE = Range(0, 1)
OPEN_RATE = Range(0, 1, low_open=True, high_open=True)
SHARE = Range(0, 1, low_open=True)
POSITIVE = Range(0, low_open=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)  # of whole numbers, one at least
