"""Near-duplicate pictures: a small, whitened embedding proposes, a test against look-alikes and the pixels confirm.

Whitening over the set takes out what all its pictures share, so that the shirts of a catalogue lie far apart and only
copies stay close. How close is close enough is not a constant: in a set of dimension m, the nearest of k neighbours
lies within the fraction r of the k-th one's distance with probability ``1 - (1 - r ** m) ** (k - 1)``, copies apart. A
pair is proposed when the whole set would show less than `FALSE_PAIRS` such coincidences.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from passmuster.core.records import Payload
from passmuster.modality.base import Twins
from passmuster.modality.image.read import as_image

SIDE = 16  # of the small grey picture
MAX_COMPONENTS = 128
KEPT_VARIANCE = 0.99
FLOOR = 0.9  # cosine below which a pair is not looked at
NEIGHBOURS = 10  # a picture may have up to nine copies and still find a look-alike to be measured against
FALSE_PAIRS = 0.05  # expected number of look-alikes called twins, in the whole set
BLOCK = 512
MAX_SAMPLE = 5_000  # pictures that whitening is fitted on
MIN_SET = 50  # in fewer pictures nothing can be calibrated: same pixels only
MAX_CANDIDATES = 200_000


def find_twins(payloads: Sequence[Payload], similarity: float) -> list[Twins]:
    """Confirmed pairs of near copies among pictures, each pair once with ``a < b``.

    Pictures with the same pixels are paired with the first of their kind. Others are pairs when their small versions
    are closer than look-alikes in this set come, and the pixels' correlation reaches `similarity`. `payloads` may
    decode on access: each is read once, and the few candidates again.
    """
    first: dict[bytes, int] = {}
    twins: list[Twins] = []
    vectors, unique = [], []
    for position, payload in enumerate(payloads):
        pixels = np.asarray(payload)
        content = repr(pixels.shape).encode() + pixels.tobytes()
        if (known := first.setdefault(_short(content), position)) != position:
            twins.append(Twins(known, position, 1.0, "same pixels"))
            continue
        unique.append(position)
        vectors.append(_small(pixels, SIDE))
    if len(unique) >= MIN_SET:
        for a, b in _closer_than_look_alikes(_whitened(np.stack(vectors))):
            value = _pixel_correlation(np.asarray(payloads[unique[a]]), np.asarray(payloads[unique[b]]))
            if value >= similarity:
                twins.append(Twins(unique[a], unique[b], round(value, 4), "pixels (correlation)"))
    return sorted(twins, key=lambda t: (t.a, t.b))


def _short(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _small(pixels: np.ndarray, side: int) -> np.ndarray:
    """Grey ``(side * side,)`` float32 with mean 0 and about unit spread."""
    image = as_image(pixels)
    grey = image if image.mode == "L" else image.convert("L")
    values = np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32).ravel()
    spread = float(values.std()) + 4
    return np.asarray((values - values.mean()) / spread)  # a plain surface stays near zero


def _whitened(small: np.ndarray) -> np.ndarray:
    """Unit vectors ``(n, k)`` in the principal directions of the set, each direction scaled to one spread."""
    step = max(1, len(small) // MAX_SAMPLE)
    sample = small[::step]
    mean = sample.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
    variance, directions = variance[::-1], directions[:, ::-1]
    share = np.cumsum(variance) / max(float(variance.sum()), 1e-12)
    k = min(MAX_COMPONENTS, int(np.searchsorted(share, KEPT_VARIANCE)) + 1, max(2, len(sample) // 4))
    scale = np.sqrt(np.maximum(variance[:k], 0) + 1e-3 * max(float(variance[0]), 1e-12))
    white: np.ndarray = ((small - mean) @ (directions[:, :k] / scale)).astype(np.float32)
    return np.asarray(white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-6))


def _closer_than_look_alikes(white: np.ndarray) -> list[tuple[int, int]]:
    """Pairs ``(a, b)``, a < b, whose distance look-alikes of this set would hardly reach."""
    n = len(white)
    dimension, farthest = _dimension(white)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    reach = farthest * (FALSE_PAIRS / (n * NEIGHBOURS)) ** (1 / dimension)  # no pair further apart can pass the test
    floor, kept = max(FLOOR, 1 - reach**2 / 2), 0
    for start in range(0, n, BLOCK):
        cosines = white[start : start + BLOCK] @ white[start:].T  # every pair once
        rows, columns = np.nonzero(cosines >= floor)
        inside = columns > rows
        rows, columns = rows[inside], columns[inside]
        found.append((rows + start, columns + start, cosines[rows, columns]))
        kept += len(rows)
        if kept > MAX_CANDIDATES:  # crowded: only the closest can be twins
            a, b, c = (np.concatenate(part) for part in zip(*found, strict=True))
            best = np.argsort(-c, kind="stable")[: MAX_CANDIDATES // 2]
            found, kept, floor = [(a[best], b[best], c[best])], len(best), float(c[best[-1]])
    a, b, c = (np.concatenate(part) for part in zip(*found, strict=True))
    if not len(a):
        return []
    members = np.unique(np.concatenate([a, b]))
    far = dict(zip(members.tolist(), _distance_to_kth(white, members).tolist(), strict=True))
    pairs = []
    for i, j, cosine in zip(a.tolist(), b.tolist(), c.tolist(), strict=True):
        ratio = _distance(cosine) / max(min(far[i], far[j]), 1e-9)
        chance = -np.expm1((NEIGHBOURS - 1) * np.log1p(-(min(ratio, 1 - 1e-12) ** dimension)))
        if chance * n <= FALSE_PAIRS:
            pairs.append((i, j))
    return sorted(pairs)


def _distance(cosine: float | np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * np.asarray(cosine, dtype=np.float64), 0))


def _distance_to_kth(white: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Distance of each member to its `NEIGHBOURS`-th nearest picture."""
    k = min(NEIGHBOURS, len(white) - 1)
    out = []
    for start in range(0, len(members), BLOCK // 2):
        cosines = white[members[start : start + BLOCK // 2]] @ white.T
        out.append(np.partition(cosines, -(k + 1), axis=1)[:, -(k + 1)])  # itself is among the k + 1 nearest
    return _distance(np.concatenate(out))


def _dimension(white: np.ndarray) -> tuple[float, float]:
    """Intrinsic dimension, maximum likelihood over neighbours 10 to 20 (Levina & Bickel 2004, eq. 8), and how far away
    the tenth neighbour is at most."""
    rng = np.random.default_rng(0)
    sample = rng.choice(len(white), size=min(1_000, len(white)), replace=False)
    far = min(2 * NEIGHBOURS, len(white) - 1)
    near = far // 2
    logs, reached = [], 0.0
    for start in range(0, len(sample), BLOCK // 2):
        cosines = white[sample[start : start + BLOCK // 2]] @ white.T
        top = -np.sort(-np.partition(cosines, -(far + 1), axis=1)[:, -(far + 1) :], axis=1)[:, 1:]
        distances = np.maximum(_distance(top), 1e-6)
        reached = max(reached, float(distances[:, near - 1].max()))
        logs.append(np.log(distances[:, far - 1 : far] / distances[:, near - 1 : far - 1]).mean(axis=1))
    spread = float(np.concatenate(logs).mean())
    expected = float(np.mean([np.sum(1.0 / np.arange(i, far)) for i in range(near, far)]))
    return float(np.clip(expected / max(spread, 1e-6), 2.0, 64.0)), reached


def _pixel_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of the two pictures' fine structure (grey, less its blur), at the smaller one's size."""
    side = max(4, min(64, min(a.shape[:2]), min(b.shape[:2])))
    fine = []
    for pixels in (a, b):
        grey = _small(pixels, side).reshape(side, side)
        padded = np.pad(grey, 1, mode="edge")
        blurred = sum(padded[y : y + side, x : x + side] for y in range(3) for x in range(3)) / 9
        fine.append((grey - blurred).ravel())
    norm = float(np.linalg.norm(fine[0]) * np.linalg.norm(fine[1]))
    return float(fine[0] @ fine[1]) / norm if norm > 1e-6 else float(np.allclose(fine[0], fine[1]))
