"""Weather: snow, frost and fog.

The published frost lays photographs of frozen panes over the picture. None are shipped here: a texture of crystals is
made instead, from a fixed seed, and laid over with the published weights. Figures under frost are therefore not to be
held against published ones.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from passmuster.modality.image.corrupt.kernels import motion, zoomed
from passmuster.modality.image.corrupt.published import CIFAR_UP_TO, TINY_UP_TO, luminance, published

TEXTURE_SIDE = 512  # of the frozen pane at the size of ImageNet's pictures
ICE = (0.85, 0.95, 1.0)


@published(
    cifar=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    tiny=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8), (0.1, 0.2, 1, 0.5, 10, 4, 0.8), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    imagenet=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
)  # fmt: skip
def snow(x: np.ndarray, c: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Flakes: the bright spots of enlarged noise, smeared as they fall, twice; the picture pales beneath them."""
    mean, spread, enlarged, least, radius, sigma, kept = c
    flakes = (mean + spread * rng.standard_normal((*x.shape[:2], 1))).astype(np.float32)
    flakes = zoomed(flakes, enlarged)[0]
    flakes = np.floor(np.clip(np.where(flakes < least, 0, flakes), 0, 1) * 255) / np.float32(255)
    flakes = motion(flakes, int(radius), sigma, rng.uniform(-135, -45))
    pale = np.maximum(x, luminance(x) * np.float32(1.5) + np.float32(0.5))
    return np.asarray(np.float32(kept) * x + np.float32(1 - kept) * pale + flakes + flakes[::-1, ::-1])


@published(
    cifar=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    tiny=((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    imagenet=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
)
def frost(x: np.ndarray, c: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """A frozen pane before the picture: a part, at random, of a texture that was made, not photographed."""
    side = min(x.shape[:2])
    pane = _pane(0.2 if side <= CIFAR_UP_TO else 0.3 if side <= TINY_UP_TO else 1.0)
    top, left = rng.integers(0, len(pane), size=2)
    part = pane[np.ix_((top + np.arange(x.shape[0])) % len(pane), (left + np.arange(x.shape[1])) % len(pane))]
    part = part if x.shape[2] == 3 else luminance(part)
    return np.float32(c[0]) * x + np.float32(c[1]) * part


@lru_cache(maxsize=3)
def _pane(scale: float) -> np.ndarray:
    """The texture (s, s, 3) in [0, 1], without seams: crystals along the ridges of smooth noise of several widths."""
    rng = np.random.default_rng(20190)
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(TEXTURE_SIDE) * TEXTURE_SIDE,) * 2))
    total = np.zeros((TEXTURE_SIDE, TEXTURE_SIDE))
    for octave, weight in ((6, 1.0), (12, 0.8), (24, 0.6), (48, 0.45), (96, 0.3)):
        band = np.exp(-((np.log2(np.maximum(frequency, 0.5) / octave) / 0.6) ** 2))
        noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal(total.shape)) * band).real
        total += weight * np.exp(-np.abs(noise / noise.std()) * 2.5)
    total = np.clip((total - np.quantile(total, 0.02)) / np.ptp(np.quantile(total, [0.02, 0.98])), 0, 1) ** 0.8
    image = Image.fromarray(np.uint8(np.rint(255 * total)))
    side = round(TEXTURE_SIDE * scale)
    grey = np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32) / np.float32(255)
    return grey[:, :, None] * np.array(ICE, dtype=np.float32)


@published(
    cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    tiny=((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
)
def fog(x: np.ndarray, c: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Clouds are added, and the whole is darkened to what was the brightest value."""
    thickness, decay = c
    height, width = x.shape[:2]
    clouds = plasma(max(2, 1 << (max(height, width) - 1).bit_length()), decay, rng)[:height, :width, None]
    brightest = float(x.max())
    return (x + np.float32(thickness) * clouds) * np.float32(brightest / (brightest + thickness))


def plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Clouds (side, side) in [0, 1] without seams, `side` a power of two: midpoint displacement (Fournier et al. 1982).

    Squares, then diamonds; what is added at random shrinks by `decay` from one size to the next.
    """
    field = np.zeros((side, side))
    step, reach = side, 100.0
    while step >= 2:
        half = step // 2
        shape = (side // step, side // step)
        corners = field[::step, ::step]
        after, before = np.arange(1, side // step + 1) % (side // step), np.arange(-1, side // step - 1)
        pairs = corners + corners[after]
        centres = (pairs + pairs[:, after]) / 4 + reach * rng.uniform(-reach, reach, shape)
        level = corners + corners[:, after] + centres + centres[before]
        upright = pairs + centres + centres[:, before]
        field[half::step, half::step] = centres
        field[::step, half::step] = level / 4 + reach * rng.uniform(-reach, reach, shape)
        field[half::step, ::step] = upright / 4 + reach * rng.uniform(-reach, reach, shape)
        step, reach = half, reach / decay
    field -= field.min()
    return np.asarray((field / max(field.max(), 1e-12)).astype(np.float32))
