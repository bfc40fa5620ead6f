"""What the library does not tell of the published corruptions: sizes, grey pictures, our own pane, distances."""

import heapq

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from passmuster.modality.image.corrupt import weather
from passmuster.modality.image.corrupt.spatter import FAR, ONE, _distances
from passmuster.modality.image.corruptions import COMMON, VALIDATION, corruptions

SIDE = 32


def picture(channels: int = 3, side: int = SIDE) -> np.ndarray:
    """Smooth colours with edges and noise."""
    rng = np.random.default_rng(7)
    rough = rng.uniform(0, 255, (side // 4, side // 4, channels)).repeat(4, axis=0).repeat(4, axis=1)
    return np.clip(rough + rng.normal(0, 12, rough.shape), 0, 255).astype(np.uint8)


def spoilt(name: str, severity: int, x: np.ndarray, seed: int = 0) -> np.ndarray:
    return corruptions[name](x, severity, np.random.default_rng(seed)).astype(float)  # type: ignore[union-attr]


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


def test_saturate_leaves_a_picture_without_colours_alone() -> None:
    assert (spoilt("saturate.v1", 5, picture(1)) == picture(1)).all()


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


def slow_distances(edges: np.ndarray) -> np.ndarray:
    """Of steps of 1, 1.4 aslant and 2.1969 as a knight moves, the shortest way, no further than 20."""
    length = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}
    around = range(-2, 3)
    steps = [(i, j, length.get((min(abs(i), abs(j)), max(abs(i), abs(j))), 0)) for i in around for j in around]
    steps = [step for step in steps if step[2]]
    found = np.full(edges.shape, 20.0)
    queue = [(0.0, int(r), int(c)) for r, c in np.argwhere(edges)]
    found[edges] = 0
    while queue:
        far, r, c = heapq.heappop(queue)
        for i, j, step in steps:
            a, b = r + i, c + j
            if 0 <= a < len(edges) and 0 <= b < edges.shape[1] and far + step < found[a, b] - 1e-9:
                found[a, b] = far + step
                heapq.heappush(queue, (far + step, a, b))
    return found


@pytest.mark.parametrize(
    ("shape", "n"), [((28, 28), 5), ((28, 28), 40), ((60, 50), 1), ((3, 45), 2), ((40, 2), 1), ((1, 9), 1)]
)
def test_distances_are_those_of_the_shortest_way(shape: tuple[int, int], n: int) -> None:
    edges = np.zeros(shape, dtype=bool)
    edges.ravel()[np.random.default_rng(n).permutation(edges.size)[:n]] = True
    assert np.allclose(_distances(edges) / ONE, slow_distances(edges), rtol=0, atol=1e-6)
    assert (_distances(np.zeros(shape, dtype=bool)) == FAR * ONE).all()
