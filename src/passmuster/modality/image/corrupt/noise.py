"""Noise: normal, of few photons, of dead and hot pixels, and in proportion to the light."""

from __future__ import annotations

import numpy as np

from passmuster.modality.image.corrupt.published import published


@published(
    cifar=(0.04, 0.06, 0.08, 0.09, 0.10), tiny=(0.04, 0.08, 0.12, 0.15, 0.18), imagenet=(0.08, 0.12, 0.18, 0.26, 0.38)
)
def gaussian_noise(x: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Normal noise of standard deviation `sigma` on every value, as in low light."""
    return np.asarray(x + rng.standard_normal(x.shape, dtype=np.float32) * np.float32(sigma))


@published(cifar=(500, 250, 100, 75, 50), tiny=(250, 100, 50, 30, 15), imagenet=(60, 25, 12, 5, 3))
def shot_noise(x: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Poisson noise: white is `photons` counts."""
    return (rng.poisson(x * photons) / photons).astype(np.float32)


@published(
    cifar=(0.01, 0.02, 0.03, 0.05, 0.07), tiny=(0.01, 0.02, 0.05, 0.08, 0.14), imagenet=(0.03, 0.06, 0.09, 0.17, 0.27)
)
def impulse_noise(x: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A `share` of the values is lost: half of them become 0, half 1 (salt and pepper, channel by channel)."""
    drawn = rng.random(x.shape, dtype=np.float32)
    return np.where(drawn < share / 2, np.float32(0), np.where(drawn < share, np.float32(1), x))


@published(cifar=(0.06, 0.1, 0.12, 0.16, 0.2), tiny=(0.15, 0.2, 0.25, 0.3, 0.35), imagenet=(0.15, 0.2, 0.35, 0.45, 0.6))
def speckle_noise(x: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Normal noise in proportion to each value (one of the four validation corruptions)."""
    return np.asarray(x + x * rng.standard_normal(x.shape, dtype=np.float32) * np.float32(sigma))
