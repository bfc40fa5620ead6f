"""Novelty: how unlike the reference an item is. `detectors` is the table; each is fitted once and scored by numpy."""

from passmuster.metrics.novelty.base import MAX_BANK, Arrays, Detector, Work
from passmuster.metrics.novelty.choose import AUTO, FALLBACK, refuse_unknown_detector
from passmuster.metrics.novelty.find import detectors
from passmuster.metrics.novelty.left_out import scores_left_out

__all__ = [
    "AUTO",
    "FALLBACK",
    "MAX_BANK",
    "Arrays",
    "Detector",
    "Work",
    "detectors",
    "refuse_unknown_detector",
    "scores_left_out",
]
