"""Phrases that the report and its page are made of."""

from __future__ import annotations

import math
from typing import Any

from passmuster.core.records import Metric

UNIT = "\u00a0%"


def percent(value: float) -> str:
    """A rate in words of the page.

    >>> percent(0.9481), percent(0.95), percent(1.0)
    ('94.8\\xa0%', '95.0\\xa0%', '100\\xa0%')
    """
    text = "100" if value == 1 else "0" if value == 0 else f"{100 * value:.1f}"
    return f"{text}{UNIT}"


def between(low: float, high: float) -> str:
    """An interval in words.

    >>> between(0.923, 0.965)
    '92.3 to 96.5\\xa0%'
    """
    return f"{percent(low).removesuffix(UNIT)} to {percent(high)}"


def with_interval(metric: Metric) -> str:
    """A rate with its interval and the number of items behind it."""
    powered = metric.method.startswith("prediction-powered")
    items = (powered and metric.method.partition(", ")[2]) or f"{metric.n:,} items"
    return f"{percent(metric.value)} ({between(metric.low, metric.high)}, {items})"


def open_words(at_most: float) -> str:
    """What is known of two versions where no label is of an item that they answer differently.

    >>> open_words(0.498)
    'none of the items that the two answer differently has a label: the difference is between -49.8 and +49.8 points'
    """
    return (
        "none of the items that the two answer differently has a label: the difference is between "
        f"{-100 * at_most:+.1f} and {100 * at_most:+.1f} points"
    )


def said(text: str, items: str) -> dict[str, str]:
    """A sentence and the set of items behind it ("" when none)."""
    return {"text": text, "items": items}


def count(n: int, what: str) -> str:
    """
    >>> count(1, "item"), count(1200, "item")
    ('1 item', '1,200 items')
    """
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def times(n: int) -> str:
    """
    >>> times(1), times(2), times(3)
    ('once', 'twice', '3 times')
    """
    return {1: "once", 2: "twice"}.get(n, f"{n:,} times")


def points(difference: float) -> str:
    """A difference of rates.

    >>> points(0.0371)
    '3.7 points'
    """
    return f"{100 * difference:.1f} points"


def some(names: list[str], limit: int = 8) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(f"“{name}”" for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def plain_name(name: str) -> str:
    """
    >>> plain_name("gaussian_noise.v1")
    'gaussian noise'
    """
    return name.rpartition(".v")[0].replace("_", " ") or name


def to_finite(value: Any) -> Any:
    """`value` with numbers that JSON cannot hold as None.

    >>> to_finite({"a": [1.0, float("inf")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {k: to_finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
