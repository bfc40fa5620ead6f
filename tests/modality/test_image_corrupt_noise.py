"""The published noises: their moments, by closed forms, to 1 % at every size and severity."""

import math

import numpy as np
import pytest
from scipy.stats import norm, poisson

from passmuster.modality.image.corruptions import corruptions

SIDES = {"cifar": 32, "tiny": 64, "imagenet": 224}
GAUSSIAN = {
    "cifar": (0.04, 0.06, 0.08, 0.09, 0.10),
    "tiny": (0.04, 0.08, 0.12, 0.15, 0.18),
    "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38),
}
SHOT = {"cifar": (500, 250, 100, 75, 50), "tiny": (250, 100, 50, 30, 15), "imagenet": (60, 25, 12, 5, 3)}
IMPULSE = {
    "cifar": (0.01, 0.02, 0.03, 0.05, 0.07),
    "tiny": (0.01, 0.02, 0.05, 0.08, 0.14),
    "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27),
}
SPECKLE = {
    "cifar": (0.06, 0.1, 0.12, 0.16, 0.2),
    "tiny": (0.15, 0.2, 0.25, 0.3, 0.35),
    "imagenet": (0.15, 0.2, 0.35, 0.45, 0.6),
}
CASES = [(size, severity) for size in SIDES for severity in range(1, 6)]
every_case = pytest.mark.parametrize(("size", "severity"), CASES)
GREY = 102  # 0.4 of full scale


def drawn(name: str, size: str, severity: int, n_values: int = 450_000) -> np.ndarray:
    """Values in [0, 1] of a flat grey picture under a fault, over as many seeds as give `n_values`."""
    side = SIDES[size]
    picture = np.full((side, side, 3), GREY, dtype=np.uint8)
    seeds = range(math.ceil(n_values / picture.size))
    return np.concatenate([corruptions[name](picture, severity, np.random.default_rng(s)).ravel() for s in seeds]) / 255


def clipped_normal(mean: float, sigma: float) -> tuple[float, float]:
    """Mean and deviation of a normal value cut to [0, 1]."""
    a, b = -mean / sigma, (1 - mean) / sigma
    inside = norm.cdf(b) - norm.cdf(a)
    first = mean * inside + sigma * (norm.pdf(a) - norm.pdf(b)) + norm.sf(b)
    second = (mean**2 + sigma**2) * inside + 2 * mean * sigma * (norm.pdf(a) - norm.pdf(b)) + norm.sf(b)
    second += sigma**2 * (a * norm.pdf(a) - b * norm.pdf(b))
    return first, math.sqrt(second - first**2)


def agrees(values: np.ndarray, mean: float, deviation: float) -> None:
    assert values.mean() == pytest.approx(mean, rel=0.01)
    assert values.std() == pytest.approx(deviation, rel=0.01)


@every_case
def test_gaussian_noise_is_a_cut_normal(size: str, severity: int) -> None:
    agrees(drawn("gaussian_noise.v2", size, severity), *clipped_normal(0.4, GAUSSIAN[size][severity - 1]))


@every_case
def test_speckle_noise_grows_with_the_light(size: str, severity: int) -> None:
    agrees(drawn("speckle_noise.v1", size, severity), *clipped_normal(0.4, 0.4 * SPECKLE[size][severity - 1]))


@every_case
def test_shot_noise_counts_photons(size: str, severity: int) -> None:
    photons = SHOT[size][severity - 1]
    counts = np.arange(10 * photons)
    chance, value = poisson.pmf(counts, 0.4 * photons), np.rint(255 * np.minimum(counts / photons, 1)) / 255
    mean = float(chance @ value)
    agrees(drawn("shot_noise.v1", size, severity), mean, math.sqrt(chance @ (value - mean) ** 2))


@every_case
def test_impulse_noise_loses_its_share_half_to_black_half_to_white(size: str, severity: int) -> None:
    values, share = drawn("impulse_noise.v1", size, severity, n_values=2_000_000), IMPULSE[size][severity - 1]
    least = 3.5 * math.sqrt(share / 2 / len(values))  # what chance alone does
    assert (values == 0).mean() == pytest.approx(share / 2, abs=max(0.005 * share, least))
    assert (values == 1).mean() == pytest.approx(share / 2, abs=max(0.005 * share, least))
    assert set(np.unique(values)) == {0.0, GREY / 255, 1.0}
