"""Several linear heads as one: their mean, each weighed by how well it answered labels that it had not seen.

With a few dozen labels cross-validation hardly tells heads apart, and to serve the one that came first by a hair is a
bet. Weights are those of pseudo-Bayesian model averaging, ``exp`` of the summed held-out log-likelihood (Yao et al.
2018, "Using stacking to average Bayesian predictive distributions", section 3.3). Likelihoods count for as many labels
as cross-validation is worth: folds learn from the same labels (`learn.select.RESAMPLED`). A clear winner is served
alone. The mean of linear heads is a linear head, so that serving costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.learn.calibration import fit_temperature
from passmuster.learn.heads import CrossValidated
from passmuster.learn.select import RESAMPLED

SMALLEST_SHARE = 0.05  # a head that would weigh less is not worth another fit


@dataclass(frozen=True)
class Part:
    """One head of a blend: its kind, its weight (they sum to 1), and the temperature of its logits."""

    kind: str
    share: float
    temperature: float


@dataclass(frozen=True)
class Blended(CrossValidated):
    """How the weighed mean of several heads did; `temperature` comes on top of the parts' own."""

    parts: tuple[Part, ...]


def in_order(heads: Sequence[CrossValidated]) -> tuple[CrossValidated, ...]:
    """What to serve first: the blend of `heads`, or the one that won clearly; then the others by log-loss.

    All are of the same held-out items. Where they were judged on different numbers of repeats, the fewest are blended.

    >>> items, labels = np.arange(4), np.array([0, 1, 0, 1])
    >>> sure = np.where(np.eye(2)[labels] > 0, 2.0, 0.0)[None]
    >>> heads = [CrossValidated(k, 1.0, 1.0, items, labels, sure) for k in ("logistic", "propagation")]
    >>> [(part.kind, part.share) for part in in_order(heads)[0].parts]
    [('logistic', 0.5), ('propagation', 0.5)]
    """
    by_loss = sorted(heads, key=lambda head: head.log_loss)
    likelihood = -np.array([head.losses.sum() for head in by_loss]) / RESAMPLED**2
    share = np.exp(likelihood - likelihood.max())
    share /= share.sum()
    kept = share >= SMALLEST_SHARE
    if kept.sum() == 1:
        return tuple(by_loss)
    share = share[kept] / share[kept].sum()
    heads = [head for head, keep in zip(by_loss, kept, strict=True) if keep]
    n_repeats = min(len(head.logits) for head in heads)
    logits = sum(
        np.float32(s / head.temperature) * head.logits[:n_repeats] for s, head in zip(share, heads, strict=True)
    )
    assert isinstance(logits, np.ndarray)
    labels, n = heads[0].labels, len(heads[0].items)
    temperature = fit_temperature(logits.reshape(-1, logits.shape[-1]), np.tile(labels, n_repeats), n)
    parts = tuple(Part(head.kind, float(s), head.temperature) for s, head in zip(share, heads, strict=True))
    blended = Blended("blend", heads[0].c, temperature, heads[0].items, labels, logits, parts)
    return blended, *by_loss


def fit_parts(
    head: CrossValidated, fit: Callable[[str], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (d, k) and bias (k,) of the head, before its own temperature; `fit` answers for a kind of head."""
    if not isinstance(head, Blended):
        return fit(head.kind)
    fitted = [(np.float32(part.share / part.temperature), *fit(part.kind)) for part in head.parts]
    weight = np.sum([scale * w for scale, w, _ in fitted], axis=0, dtype=np.float32)
    bias = np.sum([scale * b for scale, _, b in fitted], axis=0, dtype=np.float32)
    return np.asarray(weight), np.asarray(bias)
