"""Novelty: how unlike the reference an item is. `detectors` is the table; each is fitted once and scored by numpy."""

from passmuster.metrics.novelty.backed import JOINED, scores_of_two
from passmuster.metrics.novelty.base import MAX_BANK, Arrays, Detector, Work
from passmuster.metrics.novelty.choose import AUTO, FALLBACK, refuse_unknown_detector
from passmuster.metrics.novelty.find import detectors, find_detector, with_backing
from passmuster.metrics.novelty.left_out import scores_left_out

__all__ = [
    "AUTO",
    "FALLBACK",
    "JOINED",
    "MAX_BANK",
    "Arrays",
    "Detector",
    "Work",
    "detectors",
    "find_detector",
    "refuse_unknown_detector",
    "scores_left_out",
    "scores_of_two",
    "with_backing",
]
