"""What a rung brought on earlier data: gain in log-loss over the rung before it, with its spread over sets.

The table is small and says so: a wide spread lets a few dozen labels overrule it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gain:
    """Expected fall in cross-validated log-loss (nats) against the rung before, its spread, and where it was seen."""

    mean: float
    spread: float
    source: str


NOTHING_KNOWN = Gain(0.0, 1.0, "no benchmark yet")

PRIORS: dict[tuple[str, str], Gain] = {
    ("text", "pretrained.v1"): Gain(
        0.36, 0.4, "Banking77, 8 labels per class (bench/story.py); one set, hence the spread"
    ),
}


def prior_gain(modality: str, rung: str) -> Gain:
    """The published gain of a rung, or `NOTHING_KNOWN`.

    >>> prior_gain("smell", "nose.v1").mean
    0.0
    """
    return PRIORS.get((modality, rung), NOTHING_KNOWN)
