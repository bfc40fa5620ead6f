"""Detectors that look at the logits alone: nothing is kept, and they cost next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from passmuster.metrics.novelty.base import Arrays, Detector, checked, log_sum_exp, rowwise

GAMMA = 0.1  # Liu et al. 2023, section 4
MOST_CLASSES = 100  # Liu et al. 2023: of 1,000; all of fewer


def _nothing(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    checked(logits, "logits")
    return {}


def _detector(score: Callable[[np.ndarray], np.ndarray], summary: str, per_class: float) -> Detector:
    return Detector(
        _nothing,
        lambda arrays, embeddings, logits: rowwise(score, logits),
        "logits",
        summary,
        lambda arrays, d, c: per_class * c,
    )


def _msp(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 - np.exp(logits.max(axis=1) - log_sum_exp(logits)))


MSP = _detector(
    _msp,
    "one minus the largest probability (Hendrycks and Gimpel 2017, A baseline for detecting misclassified and "
    "out-of-distribution examples, ICLR)",
    2.0,
)


def _max_logit(logits: np.ndarray) -> np.ndarray:
    return np.asarray(-logits.max(axis=1))


MAX_LOGIT = _detector(
    _max_logit,
    "negative largest logit (Hendrycks et al. 2022, Scaling out-of-distribution detection for real-world settings, "
    "ICML, section 3)",
    1.0,
)


def _fit_energy(embeddings: np.ndarray, logits: np.ndarray) -> Arrays:
    checked(logits, "logits")
    return {"temperature": np.array(1.0)}


def _score_energy(arrays: Mapping[str, np.ndarray], embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
    temperature = float(arrays["temperature"])
    return rowwise(lambda rows: -temperature * log_sum_exp(rows / temperature), logits)


ENERGY = Detector(
    _fit_energy,
    _score_energy,
    "logits",
    "negative log-sum-exp of the logits (Liu et al. 2020, Energy-based out-of-distribution detection, NeurIPS, "
    "eq. 4, temperature 1)",
    lambda arrays, d, c: 2.0 * c,
)


def _gen(logits: np.ndarray) -> np.ndarray:
    size = np.exp(logits - logits.max(axis=1, keepdims=True))  # (b, c)
    if size.shape[1] > 1:
        size = np.partition(size, size.shape[1] - 1, axis=1)  # the largest last
    others = size[:, :-1].sum(axis=1, keepdims=True)
    total = others + size[:, -1:]
    p, rest = size / total, 1.0 - size / total
    rest[:, -1] = (others / total)[:, 0]  # 1 - p of a p near 1 is all rounding, and its tenth root is not small
    if p.shape[1] > MOST_CLASSES:
        kept = np.argpartition(p, p.shape[1] - MOST_CLASSES, axis=1)[:, -MOST_CLASSES:]
        p, rest = np.take_along_axis(p, kept, axis=1), np.take_along_axis(rest, kept, axis=1)
    return np.asarray(((p * rest) ** GAMMA).sum(axis=1))


GEN = _detector(
    _gen,
    "generalised entropy of the probabilities, sum of (p (1 - p))^0.1 over the 100 most probable classes (Liu, "
    "Lochman and Zach 2023, GEN: pushing the limits of softmax-based out-of-distribution detection, CVPR, eq. 6)",
    6.0,
)
