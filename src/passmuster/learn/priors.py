"""What a rung brought on earlier data: gain in log-loss over the ladder's first rung, with its spread over sets.

The table is small and says so: a wide spread lets a few dozen labels overrule it. Its rows are measured by the
benchmarks and published as ``docs/reference/priors.md``; a test compares them with the results they are of.

Where the first rung is bad on a set, every other gains much: most of the spread over sets is shared, and which of the
others is better is known much more closely than how much they gain. So the gain of rung r on set s is taken as
``mean_r + set_s + own_rs``, and the two variances are estimated as in a two-way layout with random sets (Searle,
Casella and McCulloch 1992, "Variance components", section 4.3: mean squares of sets and of what is left).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Teaching an encoder pays where a few large classes are not what it was made for, and not where it tells many small
# ones apart already (docs/log.md): gains are looked up among sets with few classes, or among those with many.
N_CLASSES = {"sms_spam": 2, "amazon": 2, "ag_news": 4, "banking77": 77, "clinc150": 150}
MANY_CLASSES = 20
FEWEST_SETS = 2  # of a kind; where fewer were seen, all sets count

SMALLEST_SPREAD = 0.05  # nats, of a rung's own part: sets to come differ more than a handful of sets seen
UNKNOWN_SPREAD = 1.0


@dataclass(frozen=True)
class Gain:
    """Expected fall in log-loss (nats) against the ladder's first rung, its spread, and where it was seen.

    `shared` is the part of the spread that all rungs have in common on a set, at most `spread`; the variances of what
    is shared and of what is a rung's own add up to that of the spread.
    """

    mean: float
    spread: float
    source: str
    shared: float = 0.0


NOTHING = Gain(0.0, 0.0, "the rung that gains are over")
UNKNOWN = Gain(0.0, UNKNOWN_SPREAD, "no benchmark yet")


def gains_of(seen: Mapping[str, Mapping[str, float]]) -> dict[str, Gain]:
    """The gains to expect of rungs on a new set, from those on sets seen (nats, by rung and set).

    Spreads are for one set more: wider than those of the sets seen by their mean's own error. One set says nothing of
    them: a rung's spread is then as wide as its gain, or wider.

    >>> two = gains_of({"a.v1": {"x": 0.1, "y": 0.5}, "b.v1": {"x": 0.2, "y": 0.6}})
    >>> two["b.v1"].mean, two["b.v1"].spread > 5 * SMALLEST_SPREAD, two["b.v1"].shared > 5 * SMALLEST_SPREAD
    (0.4, True, True)
    >>> gains_of({"a.v1": {}})["a.v1"].spread
    1.0
    """
    sets = sorted(set.intersection(*(set(gains) for gains in seen.values()))) if seen else []
    shared, own = _parts([[gains[name] for name in sets] for gains in seen.values()]) if len(sets) > 1 else (0.0, 0.0)
    found = {}
    for rung, gains in seen.items():
        source = ", ".join(sorted(gains))
        mean = round(float(np.mean(list(gains.values()))), 4) if gains else 0.0
        if not gains:
            found[rung] = UNKNOWN
        elif len(sets) > 1:
            found[rung] = Gain(mean, round(float(np.hypot(shared, own)), 4), source, round(shared, 4))
        else:
            alone = float(np.std(list(gains.values()), ddof=1)) if len(gains) > 1 else abs(mean)
            found[rung] = Gain(mean, round(max(SMALLEST_SPREAD, alone), 4), source)
    return found


def _parts(gains: Sequence[Sequence[float]]) -> tuple[float, float]:
    """What a set shares and what is a rung's own (nats), for one set more; `gains` are by rung, then set."""
    table = np.array(gains)  # (rungs, sets)
    n_rungs, n_sets = table.shape
    left = table - table.mean(axis=1, keepdims=True)
    by_set = left.mean(axis=0)
    degrees = (n_rungs - 1) * (n_sets - 1)
    own = float(((left - by_set) ** 2).sum() / degrees) if degrees else 0.0
    shared = max(0.0, float((by_set**2).sum() / (n_sets - 1)) - own / n_rungs)
    one_more = 1.0 + 1.0 / n_sets
    return float(np.sqrt(one_more * shared)), float(np.sqrt(one_more * max(own, SMALLEST_SPREAD**2)))


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
        "ag_news": 0.207,
        "amazon": 0.0279,
        "banking77": 0.314,
        "clinc150": 0.3221,
        "sms_spam": -0.0373,
    },
    ("text", "stacked.v1"): {
        "ag_news": 0.2165,
        "amazon": 0.0418,
        "banking77": 0.3222,
        "clinc150": 0.3267,
        "sms_spam": 0.0484,
    },
    ("text", "tuned.v1"): {
        "ag_news": 0.2623,
        "amazon": 0.0579,
        "banking77": 0.236,
        "clinc150": 0.277,
        "sms_spam": 0.0361,
    },
    ("text", "distilled.v1"): {
        "ag_news": 0.1671,
        "amazon": -0.0248,
        "banking77": 0.2388,
        "clinc150": 0.1812,
        "sms_spam": 0.0816,
    },
}


# The rung that these gains are over.
FIRST = {"text": "static.v1"}


def prior_gains(modality: str, rungs: Sequence[str], n_classes: int) -> list[Gain]:
    """The published gain of each rung on tasks with so many classes, or one that knows nothing.

    >>> [gain.spread for gain in prior_gains("smell", ["nose.v1"], 2)]
    [1.0]
    """
    table = {rung: of_kind(seen, n_classes) for (kind, rung), seen in SEEN.items() if kind == modality}
    known = gains_of(table) | ({FIRST[modality]: NOTHING} if modality in FIRST else {})
    return [known.get(rung, UNKNOWN) for rung in rungs]
