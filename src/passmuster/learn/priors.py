"""What a rung brought on earlier data: gain in log-loss over the ladder's first rung, with its spread over sets.

The table is small and says so: a wide spread lets a few dozen labels overrule it. Its rows are measured by the
benchmarks and published as ``docs/reference/priors.md``; a test compares them with the results they are of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Teaching an encoder pays where a few large classes are not what it was made for, and not where it tells many small
# ones apart already (docs/log.md): gains are looked up among sets with few classes, or among those with many.
N_CLASSES = {"sms_spam": 2, "amazon": 2, "ag_news": 4, "banking77": 77, "clinc150": 150}
MANY_CLASSES = 20
FEWEST_SETS = 2  # of a kind; where fewer were seen, all sets count

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


def of_kind(seen: Mapping[str, float], n_classes: int) -> dict[str, float]:
    """Gains of those sets that have few classes, or many, as the task has; of all where hardly any does.

    >>> of_kind({"sms_spam": 0.2, "ag_news": 0.3, "banking77": 0.1}, n_classes=3)
    {'sms_spam': 0.2, 'ag_news': 0.3}
    >>> of_kind({"sms_spam": 0.2, "ag_news": 0.3, "banking77": 0.1}, n_classes=50)
    {'sms_spam': 0.2, 'ag_news': 0.3, 'banking77': 0.1}
    """
    many = n_classes >= MANY_CLASSES
    alike = {name: gain for name, gain in seen.items() if (N_CLASSES[name] >= MANY_CLASSES) == many}
    return alike if len(alike) >= FEWEST_SETS else dict(seen)


# Modality and rung to nats gained over the ladder's first rung, by set (bench/results/fewlabel_text.json).
# `transformer.v1` is not here: bench/results/pretrain.json is of trainings that its quote no longer offers.
SEEN: dict[tuple[str, str], dict[str, float]] = {
    ("text", "pretrained.v1"): {
        "ag_news": 0.253,
        "amazon": 0.019,
        "banking77": 0.2962,
        "clinc150": 0.3113,
        "sms_spam": 0.02,
    },
    ("text", "stacked.v1"): {
        "ag_news": 0.2112,
        "amazon": 0.0235,
        "banking77": 0.3149,
        "clinc150": 0.3285,
        "sms_spam": 0.0867,
    },
    ("text", "tuned.v1"): {
        "ag_news": 0.2751,
        "amazon": 0.0682,
        "banking77": 0.2537,
        "clinc150": 0.3116,
        "sms_spam": 0.093,
    },
    ("text", "distilled.v1"): {
        "ag_news": 0.1756,
        "amazon": -0.0335,
        "banking77": 0.2341,
        "clinc150": 0.1772,
        "sms_spam": 0.1426,
    },
}


def prior_gain(modality: str, rung: str, n_classes: int) -> Gain:
    """The published gain of a rung on tasks with so many classes, or one that knows nothing.

    >>> prior_gain("smell", "nose.v1", 2).mean
    0.0
    """
    return gain_of(of_kind(SEEN.get((modality, rung), {}), n_classes))
