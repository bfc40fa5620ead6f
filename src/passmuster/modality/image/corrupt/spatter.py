"""Drops of water and splashes of mud on the lens (one of the four validation corruptions).

The published water runs through routines of OpenCV; the same steps are written out here, rounding included: edges
after Canny (1986), distances to them by steps to near pixels (Borgefors 1986), an equalised histogram and an embossing
kernel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import convolve, label, uniform_filter

from passmuster.modality.image.corrupt.kernels import gaussian
from passmuster.modality.image.corrupt.published import in_channels, published

WATER, MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
FAR = 20  # pixels from an edge, beyond which all is alike
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)
WEAK, STRONG = 50, 150  # thresholds of edges
ONE = 2**30  # of a distance in whole numbers, so that sums are exact
STEPS = {  # cost of the steps to a near pixel: straight, aslant, and as a knight moves
    ONE: ((0, 1), (0, -1), (1, 0), (-1, 0)),
    round(1.4 * ONE): ((1, 1), (1, -1), (-1, 1), (-1, -1)),
    round(2.1969 * ONE): ((1, 2), (1, -2), (-1, 2), (-1, -2), (2, 1), (2, -1), (-2, 1), (-2, -1)),
}


@published(
    cifar=(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    tiny=(
        (0.62, 0.1, 0.7, 0.7, 0.6, 0), (0.65, 0.1, 0.8, 0.7, 0.6, 0), (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1), (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    imagenet=(
        (0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
)  # fmt: skip
def spatter(x: np.ndarray, c: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Where smooth noise is high there is liquid: water shines at its edges, mud covers what is behind it."""
    mean, spread, smooth, least, strength, is_mud = c
    liquid = gaussian((mean + spread * rng.standard_normal(x.shape[:2])).astype(np.float32), smooth)
    if is_mud:
        cover = gaussian((liquid > least).astype(np.float32), strength)
        cover = np.where(cover < 0.8, 0, cover)[:, :, None].astype(np.float32)
        return np.asarray(x * (1 - cover) + cover * in_channels(MUD, x.shape[2]))
    liquid = np.floor(np.where(liquid < least, 0, liquid) * 255)
    shine = liquid * _relief(liquid)
    shine *= strength / max(float(shine.max()), 1e-9)
    return np.asarray(x + shine[:, :, None].astype(np.float32) * in_channels(WATER, x.shape[2]))


def _relief(liquid: np.ndarray) -> np.ndarray:
    """Light (h, w), 0 to 255, on a surface that rises from the edges of the liquid."""
    edges = _edges(liquid)
    far = np.pad(_distances(edges), 1, mode="reflect")
    rows = far[:-2] + far[1:-1] + far[2:]
    height = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) // (9 * ONE)
    counts = np.bincount(height.ravel(), minlength=FAR + 1)
    first = int(counts.nonzero()[0][0])
    equal = (counts.cumsum() - counts[first]) / max(liquid.size - counts[first], 1)
    level = np.rint(255 * np.clip(equal, 0, 1))[height]
    lit = np.clip(convolve(level, EMBOSS[::-1, ::-1], mode="mirror"), 0, 255)
    return np.asarray(np.rint(uniform_filter(lit, 3, mode="mirror")))


def _distances(edges: np.ndarray) -> np.ndarray:
    """From every pixel to the nearest edge, (h, w) int64 in `ONE`, and `FAR` where it is farther."""
    far = np.where(edges, 0, FAR * ONE)
    for here, there, cost in _runs(*edges.shape):
        np.minimum(far[there], far[here] + cost, out=far[there])
    return far


@lru_cache(maxsize=8)
def _runs(height: int, width: int) -> list[tuple[tuple[slice, slice], tuple[slice, slice], int]]:
    """Where runs of equal steps start and end, and their cost, so that one after the other finds every shortest way.

    Such a way takes steps of two kinds at most, in any order, within the rectangle between its ends: so all runs of
    one kind may come before those of another, and a run is put together of runs of 1, 2, 4 … steps.
    """
    found = []
    for cost, moves in STEPS.items():
        for down, right in moves:
            n = 1
            while n * cost < FAR * ONE and n * abs(down) < height and n * abs(right) < width:
                (from_y, to_y), (from_x, to_x) = _moved(height, n * down), _moved(width, n * right)
                found.append(((from_y, from_x), (to_y, to_x), n * cost))
                n *= 2
    return found


def _moved(length: int, by: int) -> tuple[slice, slice]:
    """Of a line: what can be moved by so much, and where it comes to lie."""
    here, there = slice(0, length - abs(by)), slice(abs(by), length)
    return (here, there) if by >= 0 else (there, here)


def _edges(grey: np.ndarray) -> np.ndarray:
    """Edges (h, w) of a picture in 0 to 255: Sobel's gradient, thinned along itself; weak ones only beside strong."""
    wide = np.pad(grey, 1, mode="edge")
    down = wide[2:] - wide[:-2]
    gy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    across = wide[:, 2:] - wide[:, :-2]
    gx = across[:-2] + 2 * across[1:-1] + across[2:]
    strength = np.abs(gx) + np.abs(gy)
    around = np.pad(strength, 1)
    height, width = grey.shape

    def beside(i: int, j: int) -> np.ndarray:
        return around[1 + i : 1 + i + height, 1 + j : 1 + j + width]

    level, upright = np.abs(gy) < np.abs(gx) * 0.41421356, np.abs(gy) > np.abs(gx) * 2.41421356
    falling = (gx < 0) ^ (gy < 0)
    before = np.select([level, upright, falling], [beside(0, -1), beside(-1, 0), beside(-1, 1)], beside(-1, -1))
    after = np.select([level, upright, falling], [beside(0, 1), beside(1, 0), beside(1, -1)], beside(1, 1))
    aslant = ~level & ~upright
    thin = (strength > before) & ((strength > after) | (~aslant & (strength == after))) & (strength > WEAK)
    parts, n = label(thin, structure=np.ones((3, 3)))
    strong = np.zeros(n + 1, dtype=bool)
    strong[parts[thin & (strength > STRONG)]] = True
    strong[0] = False
    return np.asarray(strong[parts])
