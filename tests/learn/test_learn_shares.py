"""Class shares of the pool: moved towards what the pool shows, held where it shows nothing."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.shares import label_shares, share_shift


def gaussian_pool(share: float, distance: float, n: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    """Two classes on a line, the second with `share`; the exact logits of a head that learnt at equal shares."""
    rng = np.random.default_rng(0)
    truth = (rng.random(n) < share).astype(int)
    x = rng.normal(size=n) + distance * (truth - 0.5)
    return np.stack([-distance * x / 2, distance * x / 2], axis=1), truth


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_without_hold_the_shares_of_the_pool_are_found(share: float) -> None:
    logits, _ = gaussian_pool(share, 3.0)
    equal = np.array([0.5, 0.5])
    found = equal * np.exp(share_shift(logits, equal, hold=0.0))
    assert found.sum() == pytest.approx(1.0, abs=1e-3)
    assert found[1] == pytest.approx(share, abs=0.03)


def test_a_rare_class_is_answered_less_often_and_better() -> None:
    logits, truth = gaussian_pool(0.1, 2.0)
    shift = share_shift(logits, np.array([0.5, 0.5]))
    before = (logits.argmax(axis=1) == truth).mean()
    after = ((logits + shift).argmax(axis=1) == truth).mean()
    assert after > before + 0.03


def test_vague_answers_move_nothing() -> None:
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    logits = np.log(shares) + np.random.default_rng(0).normal(size=(500, 4)) * 1e-2
    np.testing.assert_allclose(share_shift(logits, shares), 0.0, atol=1e-2)


def test_shares_of_labels_are_never_zero() -> None:
    shares = label_shares(np.array([0, 0, 2]), 4)
    assert shares.min() > 0
    assert shares.sum() == pytest.approx(1.0)
