"""Several heads as one: weights by what held-out labels said, and one linear head that answers as their mean."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.blend import Blended, fit_parts, in_order
from passmuster.learn.heads import CrossValidated


def judged(kind: str, sureness: float, n: int = 24, n_repeats: int = 2, seed: int = 0) -> CrossValidated:
    """A head that is right about most of `n` items, about as sure as that."""
    rng = np.random.default_rng([seed, len(kind)])
    labels = np.arange(n) % 2
    right = np.where(np.eye(2)[labels] > 0, 1.0, -1.0)
    logits = sureness * right + 0.5 * rng.normal(size=(n_repeats, n, 2))
    return CrossValidated(kind, 1.0, 1.0, np.arange(n), labels, logits.astype(np.float32))


def test_heads_that_held_out_labels_cannot_tell_apart_share_the_answer() -> None:
    first, *others = in_order([judged("logistic", 0.5), judged("propagation", 0.6)])
    assert isinstance(first, Blended)
    assert [head.kind for head in others] == ["propagation", "logistic"]
    assert sum(part.share for part in first.parts) == pytest.approx(1.0)
    shares = {part.kind: part.share for part in first.parts}
    assert shares["propagation"] > shares["logistic"] > 0.2
    assert first.log_loss < max(other.log_loss for other in others)


def test_a_clear_winner_is_served_alone() -> None:
    first, *others = in_order([judged("logistic", 0.1, n=200), judged("propagation", 2.0, n=200)])
    assert not isinstance(first, Blended)
    assert (first.kind, [head.kind for head in others]) == ("propagation", ["logistic"])


def test_more_labels_tell_heads_further_apart() -> None:
    def share(n: int) -> float:
        first = in_order([judged("logistic", 0.5, n=n), judged("propagation", 0.8, n=n)])[0]
        return first.parts[0].share if isinstance(first, Blended) else 1.0

    assert share(8) < share(32) < share(400) == 1.0


def test_the_fewest_repeats_are_blended() -> None:
    first = in_order([judged("logistic", 0.5, n_repeats=3), judged("propagation", 0.5, n_repeats=1)])[0]
    assert first.logits.shape == (1, 24, 2)


def test_the_fitted_blend_answers_as_the_weighed_mean_of_its_parts() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3)).astype(np.float32)
    heads = {kind: (rng.normal(size=(3, 2)), rng.normal(size=2)) for kind in ("logistic", "propagation")}
    first = in_order([judged("logistic", 0.5), judged("propagation", 0.6)])[0]
    assert isinstance(first, Blended)
    weight, bias = fit_parts(first, heads.__getitem__)
    mean = sum(p.share / p.temperature * (x @ heads[p.kind][0] + heads[p.kind][1]) for p in first.parts)
    np.testing.assert_allclose(x @ weight + bias, mean, rtol=1e-5)
    alone = in_order([judged("logistic", 0.1, n=200), judged("propagation", 2.0, n=200)])[0]
    assert fit_parts(alone, heads.__getitem__) is heads["propagation"]
