"""What images may carry as a mark: the same small square at the same place; taken over from another image.

A trigger is a mark that training images of one class carry, whatever they show (Gu, Dolan-Gavitt and Garg 2017,
"BadNets: identifying vulnerabilities in the machine learning model supply chain"). Marks that are spread over the
whole image, or that move about in it, are not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from passmuster.core.records import Payload

COARSE = 32  # sides to which larger images are shrunk
PARTS = 8  # a square's side, of an image's
GREYS = 4  # shades that are told apart

# First row and column of a square, its side, rows and columns of the (shrunk) image, and what the square shows.
ImageMark = tuple[int, int, int, int, int, bytes]


def find_marks(payloads: Sequence[Payload], fewest: int) -> Iterator[tuple[ImageMark, list[int]]]:
    """Every square that at least `fewest` images of one size have alike at the same place, and their positions."""
    sizes = np.array([np.asarray(image).shape[:2] for image in payloads]).reshape(-1, 2)
    for height, width in np.unique(sizes, axis=0).tolist():
        members = np.flatnonzero((sizes == (height, width)).all(axis=1))
        if len(members) < fewest:
            continue
        small = np.stack([shrunk(np.asarray(payloads[int(i)])) for i in members])  # (n, rows, columns)
        rows, columns = small.shape[1:]
        side = max(2, min(rows, columns) // PARTS)
        names = squares_of(small, side)
        for y in range(rows - side + 1):
            for x in range(columns - side + 1):
                for group in alike(names[:, y, x], fewest):
                    mark = (y, x, side, rows, columns, small[group[0], y : y + side, x : x + side].tobytes())
                    yield mark, members[group].tolist()


def squares_of(small: np.ndarray, side: int) -> np.ndarray:
    """A number for what each square of `side` shows (n, rows - side + 1, columns - side + 1), nearly always its own."""
    weights = np.random.default_rng(0).integers(1, 2**63, (side, side), dtype=np.uint64) | np.uint64(1)
    rows, columns = small.shape[1] - side + 1, small.shape[2] - side + 1
    names = np.zeros((len(small), rows, columns), np.uint64)
    for dy in range(side):
        for dx in range(side):
            names += small[:, dy : dy + rows, dx : dx + columns].astype(np.uint64) * weights[dy, dx]  # may run over
    return names


def alike(names: np.ndarray, fewest: int) -> Iterator[np.ndarray]:
    """Positions of equal numbers (n,), where so many are equal.

    >>> [group.tolist() for group in alike(np.array([7, 5, 7]), 2)]
    [[0, 2]]
    """
    order = np.argsort(names, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(names[order]) != 0]))
    ends = np.append(starts[1:], len(names))
    for start, end in zip(starts[ends - starts >= fewest], ends[ends - starts >= fewest]):
        yield order[start:end]


def shrunk(image: np.ndarray) -> np.ndarray:
    """Shades (rows, columns) of an image of at most `COARSE` pixels a side, one number for all its channels."""
    step = max(1, -(-max(image.shape[:2]) // COARSE))
    height, width = (max(1, n // step) for n in image.shape[:2])
    cut = image[: height * step, : width * step].reshape(height, step, width, step, -1)
    shades = (cut.mean(axis=(1, 3)) * GREYS / 256.0).astype(np.uint32)  # (height, width, channels)
    return np.asarray(shades @ (GREYS ** np.arange(shades.shape[2], dtype=np.uint32)))


def transplant(payload: Payload, marks: Sequence[ImageMark], donor: Payload) -> Payload:
    """The image with what the donor shows where the marks lie; of a donor of another size, its mean."""
    image, giver = np.array(payload), np.asarray(donor)
    if giver.shape != image.shape:
        giver = np.broadcast_to(np.uint8(giver.mean(axis=(0, 1))[: image.shape[2]]), image.shape)
    for y, x, side, *_ in marks:
        step = max(1, -(-max(image.shape[:2]) // COARSE))
        margin = step - 1  # of an image that was shrunk, a square may begin between two of its pixels
        top, left = max(0, y * step - margin), max(0, x * step - margin)
        where = (slice(top, (y + side) * step + margin), slice(left, (x + side) * step + margin))
        image[where] = giver[where]
    return image


def in_words(marks: Sequence[ImageMark]) -> str:
    """Where the marks lie, in hundredths of the image's height and width."""
    top, left = min(m[0] / m[3] for m in marks), min(m[1] / m[4] for m in marks)
    bottom, right = max((m[0] + m[2]) / m[3] for m in marks), max((m[1] + m[2]) / m[4] for m in marks)
    return f"the square from {top:.0%} to {bottom:.0%} of the height and {left:.0%} to {right:.0%} of the width"
