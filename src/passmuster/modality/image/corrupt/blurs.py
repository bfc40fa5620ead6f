"""Blurs: out of focus, behind frosted glass, moving, moving nearer, and Gaussian."""

from __future__ import annotations

import numpy as np

from passmuster.modality.image.corrupt.kernels import correlate, disk, gaussian, motion, zoomed
from passmuster.modality.image.corrupt.published import published


@published(
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    tiny=((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
)
def defocus_blur(x: np.ndarray, c: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Out of focus: each point becomes a disk of a radius, with a softened edge."""
    return correlate(x, disk(*c))


@published(
    cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    tiny=((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
)
def glass_blur(x: np.ndarray, c: tuple[float, int, int], rng: np.random.Generator) -> np.ndarray:
    """Frosted glass: blurred, pixels trade places with a near one, from the last to the first, and blurred again.

    The published program means to swap; in colour pictures its assignment copies. Here pixels are swapped.
    """
    sigma, reach, rounds = c
    soft = np.floor(gaussian(x, sigma) * 255 + 1e-3) / np.float32(255)
    height, width, n = x.shape
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    order = list(range(height * width))
    here = (rows[:, None] * width + columns).ravel().tolist()
    for _ in range(rounds):
        moves = rng.integers(-reach, reach, size=(len(rows), len(columns), 2))
        there = ((rows[:, None] + moves[..., 0]) * width + columns + moves[..., 1]).ravel().tolist()
        for a, b in zip(here, there):  # each swap sees the ones before it
            order[a], order[b] = order[b], order[a]
    return gaussian(soft.reshape(-1, n)[order].reshape(x.shape), sigma)


@published(
    cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    tiny=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
)
def motion_blur(x: np.ndarray, c: tuple[int, float], rng: np.random.Generator) -> np.ndarray:
    """The camera moved, at up to 45 degrees from level (`kernels.motion`)."""
    return motion(x, *c, rng.uniform(-45, 45))


@published(
    cifar=tuple(np.arange(1, end, 0.01) for end in (1.06, 1.11, 1.16, 1.21, 1.26)),
    tiny=tuple(np.arange(1, end, 0.01) for end in (1.06, 1.11, 1.16, 1.21, 1.26)),
    imagenet=tuple(
        np.arange(1, end, step) for end, step in ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
    ),
)
def zoom_blur(x: np.ndarray, factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The camera moved nearer: the mean of the picture and of its enlargements."""
    return np.asarray(
        np.concatenate([x[None], zoomed(x, *factors.tolist())]).sum(axis=0) / np.float32(len(factors) + 1)
    )


@published(cifar=(0.4, 0.6, 0.7, 0.8, 1), tiny=(0.5, 0.75, 1, 1.25, 1.5), imagenet=(1, 2, 3, 4, 6))
def gaussian_blur(x: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian of `sigma` pixels (one of the four validation corruptions)."""
    return gaussian(x, sigma)
