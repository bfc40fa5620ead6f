"""How large each class is in the pool, when labels were not drawn as the pool is: spam is rare, its labels are not.

A head fitted to as many labels of each class expects as many items of each. The shares in the pool are estimated from
the head's own calibrated answers by expectation-maximisation (Saerens, Latinne and Decaestecker 2002), held to the
shares among the labels as if `HOLD` items had been seen at those shares for each item of the pool: a pool whose answers
are vague says little about its classes, and unheld it would empty some of them.
"""

from __future__ import annotations

import numpy as np

from passmuster.learn.logistic import softmax

HOLD = 0.5  # chosen on parts of the pools of SMS spam, AG News, Amazon books and Banking77; see docs/log.md
N_STEPS = 100
TOLERANCE = 1e-6


def label_shares(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Share of each class among `labels` (n,), as if each had been seen once more.

    >>> label_shares(np.array([0, 0]), 2)
    array([0.75, 0.25])
    """
    return (np.bincount(labels, minlength=n_classes) + 1.0) / (len(labels) + n_classes)


def share_shift(logits: np.ndarray, shares: np.ndarray, hold: float = HOLD) -> np.ndarray:
    """What to add to logits (k,), so that they expect the classes at the pool's shares instead of `shares`.

    Parameters
    ----------
    logits : (n, k)
        Calibrated, of the pool, from a head that learnt at `shares`.
    shares : (k,)
        Above 0, adding up to 1.
    hold : float
        Weight of `shares` against the pool, in pools.

    Examples
    --------
    >>> logits = np.array([[2.0, -2.0]] * 90 + [[-2.0, 2.0]] * 10)
    >>> shift = share_shift(logits, np.array([0.5, 0.5]))
    >>> bool(shift[0] > 0 > shift[1])
    True
    """
    answers = softmax(logits.astype(np.float64))
    found = shares.astype(np.float64)
    for _ in range(N_STEPS):
        moved = answers * (found / shares)
        moved /= moved.sum(axis=1, keepdims=True)
        before, found = found, (moved.mean(axis=0) + hold * shares) / (1.0 + hold)
        if np.abs(found - before).max() < TOLERANCE:
            break
    return np.asarray(np.log(found / shares), dtype=np.float32)
