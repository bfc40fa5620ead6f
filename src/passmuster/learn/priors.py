"""What a rung brought on earlier data: gain in log-loss over the ladder's first rung, with its spread over sets.

The table is small and says so: a wide spread lets a few dozen labels overrule it. Its rows are measured by the
benchmarks and published as ``docs/reference/priors.md``; a test compares them with the results they are of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SMALLEST_SPREAD = 0.05  # nats: sets to come differ more than a handful of sets seen
UNKNOWN_SPREAD = 1.0


@dataclass(frozen=True)
class Gain:
    """Expected fall in log-loss (nats) against the ladder's first rung, its spread, and where it was seen."""

    mean: float
    spread: float
    source: str


def gain_of(seen: Mapping[str, float]) -> Gain:
    """The gain to expect on a new set, from the gains on sets seen (nats by set).

    One set says nothing of the spread: it is then as wide as the gain, or wider.

    >>> gain_of({"a": 0.1, "b": 0.3}).mean
    0.2
    >>> gain_of({}).spread
    1.0
    """
    if not seen:
        return Gain(0.0, UNKNOWN_SPREAD, "no benchmark yet")
    values = np.array(list(seen.values()), dtype=float)
    spread = float(values.std(ddof=1)) if len(values) > 1 else abs(float(values[0]))
    return Gain(round(float(values.mean()), 4), round(max(SMALLEST_SPREAD, spread), 4), ", ".join(sorted(seen)))


# Modality and rung to nats gained over the ladder's first rung, by set (bench/results/fewlabel_text.json).
# `transformer.v1` is not here: bench/results/pretrain.json is of trainings that its quote no longer offers.
SEEN: dict[tuple[str, str], dict[str, float]] = {
    ("text", "pretrained.v1"): {"ag_news": 0.2024, "amazon": -0.0075, "banking77": 0.2965, "sms_spam": -0.0472},
    ("text", "stacked.v1"): {"ag_news": 0.1603, "amazon": 0.0211, "banking77": 0.3148, "sms_spam": 0.027},
    ("text", "tuned.v1"): {"ag_news": 0.2156, "amazon": 0.0186, "banking77": 0.2769, "sms_spam": 0.1466},
}


def prior_gain(modality: str, rung: str) -> Gain:
    """The published gain of a rung, or one that knows nothing.

    >>> prior_gain("smell", "nose.v1").mean
    0.0
    """
    return gain_of(SEEN.get((modality, rung), {}))
