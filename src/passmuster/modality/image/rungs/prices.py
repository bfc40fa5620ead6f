"""What the image rungs share when they quote: the cost of reading the pool and of running a graph over it."""

from __future__ import annotations

from passmuster.core.budget import Machine
from passmuster.modality.base import Profile

# Measured; see docs/log-image.md.
PREPARE_S = 4e-6  # per image: mode, stacking
PREPARE_PER_PIXEL_S = 3e-9
RESIZE_S = 4e-5  # per image that is not of the working size
RESIZE_PER_PIXEL_S = 1e-8  # of the image and of the working size
LOOK_S = 0.175  # for each channel: a look at the pool, and engines compared on some of it
OF_A_CHANNEL = 0.55  # what a second channel adds to the work of the first; a third as much again
# Shares of the measured matrix-product speed that small convolutions and element-wise work reach.
CONV_EFFICIENCY = 0.8
ELEMENTWISE_EFFICIENCY = 0.0185


def look_s(profile: Profile) -> float:
    """Seconds before and beside embedding."""
    return LOOK_S * profile.n_channels


def prepare_s(profile: Profile, size: int, n_images: int) -> float:
    """Seconds to turn so many images of the profile's size into pixels of the working size."""
    seconds = PREPARE_S + size * size * PREPARE_PER_PIXEL_S
    if abs(profile.mean_size**0.5 - size) >= 1:
        seconds += RESIZE_S + (profile.mean_size + size * size) * RESIZE_PER_PIXEL_S
    return n_images * seconds


def embed_s(machine: Machine, profile: Profile, size: int, *, products: float = 0.0, elements: float = 0.0) -> float:
    """Seconds to prepare and embed the pool, for a graph of so many multiply-adds and element-wise steps per image."""
    speed = machine.matmul_gflops * 1e9
    of_channels = (1.0 + OF_A_CHANNEL * (profile.n_channels - 1.0)) / (1.0 + OF_A_CHANNEL)
    per_image = of_channels * (2 * products / (speed * CONV_EFFICIENCY) + elements / (speed * ELEMENTWISE_EFFICIENCY))
    return prepare_s(profile, size, profile.n_pool) + profile.n_pool * per_image
