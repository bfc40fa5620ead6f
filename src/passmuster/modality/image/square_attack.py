"""Square attack under a bound on every pixel: random squares, kept when the answer gets worse. It asks, nothing else.

Andriushchenko, Croce, Flammarion and Hein 2020, "Square Attack: a query-efficient black-box adversarial attack via
random search", algorithms 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from passmuster.core.ranges import Range
from passmuster.core.records import Payload
from passmuster.modality.harm import Attack, Target
from passmuster.modality.image.as_seen import as_seen, why_not_seen

N_QUERIES = 200  # for each image
SHARE = 0.8  # of the pixels that the first square covers
HALVED_AT = (10, 50, 200, 500, 1_000, 2_000, 4_000, 6_000, 8_000)  # of 10,000 questions, as the authors have it
BLOCK = 64
STRENGTHS = (1.0, 2.0, 4.0, 8.0)
UNIT = "of 255 levels of every pixel"
SIZES = Range(1, 255)


def margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By how much the right class leads, (n,); 0 or less where another is said.

    >>> margin(np.array([[2.0, 0.5], [1.0, 4.0]]), np.array([0, 0])).tolist()
    [1.5, -3.0]
    """
    rows = np.arange(len(labels))
    others = np.array(logits, dtype=np.float64)
    right = others[rows, labels].copy()
    others[rows, labels] = -np.inf
    return np.asarray(right - others.max(axis=1))


def side(step: int, n_steps: int, height: int, width: int) -> int:
    """Pixels of a square's side at a step."""
    at = int(step / n_steps * 10_000)
    share = SHARE / 2 ** sum(at > place for place in HALVED_AT)
    return int(np.clip(round((share * height * width) ** 0.5), 1, max(min(height, width) - 1, 1)))


def square(
    target: Target,
    payloads: Sequence[Payload],
    labels: np.ndarray,
    strength: float,
    rng: np.random.Generator,
    n_queries: int = N_QUERIES,
) -> list[Payload]:
    """The worst images found within `strength` levels of every pixel, each after at most `n_queries` questions."""
    found: list[Payload] = []
    seen = as_seen(target, payloads)
    for at in range(0, len(seen), BLOCK):
        found += _block(target, seen[at : at + BLOCK], labels[at : at + BLOCK], int(strength), rng, n_queries)
    return found


def _block(
    target: Target, images: list[np.ndarray], labels: np.ndarray, strength: int, rng: np.random.Generator, n: int
) -> list[Payload]:
    low = [np.clip(image.astype(np.int16) - strength, 0, 255) for image in images]
    high = [np.clip(image.astype(np.int16) + strength, 0, 255) for image in images]
    best = []
    for image, least, most in zip(images, low, high, strict=True):
        stripes = rng.random((1, image.shape[1], image.shape[2])) < 0.5
        best.append(np.where(stripes, least, most).astype(np.uint8))
    lead = margin(target.ask(best), labels)
    for step in range(n - 1):  # the stripes were the first question
        going = np.flatnonzero(lead > 0)
        if not len(going):
            break
        tried = []
        for i in going:
            height, width, channels = images[i].shape
            s = side(step, n, height, width)
            top, left = rng.integers(height - s + 1), rng.integers(width - s + 1)
            up = rng.random((1, 1, channels)) < 0.5
            image = best[i].copy()
            place = (slice(top, top + s), slice(left, left + s))
            image[place] = np.where(up, high[i][place], low[i][place])
            tried.append(image)
        now = margin(target.ask(tried), labels[going])
        for i, image, value in zip(going, tried, now, strict=True):
            if value < lead[i]:
                best[i], lead[i] = image, value
    return list(best)


SQUARE = Attack(
    "square.v1", "random squares, {effort} questions an image", False, STRENGTHS, UNIT, why_not_seen, square, N_QUERIES,
    SIZES, whole=True,
)  # fmt: skip
