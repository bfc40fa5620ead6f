"""The everyday corruptions and JPEG against second versions from their definitions, on 1,000 random pictures.

Grey and coloured, of one value alone, with values at both ends, of one pixel a side up to some dozen. What Pillow
rounds between its passes may differ by a level or two; the JPEG here is that of the standard (ITU-T T.81) with scipy's
cosines and the tables of its annex K.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from scipy import fft, stats

from oracle_case import counted, oracle
from passmuster.modality.image.corruptions import corruptions

N_PICTURES = 1_000
Picture = tuple[int, np.ndarray, int]  # its number, pixels (h, w, c), severity 1 to 5


def pictures(least: int = 1, most: int = 20, n: int = N_PICTURES) -> Iterator[Picture]:
    rng = np.random.default_rng(0)
    for number in range(n):
        h, w = rng.integers(least, most + 1, 2)
        x = rng.integers(0, 256, (h, w, 3 if number % 2 else 1))
        if number % 5 == 0:
            x = np.where(x > 127, 255, 0)
        if number % 11 == 0:
            x[:] = x[0, 0]
        yield number, x.astype(np.uint8), 1 + number % 5


def spoilt(name: str, picture: Picture) -> tuple[np.ndarray, np.random.Generator]:
    """What a corruption makes of a picture, and a generator that has drawn nothing yet of what it drew."""
    number, x, severity = picture
    made = corruptions[name](x, severity, np.random.default_rng(number))
    assert made.dtype == np.uint8
    assert made.shape == x.shape
    return made.astype(float), np.random.default_rng(number)


def whole(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, 255)


@oracle("its definition")
def test_brightness_and_contrast() -> None:
    shifts, factors = (0.1, 0.2, 0.3, 0.42, 0.55), (0.75, 0.55, 0.4, 0.25, 0.12)
    for picture in counted(pictures()):
        _, x, severity = picture
        found, rng = spoilt("brightness.v1", picture)
        shift = 255 * shifts[severity - 1] * (1 if rng.random() < 0.5 else -1)
        np.testing.assert_allclose(found, whole(x + shift), rtol=0, atol=1e-6)
        found, _ = spoilt("contrast.v1", picture)
        middle = math.fsum(x.ravel().tolist()) / x.size
        drawn = middle + factors[severity - 1] * (x - middle)
        clear = np.abs(drawn - np.floor(drawn) - 0.5) > 1e-9  # a half is rounded by the last bit of the mean
        np.testing.assert_allclose(found[clear], whole(drawn)[clear], rtol=0, atol=1e-6)


@oracle("its definition")
def test_occlusion() -> None:
    shares = (0.2, 0.3, 0.4, 0.5, 0.62)
    for picture in counted(pictures()):
        _, x, severity = picture
        found, rng = spoilt("occlusion.v1", picture)
        hidden = (found != x).any(axis=2)
        sides = [max(1, round(n * shares[severity - 1])) for n in x.shape[:2]]
        at = [round(rng.random() * (n - side)) for n, side in zip(x.shape[:2], sides, strict=True)]
        block = np.zeros(x.shape[:2], bool)
        block[at[0] : at[0] + sides[0], at[1] : at[1] + sides[1]] = True
        assert (found[block] == 127).all()
        assert not hidden[~block].any()


@cache
def extended_box(n: int, sigma: float) -> np.ndarray:
    """Three boxes with fractional ends in a row (Gwosdek et al. 2011) of a line of n pixels, the last ones repeated."""
    variance = sigma**2 / 3
    reach = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    part = (2 * reach + 1) * (reach * (reach + 1) - 3 * variance) / (6 * (variance - (reach + 1) ** 2))
    box = np.zeros((n, n))
    for i in range(n):
        for k in range(-reach - 1, reach + 2):
            box[i, min(max(i + k, 0), n - 1)] += 1.0 if abs(k) <= reach else part
    return np.linalg.matrix_power(box / box.sum(axis=1, keepdims=True), 3)


@oracle("its definition")
def test_blur() -> None:
    strengths, off = (0.02, 0.035, 0.05, 0.075, 0.11), []
    for picture in counted(pictures(most=30)):
        _, x, severity = picture
        found, _ = spoilt("blur.v1", picture)
        sigma = strengths[severity - 1] * min(x.shape[:2])
        down, across = (extended_box(n, sigma) for n in x.shape[:2])
        expected = np.einsum("ij,jkc,lk->ilc", down, x.astype(float), across)
        assert np.abs(found - expected).max() <= 3.0, picture[0]  # six passes, each rounded
        off.append((found - expected).mean())
    assert abs(np.mean(off)) < 0.1


@oracle("its definition")
def test_rotation() -> None:
    """Each pixel by the four around the place from which it comes; the turn is about the middle, to the left first."""
    degrees = (8.0, 16.0, 25.0, 35.0, 50.0)
    for picture in counted(pictures(most=14, least=2)):
        _, x, severity = picture
        found, rng = spoilt("rotation.v1", picture)
        angle = math.radians(degrees[severity - 1] * (1 if rng.random() < 0.5 else -1))
        h, w = x.shape[:2]
        down, across = np.mgrid[:h, :w] + 0.5 - np.array([h, w]).reshape(2, 1, 1) / 2
        left = math.cos(angle) * across - math.sin(angle) * down + w / 2
        top = math.sin(angle) * across + math.cos(angle) * down + h / 2
        rows, columns = top - 0.5, left - 0.5
        i, j = np.floor(rows).astype(int), np.floor(columns).astype(int)
        b, a = (rows - i)[:, :, None], (columns - j)[:, :, None]
        expected = sum(
            (b if di else 1 - b) * (a if dj else 1 - a)
            * x[np.clip(i + di, 0, h - 1), np.clip(j + dj, 0, w - 1)].astype(float)
            for di in (0, 1) for dj in (0, 1)
        )  # fmt: skip
        border = np.median(np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]]), axis=0).astype(int)
        far = np.minimum(np.minimum(left, w - left), np.minimum(top, h - top))
        expected = np.where((far >= 0)[:, :, None], expected, border)
        sure = np.abs(far) > 1e-6  # whether a place on the very edge is inside is a matter of the last bit
        assert np.abs(found - expected)[sure].max() <= 1.0, picture[0]


@cache
def shrunk(n: int, small: int) -> np.ndarray:
    """Weights (small, n) of the pixels whose middles lie in each large one."""
    scale = n / small
    found = np.zeros((small, n))
    for i in range(small):
        for k in range(n):
            place = (k + 0.5 - (i + 0.5) * scale) / scale
            found[i, k] = -0.5 < place <= 0.5
    return found / found.sum(axis=1, keepdims=True)


@oracle("its definition")
def test_pixelation() -> None:
    keeps = (0.75, 0.55, 0.42, 0.32, 0.22)
    for picture in counted(pictures(most=14)):
        _, x, severity = picture
        found, _ = spoilt("pixelation.v1", picture)
        ends = [(n, max(1, round(n * keeps[severity - 1]))) for n in x.shape[:2]]
        places = [(np.arange(n) + 0.5) * small / n for n, small in ends]
        down, across = (shrunk(*end)[at.astype(int)] for end, at in zip(ends, places, strict=True))
        expected = np.einsum("ij,jkc,lk->ilc", down, x.astype(float), across)
        rows, columns = (np.abs(at - np.rint(at)) > 1e-9 for at in places)  # on an edge the last bit decides
        assert np.abs(found - expected)[rows][:, columns].max(initial=0) <= 1.01, picture[0]


@oracle("numpy")
def test_noise() -> None:
    for picture in counted(pictures()):
        _, x, severity = picture
        found, rng = spoilt("gaussian_noise.v1", picture)
        sigma = 255 * (0.04, 0.08, 0.13, 0.2, 0.3)[severity - 1]
        drawn = x + sigma * rng.standard_normal(x.shape, dtype=np.float32).astype(float)
        clear = np.abs(drawn - np.floor(drawn) - 0.5) > 1e-4  # a half is rounded by single precision
        np.testing.assert_allclose(found[clear], whole(drawn)[clear], rtol=0, atol=1e-6)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_moments_of_noise(severity: int) -> None:
    """A level's mean and spread, rounded and cut off at both ends, by scipy's normal; within a hundredth."""
    sigma = 255 * (0.04, 0.08, 0.13, 0.2, 0.3)[severity - 1]
    levels = np.arange(256)
    for level in (0, 60, 128, 255):
        flat = np.full((700, 1_000, 1), level, np.uint8)
        found = corruptions["gaussian_noise.v1"](flat, severity, np.random.default_rng(level + severity))
        below = stats.norm.cdf(np.append(levels[:-1] + 0.5, np.inf), level, sigma)
        chance = np.diff(below, prepend=0.0)
        mean = (chance * levels).sum()
        spread = math.sqrt((chance * (levels - mean) ** 2).sum())
        assert abs(found.mean() - mean) <= 0.01 * spread
        assert found.std() == pytest.approx(spread, rel=0.01)


LUMA = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
]).reshape(8, 8)  # fmt: skip
CHROMA = np.full((8, 8), 99)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def coded(plane: np.ndarray, table: np.ndarray, quality: int) -> np.ndarray:
    """A plane (h, w), whole blocks of 8, quantised in the cosines of each block, and back."""
    scale = 5_000 // quality if quality < 50 else 200 - 2 * quality
    steps = np.clip((table * scale + 50) // 100, 1, 255)
    h, w = plane.shape
    blocks = plane.reshape(h // 8, 8, w // 8, 8).transpose(0, 2, 1, 3) - 128.0
    steep = np.round(fft.dctn(blocks, axes=(2, 3), norm="ortho") / steps, 9)
    kept = np.sign(steep) * np.floor(np.abs(steep) + 0.5) * steps
    return whole(fft.idctn(kept, axes=(2, 3), norm="ortho").transpose(0, 2, 1, 3).reshape(h, w) + 128)


def doubled(plane: np.ndarray) -> np.ndarray:
    """Twice as large each way: three parts of the nearest and one of the next, the last ones repeated."""
    for _ in range(2):
        beside = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
        both = [(3 * plane + beside[:-2]) / 4, (3 * plane + beside[2:]) / 4]
        plane = np.stack(both, axis=1).reshape(-1, plane.shape[1]).T
    return plane


@oracle("scipy")
def test_jpeg() -> None:
    """Where a cosine lies on the edge between two steps, the encoder's whole numbers decide: some blocks differ."""
    rng, near = np.random.default_rng(1), np.zeros((2, 5, 2))
    for number in counted(range(N_PICTURES)):
        channels, severity = (1, 3)[number % 2], 1 + number // 2 % 5
        rough = rng.uniform(0, 255, (2, 2, channels)).repeat(8, axis=0).repeat(8, axis=1)
        x = whole(rough + rng.normal(0, rng.choice([0, 10, 40]), rough.shape))
        found, _ = spoilt("jpeg_compression.v1", (number, x.astype(np.uint8), severity))
        quality = (80, 65, 58, 50, 40)[severity - 1]  # of pictures so small
        if channels == 1:
            expected = coded(x[:, :, 0], LUMA, quality)[:, :, None]
        else:
            y, *colour = np.moveaxis(whole(x @ TO_YCC.T + [0, 128, 128]), 2, 0)
            up = np.where(np.arange(8) % 2, 0.5, 0.25)  # halves go up in every second column
            halves = [np.floor(plane.reshape(8, 2, 8, 2).mean(axis=(1, 3)) + up) for plane in colour]
            back = [coded(y, LUMA, quality), *(doubled(coded(half, CHROMA, quality)) for half in halves)]
            expected = whole((np.stack(back, axis=2) - [0, 128, 128]) @ np.linalg.inv(TO_YCC).T)
        apart = np.abs(found - expected)
        near[number % 2, severity - 1] += (apart <= 2).mean() / (N_PICTURES / 10), apart.mean() / (N_PICTURES / 10)
    assert (near[0] > [0.96, 0]).all(), near
    assert (near[0] < [1.01, 0.3]).all(), near
    assert (near[1] > [0.94, 0]).all(), near
    assert (near[1] < [1.01, 0.8]).all(), near
