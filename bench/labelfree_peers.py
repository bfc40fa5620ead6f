"""Published estimators of accuracy without labels, for `labelfree.py` to be held against.

Average confidence; difference of confidences (Guillory et al. 2021, "Predicting with confidence on unseen
distributions"); average thresholded confidence (Garg et al. 2022, "Leveraging unlabeled data to predict
out-of-distribution performance"). Each reads one number off the probabilities.
"""

from __future__ import annotations

import numpy as np

from passmuster.signals.label_free_seen import Reference, above


def average_confidence(sure: np.ndarray) -> float:
    """Mean of how sure the model is (n,).

    >>> average_confidence(np.array([0.9, 0.7]))
    0.8
    """
    return float(np.mean(sure))


def difference_of_confidences(reference: Reference, sure: np.ndarray) -> float:
    """The reference's accuracy, less by how much confidence fell (Guillory et al. 2021, equation 4)."""
    fall = average_confidence(reference.sure) - average_confidence(sure)
    return float(np.clip(reference.accuracy - fall, 0, 1))


def average_thresholded_confidence(reference: Reference, sure: np.ndarray) -> float:
    """Share surer than as many of the reference are as are right (Garg et al. 2022, equation 1).

    `sure` may be any score that is higher where the model is surer, in both: they prefer the negative entropy.
    """
    return float(np.mean(above(sure, reference.threshold)))


def negative_entropy(p: np.ndarray) -> np.ndarray:
    """``sum p log p`` of each row, in nats."""
    return np.asarray((p * np.log(np.maximum(p, 1e-12))).sum(axis=1))
