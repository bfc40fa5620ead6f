"""Elastic and spatter, the two published corruptions of many steps, against slow second versions of their definitions.

The seconds take the draws in the published order, and work pixel by pixel: three points that move and a field of small
shifts; Canny's edges followed from strong ones, distances to them by Dijkstra's way, a histogram spread by its counts.
Where OpenCV is published to round, they round.
"""

import heapq
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from test_image_corrupt_oracles import mirrored, picture

from passmuster.modality.image.corrupt.spatter import FAR, ONE, _distances
from passmuster.modality.image.corruptions import corruptions

WATER = (175, 238, 238)


def spoilt(name: str, x: np.ndarray, severity: int, seed: int) -> np.ndarray:
    return corruptions[name](x, severity, np.random.default_rng(seed)).astype(float)  # type: ignore[union-attr]


def doubled(i: int, n: int) -> int:
    """A place beyond the border, mirrored with the last pixel repeated."""
    i %= 2 * n
    return min(i, 2 * n - 1 - i)


def between(x: np.ndarray, row: float, column: float, border) -> np.ndarray:
    top, left = math.floor(row), math.floor(column)
    found = np.zeros(x.shape[2])
    for i, a in ((top, top + 1 - row), (top + 1, row - top)):
        for j, b in ((left, left + 1 - column), (left + 1, column - left)):
            found += a * b * x[border(i, x.shape[0]), border(j, x.shape[1])]
    return found


def slow_elastic(x: np.ndarray, strength: float, smooth: float, shift: float, seed: int) -> np.ndarray:
    """Lengths in sides. Three corners of a square in the middle move, then each pixel, neighbours alike."""
    rng, side = np.random.default_rng(seed), x.shape[0]
    middle, arm = side // 2, side // 3
    before = [(middle + arm, middle + arm), (middle + arm, middle - arm), (middle - arm, middle - arm)]
    moves = rng.uniform(-shift * side, shift * side, size=(3, 2))
    after = [(x0 + dx, y0 + dy) for (x0, y0), (dx, dy) in zip(before, moves)]
    matrix = np.linalg.solve([[x0, y0, 1] for x0, y0 in before], after).T  # before to after, (2, 3)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    moved = np.zeros_like(x, dtype=float)
    for r, c in np.ndindex(side, side):
        column, row, _ = back @ [c, r, 1]
        moved[r, c] = between(x, row, column, mirrored)
    dx, dy = (
        strength * side * gaussian_filter(rng.uniform(-1, 1, (side, side)), smooth * side, mode="reflect", truncate=3)
        for _ in range(2)
    )
    out = np.zeros_like(moved)
    for r, c in np.ndindex(side, side):
        out[r, c] = between(moved, r + dy[r, c], c + dx[r, c], doubled)
    return out


@pytest.mark.parametrize(
    ("severity", "constants"), [(2, (0.05, 0.2, 0.07)), (3, (0.08, 0.06, 0.06)), (5, (0.1, 0.03, 0.03))]
)
def test_elastic_is_three_points_moved_and_a_smooth_field(severity: int, constants: tuple[float, ...]) -> None:
    x = picture()
    for seed in range(3):
        found, want = spoilt("elastic_transform.v1", x, severity, seed), slow_elastic(x, *constants, seed)
        assert np.abs(found - want).max() <= 0.51
        assert found.mean() == pytest.approx(want.mean(), rel=0.01)
        assert (found - x).std() == pytest.approx((want - x).std(), rel=0.01)


def slow_edges(grey: np.ndarray) -> np.ndarray:
    height, width = grey.shape
    gx, gy = np.zeros((height, width)), np.zeros((height, width))
    for r, c in np.ndindex(height, width):
        for i, j in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            value = grey[min(max(r + i, 0), height - 1), min(max(c + j, 0), width - 1)]
            gx[r, c] += j * (2 - abs(i)) * value
            gy[r, c] += i * (2 - abs(j)) * value
    size = np.pad(np.abs(gx) + np.abs(gy), 1)  # nothing beyond the border
    thin = np.zeros((height, width), dtype=bool)
    for r, c in np.ndindex(height, width):
        angle = math.degrees(math.atan2(abs(gy[r, c]), abs(gx[r, c])))
        if angle < 22.5:
            ways, ties = ((0, -1), (0, 1)), True
        elif angle > 67.5:
            ways, ties = ((-1, 0), (1, 0)), True
        else:
            across = -1 if (gx[r, c] < 0) == (gy[r, c] < 0) else 1
            ways, ties = ((-1, across), (1, -across)), False
        here = size[r + 1, c + 1]
        first, second = (size[r + 1 + i, c + 1 + j] for i, j in ways)
        thin[r, c] = here > 50 and here > first and (here >= second if ties else here > second)
    edges = np.zeros_like(thin)
    going = [(r, c) for r, c in np.argwhere(thin) if size[r + 1, c + 1] > 150]
    while going:
        r, c = going.pop()
        if not edges[r, c]:
            edges[r, c] = True
            rows, columns = range(max(r - 1, 0), min(r + 2, height)), range(max(c - 1, 0), min(c + 2, width))
            going += [(i, j) for i in rows for j in columns if thin[i, j]]
    return edges


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


def around(x: np.ndarray, r: int, c: int) -> np.ndarray:
    return np.array([[x[mirrored(r + i, len(x)), mirrored(c + j, x.shape[1])] for j in (-1, 0, 1)] for i in (-1, 0, 1)])


def slow_water(x: np.ndarray, mean: float, spread: float, smooth: float, least: float, strength: float, seed: int):
    """The light (h, w, 3) in 0 to 255 that water adds."""
    noise = mean + spread * np.random.default_rng(seed).standard_normal(x.shape[:2])
    liquid = gaussian_filter(noise.astype(np.float32), smooth, mode="nearest", truncate=4)
    liquid = np.where(liquid < least, 0, liquid)
    liquid = np.floor(liquid * np.float32(255))
    far = slow_distances(slow_edges(liquid))
    places = list(np.ndindex(*liquid.shape))
    height = np.array([math.floor(around(far, *at).sum() / 9 + 1e-9) for at in places])
    counts = np.bincount(height, minlength=21)
    lowest = height.min()
    rest = len(height) - counts[lowest]
    spread_out = [np.rint(255 * counts[lowest + 1 : v + 1].sum() / max(rest, 1)) for v in range(21)]
    level = np.array([spread_out[v] for v in height]).reshape(liquid.shape)
    kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = np.array([np.clip((around(level, *at) * kernel).sum(), 0, 255) for at in places]).reshape(liquid.shape)
    soft = np.array([np.rint(around(lit, *at).mean()) for at in places]).reshape(liquid.shape)
    shine = liquid * soft
    return strength * (shine / shine.max())[:, :, None] * WATER


@pytest.mark.parametrize(
    ("severity", "side", "constants"),
    [
        (1, 32, (0.62, 0.1, 0.7, 0.7, 0.5)),
        (2, 32, (0.65, 0.1, 0.8, 0.7, 0.5)),
        (3, 32, (0.65, 0.3, 1.0, 0.69, 0.5)),
        (3, 64, (0.65, 0.3, 1.0, 0.69, 0.6)),
        (1, 132, (0.65, 0.3, 4.0, 0.69, 0.6)),
    ],
)
def test_water_is_lit_where_it_rises_from_its_edges(severity: int, side: int, constants: tuple[float, ...]) -> None:
    x = np.full((side, side, 3), 10, np.uint8)
    for seed in range(2 if side < 132 else 1):
        found = spoilt("spatter.v1", x, severity, seed)
        want = np.minimum(x + slow_water(x, *constants, seed), 255)
        assert np.abs(found - want).max() <= 0.51
        assert found.mean() == pytest.approx(want.mean(), rel=0.01)
        assert found.std() == pytest.approx(want.std(), rel=0.01)


@pytest.mark.parametrize(
    ("severity", "constants"), [(4, (0.65, 0.1, 0.7, 0.69, 0.6)), (5, (0.65, 0.1, 0.5, 0.68, 0.6))]
)
def test_mud_covers_what_is_behind_it(severity: int, constants: tuple[float, ...]) -> None:
    mean, spread, smooth, least, soft = constants
    x = picture()
    noise = mean + spread * np.random.default_rng(3).standard_normal(x.shape[:2])
    liquid = gaussian_filter(noise, smooth, mode="nearest", truncate=4)
    cover = gaussian_filter((liquid > least).astype(float), soft, mode="nearest", truncate=4)
    want = np.array(x, dtype=float)
    for r, c in np.ndindex(*cover.shape):
        if cover[r, c] >= 0.8:
            want[r, c] = (1 - cover[r, c]) * x[r, c] + cover[r, c] * np.array([63, 42, 20])
    assert np.abs(spoilt("spatter.v1", x, severity, 3) - want).max() <= 0.51
