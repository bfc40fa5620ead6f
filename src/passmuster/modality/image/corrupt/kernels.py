"""Convolution by small and large kernels, and linear enlargement: what blurs and weather share."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

FEW_TAPS = 40  # above, the Fourier transform is quicker than shifting


def gaussian(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of each channel, cut at four deviations; the border goes on as its last pixel."""
    return np.asarray(gaussian_filter(x, (sigma, sigma, *(0.0,) * (x.ndim - 2)), mode="nearest", truncate=4.0))


def correlate(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Each channel of (h, w, c) with a kernel of odd sides; borders are mirrored without repeating the last pixel."""
    ry, rx = kernel.shape[0] // 2, kernel.shape[1] // 2
    wide = np.pad(x, ((ry, ry), (rx, rx), (0, 0)), mode="reflect")
    taps = np.argwhere(kernel)
    if len(taps) > FEW_TAPS:
        from scipy.signal import fftconvolve  # slow to import, and only for large pictures

        return np.asarray(fftconvolve(wide, kernel[::-1, ::-1, None].astype(x.dtype), mode="valid", axes=(0, 1)))
    height, width = x.shape[:2]
    out = np.zeros_like(x)
    for i, j in taps.tolist():
        out += x.dtype.type(kernel[i, j]) * wide[i : i + height, j : j + width]
    return out


@lru_cache(maxsize=64)
def disk(radius: float, softness: float) -> np.ndarray:
    """A filled circle as a kernel, its edge softened by a Gaussian of 3 (from radius 9 on 5) pixels a side."""
    reach = 8 if radius <= 8 else int(radius)
    line = np.arange(-reach, reach + 1)
    circle = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    side = 1 if radius <= 8 else 2
    weights = np.exp(-(np.arange(-side, side + 1) ** 2) / (2 * softness**2))
    weights /= weights.sum()
    kernel = correlate((circle / circle.sum())[:, :, None], np.outer(weights, weights))[:, :, 0]
    used = np.flatnonzero(kernel.max(axis=0) > 0)
    return kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]


def motion(x: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Smeared along one direction by half a Gaussian of ``2 radius + 1`` whole pixels; borders go on as they end."""
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(x.dtype)
    angle = math.radians(degrees)
    dx = np.ceil(steps * math.cos(angle) - 0.5).astype(int)
    dy = np.ceil(steps * math.sin(angle) - 0.5).astype(int)
    height, width = x.shape[:2]
    reach = 2 * radius
    wide = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    out = np.zeros_like(x)
    for weight, i, j in zip(weights, dy.tolist(), dx.tolist()):
        if weight > 1e-8:
            out += weight * wide[reach + i : reach + i + height, reach + j : reach + j + width]
    return out


@lru_cache(maxsize=512)
def _enlarging(n: int, factors: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For a line of n: which two of its pixels each place of its enlarged middle lies between, and how far along; each
    (f, n)."""
    found = []
    for factor in factors:
        inner = math.ceil(n / factor)
        first = (n - inner) // 2
        n_large = round(inner * factor)
        trim = (n_large - n) // 2
        at = np.arange(trim, trim + n) * ((inner - 1) / max(n_large - 1, 1))
        low = np.minimum(np.floor(at).astype(np.int64), max(inner - 2, 0))
        found.append((first + low, first + np.minimum(low + 1, inner - 1), (at - low).astype(np.float32)))
    low, high, share = (np.stack(part) for part in zip(*found, strict=True))
    return low, high, share


def zoomed(x: np.ndarray, *factors: float) -> np.ndarray:
    """The middle of (h, w, c), enlarged linearly to the whole by each factor: (f, h, w, c)."""
    low, high, share = _enlarging(x.shape[0], factors)
    rows = x[low] + share[:, :, None, None] * (x[high] - x[low])
    low, high, share = _enlarging(x.shape[1], factors)
    at = np.arange(len(factors))[:, None]
    columns = rows.transpose(0, 2, 1, 3)  # (f, w, h, c)
    left = columns[at, low]
    return np.asarray((left + share[:, :, None, None] * (columns[at, high] - left)).transpose(0, 2, 1, 3))
