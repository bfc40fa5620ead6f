"""A head between two trainings: what a model would answer with the labels of this minute, in a second or so."""

from __future__ import annotations

import numpy as np

from passmuster.core.errors import DataError
from passmuster.learn.discriminant import USUAL_SHRINKAGE, fit_discriminant, logistic_takes_long
from passmuster.learn.folds import N_FOLDS, label_set_folds, stratified_folds
from passmuster.learn.heads import Scaling, cross_validate_logistic
from passmuster.learn.label_set_heads import cross_validate_label_sets
from passmuster.learn.logistic import fit_logistic, one_hot, softmax
from passmuster.learn.one_vs_rest import fit_one_vs_rest, sigmoid

USUAL_C = 10.0  # penalty while too few labels can judge one
MAX_DOUBT = 3.0  # a temperature found on a few labels is not let beyond this: all items would hesitate alike


def quick_probabilities(
    embeddings: np.ndarray, labelled: np.ndarray, labels: np.ndarray, n_classes: int, rng: np.random.Generator
) -> np.ndarray:
    """Probabilities (n, n_classes) of every item: a logistic head on those labelled, at a cross-validated temperature.

    Parameters
    ----------
    embeddings : (n, d) of the whole pool
    labelled : (l,) positions of the items that have a label
    labels : (l,) class numbers, each class at least once

    >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], np.float32)
    >>> quick_probabilities(x, np.array([0, 2]), np.array([0, 1]), 2, np.random.default_rng(0)).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    scaled = Scaling.of(embeddings).apply(embeddings)
    x = scaled[labelled]
    if logistic_takes_long(len(x), x.shape[1], n_classes):
        weight, bias = fit_discriminant(x, labels, n_classes, shrinkage=USUAL_SHRINKAGE)
        return softmax(scaled @ weight + bias)
    c, temperature = USUAL_C, 1.0
    try:
        folds = stratified_folds(labels, N_FOLDS, rng)[None]
        judged = cross_validate_logistic(x, labels, folds, n_classes, (USUAL_C,))
        temperature = float(np.clip(judged.temperature, 1.0 / MAX_DOUBT, MAX_DOUBT))
    except DataError:  # too few labels to judge by: the usual penalty, as it comes
        pass
    weight, bias = fit_logistic(x, one_hot(labels, n_classes), c=c)
    return softmax((scaled @ weight + bias) / np.float32(temperature))


def quick_set_probabilities(
    embeddings: np.ndarray, labelled: np.ndarray, targets: np.ndarray, decide_at: float, rng: np.random.Generator
) -> np.ndarray:
    """Probabilities (n, k) of each class for itself: a one-against-rest head, calibrated by cross-validation.

    Parameters
    ----------
    embeddings : (n, d) of the whole pool
    labelled : (l,) positions of the items that have a label
    targets : (l, k), 1 where a labelled item carries a class, each class at least once
    decide_at : from which probability on a class is said

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
    >>> carried = np.array([[1, 0], [0, 1], [1, 1]])
    >>> told = quick_set_probabilities(x, np.arange(3), carried, 0.5, np.random.default_rng(0))
    >>> bool(told[0, 0] > told[1, 0] and told[1, 1] > told[0, 1])
    True
    """
    scaled = Scaling.of(embeddings).apply(embeddings)
    x, wanted = scaled[labelled], np.asarray(targets, dtype=np.float32)
    temperature, shift = 1.0, np.zeros(wanted.shape[1], np.float32)
    try:
        folds = label_set_folds(wanted, N_FOLDS, rng)[None]
        judged = cross_validate_label_sets(x, wanted, folds, decide_at, (USUAL_C,))
        temperature, shift = float(np.clip(judged.temperature, 1.0 / MAX_DOUBT, MAX_DOUBT)), judged.shift
    except DataError:  # too few labels to judge by: as it comes
        pass
    weight, bias = fit_one_vs_rest(x, wanted, c=USUAL_C)
    return sigmoid((scaled @ weight + bias) / np.float32(temperature) + shift)
