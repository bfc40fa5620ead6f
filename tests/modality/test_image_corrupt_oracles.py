"""The published corruptions against slow second versions, written from their definitions, pixel by pixel."""

import colorsys
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from passmuster.modality.image.corrupt import weather
from passmuster.modality.image.corruptions import COMMON, VALIDATION, corruptions

SIDE = 32


def picture(channels: int = 3, side: int = SIDE) -> np.ndarray:
    """Smooth colours with edges and noise."""
    rng = np.random.default_rng(7)
    rough = rng.uniform(0, 255, (side // 4, side // 4, channels)).repeat(4, axis=0).repeat(4, axis=1)
    return np.clip(rough + rng.normal(0, 12, rough.shape), 0, 255).astype(np.uint8)


def spoilt(name: str, severity: int, x: np.ndarray, seed: int = 0) -> np.ndarray:
    return corruptions[name](x, severity, np.random.default_rng(seed)).astype(float)  # type: ignore[union-attr]


def mirrored(i: int, n: int) -> int:
    """A place beyond the border, mirrored without repeating the last pixel."""
    period = 2 * (n - 1)
    i = abs(i) % period
    return min(i, period - i)


def by_kernel(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    out = np.zeros_like(x, dtype=float)
    reach = len(kernel) // 2
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if kernel[reach + i, reach + j]:
                        near = x[mirrored(r + i, x.shape[0]), mirrored(c + j, x.shape[1])]
                        out[r, c] += kernel[reach + i, reach + j] * near
    return out


@pytest.mark.parametrize(("severity", "radius", "soft"), [(1, 0.3, 0.4), (3, 0.5, 0.6), (4, 1, 0.2), (5, 1.5, 0.1)])
def test_defocus_is_a_soft_disk(severity: int, radius: float, soft: float) -> None:
    line = np.arange(-8, 9)
    disk = ((line[:, None] ** 2 + line**2) <= radius**2).astype(float)[:, :, None]
    weights = np.exp(-(np.array([-1.0, 0, 1]) ** 2) / (2 * soft**2))
    weights /= weights.sum()
    kernel = by_kernel(disk / disk.sum(), np.outer(weights, weights))[:, :, 0]
    assert kernel.sum() == pytest.approx(1)
    x = picture()
    assert np.abs(spoilt("defocus_blur.v1", severity, x) - by_kernel(x, kernel)).max() <= 0.51


def test_a_large_disk_through_the_fourier_transform_is_the_same() -> None:
    x = picture(1, 132)
    line = np.arange(-8, 9)
    disk = ((line[:, None] ** 2 + line**2) <= 9).astype(float)
    seen = spoilt("defocus_blur.v1", 1, x)  # radius 3, an edge softened by 1e-22
    assert np.abs(seen[20:40, 30:50] - by_kernel(x, disk / disk.sum())[20:40, 30:50]).max() <= 0.51


def test_gaussian_blur_is_a_product_of_two_lines() -> None:
    x = picture()
    reach = 4
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / 2.0)
    weights /= weights.sum()
    want = np.zeros_like(x, dtype=float)
    for i, a in enumerate(weights):
        for j, b in enumerate(weights):
            rows = np.clip(np.arange(SIDE) + i - reach, 0, SIDE - 1)
            columns = np.clip(np.arange(SIDE) + j - reach, 0, SIDE - 1)
            want += a * b * x[np.ix_(rows, columns)]
    assert np.abs(spoilt("gaussian_blur.v1", 5, x) - want).max() <= 0.51


@pytest.mark.parametrize(("severity", "sigma", "rounds"), [(2, 0.25, 1), (5, 0.4, 2)])
def test_glass_swaps_neighbours_one_after_the_other(severity: int, sigma: float, rounds: int) -> None:
    x = picture()
    soft = np.uint8(gaussian_filter(x / 255, (sigma, sigma, 0), mode="nearest") * 255 + 1e-3) / 255
    rng = np.random.default_rng(3)
    for _ in range(rounds):
        moves = rng.integers(-1, 1, size=(SIDE - 2, SIDE - 2, 2))
        for i, r in enumerate(range(SIDE - 1, 1, -1)):
            for j, c in enumerate(range(SIDE - 1, 1, -1)):
                dy, dx = moves[i, j]
                soft[r, c], soft[r + dy, c + dx] = soft[r + dy, c + dx].copy(), soft[r, c].copy()
    want = gaussian_filter(soft, (sigma, sigma, 0), mode="nearest") * 255
    assert (
        np.abs(spoilt("glass_blur.v1", severity, x, seed=3) - want).max() <= 1.6
    )  # a value at a step's edge may fall to either side


def smeared(x: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    out = np.zeros_like(x, dtype=float)
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i, weight in enumerate(weights):
                row = r + math.ceil(i * math.sin(math.radians(degrees)) - 0.5)
                column = c + math.ceil(i * math.cos(math.radians(degrees)) - 0.5)
                near = x[min(max(row, 0), x.shape[0] - 1), min(max(column, 0), x.shape[1] - 1)]
                out[r, c] += weight / sum(weights) * near
    return out


def test_motion_is_half_a_gaussian_of_whole_pixels() -> None:
    x = picture()
    angle = np.random.default_rng(4).uniform(-45, 45)
    assert np.abs(spoilt("motion_blur.v1", 5, x, seed=4) - smeared(x, 9, 2.5, angle)).max() <= 0.52


def enlarged(x: np.ndarray, factor: float) -> np.ndarray:
    n = len(x)
    inner = math.ceil(n / factor)
    first = (n - inner) // 2
    large = zoom(x[first : first + inner, first : first + inner], (factor, factor, 1), order=1)
    trim = (len(large) - n) // 2
    return large[trim : trim + n, trim : trim + n]


@pytest.mark.parametrize(("severity", "end"), [(1, 1.06), (3, 1.16), (5, 1.26)])
def test_zoom_is_the_mean_of_enlargements(severity: int, end: float) -> None:
    x = picture()
    factors = np.arange(1, end, 0.01)
    want = (x + sum(enlarged(x.astype(float), factor) for factor in factors)) / (len(factors) + 1)
    assert np.abs(spoilt("zoom_blur.v1", severity, x) - want).max() <= 0.52


def test_snow_is_smeared_noise_over_a_pale_picture() -> None:
    x = picture() / 255
    rng = np.random.default_rng(5)
    flakes = enlarged(0.15 + 0.3 * rng.standard_normal((SIDE, SIDE, 1)), 1.75)
    flakes[flakes < 0.55] = 0
    flakes = np.uint8(np.clip(flakes, 0, 1) * 255) / 255
    flakes = smeared(flakes, 10, 4, rng.uniform(-135, -45))
    pale = np.maximum(x, (x @ [0.299, 0.587, 0.114])[:, :, None] * 1.5 + 0.5)
    want = np.clip(0.9 * x + 0.1 * pale + flakes + np.rot90(flakes, 2), 0, 1) * 255
    assert np.abs(spoilt("snow.v1", 3, picture(), seed=5) - want).max() <= 1.01


def test_frost_lays_a_made_pane_over_the_picture() -> None:
    x = picture()
    rng = np.random.default_rng(6)
    pane = weather._pane(0.2)
    top, left = rng.integers(0, len(pane), size=2)
    want = np.clip(0.75 * x + 0.45 * 255 * np.roll(pane, (-top, -left), (0, 1))[:SIDE, :SIDE], 0, 255)
    assert np.abs(spoilt("frost.v1", 5, x, seed=6) - want).max() <= 0.52
    assert 0.3 < pane.mean() < 0.6
    assert pane.std() > 0.15
    assert np.abs(pane[0] - pane[-1]).mean() < 2.5 * np.abs(pane[0] - pane[1]).mean()  # no seam


def test_fog_darkens_to_the_brightest_value() -> None:
    x = picture()
    clouds = slow_plasma(SIDE, 1.75, np.random.default_rng(8))[:, :, None]
    top = x.max() / 255
    want = np.clip((x / 255 + 1.5 * clouds) * top / (top + 1.5), 0, 1) * 255
    assert np.abs(spoilt("fog.v1", 5, x, seed=8) - want).max() <= 0.52


def slow_plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Midpoint displacement on a torus, point by point, with the draws of one level at a time."""
    field = np.zeros((side, side))
    step, reach = side, 100.0
    while step >= 2:
        half, n = step // 2, side // step

        def mean(*points: tuple[int, int]) -> float:
            return float(np.mean([field[r % side, c % side] for r, c in points]))

        for dr, dc in ((half, half), (0, half), (half, 0)):
            noise = reach * rng.uniform(-reach, reach, (n, n))
            for i in range(n):
                for j in range(n):
                    r, c = i * step + dr, j * step + dc
                    if dr and dc:
                        near = [(r + a, c + b) for a in (-half, half) for b in (-half, half)]
                    else:
                        near = [(r - half, c), (r + half, c), (r, c - half), (r, c + half)]
                    field[r, c] = mean(*near) + noise[i, j]
        step, reach = half, reach / decay
    field -= field.min()
    return field / field.max()


@pytest.mark.parametrize(("severity", "more"), [(1, 0.05), (5, 0.3)])
def test_brightness_raises_the_value(severity: int, more: float) -> None:
    x = picture()
    x[0, 0] = 0
    want = np.zeros_like(x, dtype=float)
    for r, c in np.ndindex(SIDE, SIDE):
        h, s, v = colorsys.rgb_to_hsv(*x[r, c] / 255)
        want[r, c] = np.array(colorsys.hsv_to_rgb(h, s, min(v + more, 1))) * 255
    assert np.abs(spoilt("brightness.v2", severity, x) - want).max() <= 0.51


@pytest.mark.parametrize(("severity", "times", "plus"), [(1, 0.3, 0), (2, 0.1, 0), (5, 2.5, 0.2)])
def test_saturate_scales_the_saturation(severity: int, times: float, plus: float) -> None:
    x = picture()
    x[0, 0], x[0, 1] = 0, 90
    want = np.zeros_like(x, dtype=float)
    for r, c in np.ndindex(SIDE, SIDE):
        h, s, v = colorsys.rgb_to_hsv(*x[r, c] / 255)
        want[r, c] = np.array(colorsys.hsv_to_rgb(h, min(s * times + plus, 1), v)) * 255
    assert np.abs(spoilt("saturate.v1", severity, x) - want).max() <= 0.51


def test_saturate_leaves_a_picture_without_colours_alone() -> None:
    assert (spoilt("saturate.v1", 5, picture(1)) == picture(1)).all()


def test_contrast_draws_each_channel_to_its_mean() -> None:
    x = picture()
    mean = np.array([[[x[:, :, i].sum() / SIDE**2 for i in range(3)]]])
    assert np.abs(spoilt("contrast.v2", 5, x) - (0.15 * (x - mean) + mean)).max() <= 0.51


def test_pixelate_averages_whole_pixels() -> None:
    """At 40 pixels the fifth severity keeps 26: each is the mean of those whose middle it covers."""
    x = picture(1, 40)
    n, step = 26, 40 / 26
    members = [[j for j in range(40) if i * step <= j + 0.5 < (i + 1) * step] for i in range(n)]
    small = np.array([[np.rint(x[np.ix_(a, b)].mean()) for b in members] for a in members])
    back = [int((j + 0.5) * n / 40) for j in range(40)]
    assert np.abs(spoilt("pixelate.v1", 5, x)[:, :, 0] - small[np.ix_(back, back)]).max() <= 1


def test_elastic_moves_as_far_as_published() -> None:
    """On a slope the shift can be read off: severity 3 has corners within ±0.06 sides and waves of known deviation."""
    side = 64
    slope = np.tile(np.linspace(40, 200, side), (side, 1)).astype(np.uint8)[:, :, None]
    per_pixel = 160 / (side - 1)
    inner = slice(16, 48)
    waves, corners = [], []
    for seed in range(60):
        moved = (spoilt("elastic_transform.v1", 4, slope, seed=seed) - slope)[inner, inner, 0] / per_pixel
        plane = np.column_stack([np.ones(32 * 32), *(g.ravel() for g in np.mgrid[:32, :32])])
        fit = plane @ np.linalg.lstsq(plane, moved.ravel(), rcond=None)[0]
        waves.append((moved.ravel() - fit).std())
        corners.append(fit[len(fit) // 2])
    noise = np.random.default_rng(0).uniform(-1, 1, (600, 600))
    want = (0.1 * side * gaussian_filter(noise, 0.03 * side, truncate=3)).std()
    assert np.mean(waves) == pytest.approx(want, rel=0.2)
    assert np.abs(corners).max() < 2 * 0.03 * side + 1  # the middle of three corners, each within ±0.03 sides


@pytest.mark.parametrize("name", [*COMMON, *VALIDATION])
def test_a_large_picture_is_spoilt_at_the_size_of_the_constants(name: str) -> None:
    large = picture(3, 320)
    for severity in (1, 5):
        assert spoilt(name, severity, large).shape == (320, 320, 3)
    assert len(COMMON) == 15
    assert len(VALIDATION) == 4


def test_water_shines_and_mud_covers() -> None:
    x = np.full((64, 64, 3), 60, np.uint8)
    water, mud = spoilt("spatter.v1", 3, x), spoilt("spatter.v1", 5, x)
    lit = (water != 60).any(axis=2)
    assert 0.02 < lit.mean() < 0.9
    assert (water[lit] >= 60).all()
    assert (water[lit][:, 1] >= water[lit][:, 0]).all()  # pale turquoise: green and blue over red
    assert (water - 60).max() == pytest.approx(255 * 0.6 * 238 / 255, abs=1)
    covered = (mud != 60).any(axis=2)
    assert 0.02 < covered.mean() < 0.6
    assert np.abs(mud[covered].min(axis=0) - [60, 42, 20]).max() <= 3  # mud brown, where it covers wholly
