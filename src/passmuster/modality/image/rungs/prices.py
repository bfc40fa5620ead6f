"""What the image rungs share when they quote: the cost of reading the pool and of running a graph over it."""

from __future__ import annotations

from passmuster.core.budget import Machine
from passmuster.modality.base import Profile

PREPARE_S = 2.5e-5  # per image: mode, stacking
PREPARE_PER_PIXEL_S = 2e-9
RESIZE_PER_PIXEL_S = 1.2e-8  # per pixel of the working size, when the image is not of that size
LOOK_S = 0.3
# Shares of the measured matrix-product speed that small convolutions and element-wise work reach.
CONV_EFFICIENCY = 0.25
ELEMENTWISE_EFFICIENCY = 0.03


def prepare_s(profile: Profile, size: int) -> float:
    """Seconds to turn the pool into pixels of the working size."""
    resized = abs(profile.mean_size**0.5 - size) >= 1
    pixels = profile.mean_size * PREPARE_PER_PIXEL_S + resized * size * size * RESIZE_PER_PIXEL_S
    return profile.n_pool * (PREPARE_S + pixels)


def embed_s(machine: Machine, profile: Profile, size: int, *, products: float = 0.0, elements: float = 0.0) -> float:
    """Seconds to prepare and embed the pool, for a graph of so many multiply-adds and element-wise steps per image."""
    speed = machine.matmul_gflops * 1e9
    per_image = 2 * products / (speed * CONV_EFFICIENCY) + elements / (speed * ELEMENTWISE_EFFICIENCY)
    return prepare_s(profile, size) + profile.n_pool * per_image
