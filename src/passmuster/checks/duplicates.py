"""Copies: items with the same content, and pairs that a modality confirmed to be nearly the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from passmuster.core.records import Finding


class Pair(NamedTuple):
    """Two positions that belong together; `similarity` in [0, 1], `how` says by what measure."""

    a: int
    b: int
    similarity: float
    how: str


def exact_pairs(digests: Sequence[str]) -> list[Pair]:
    """Each repetition of a content, paired with the first item that has it.

    >>> exact_pairs(["x", "y", "x"])
    [Pair(a=0, b=2, similarity=1.0, how='same content')]
    """
    first: dict[str, int] = {}
    pairs = []
    for position, digest in enumerate(digests):
        if (known := first.setdefault(digest, position)) != position:
            pairs.append(Pair(known, position, 1.0, "same content"))
    return pairs


def groups(n: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Group number ``(n,)`` int: positions joined by pairs, directly or through others, share the lowest position.

    >>> groups(4, [(0, 2), (2, 3)]).tolist()
    [0, 1, 0, 0]
    """
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(i) for i in range(n)], dtype=np.int64)


def exact_duplicates(keys: Sequence[str], pairs: Sequence[Pair]) -> list[Finding]:
    """A finding about repeated contents; `pairs` are those of `exact_pairs`."""
    if not pairs:
        return []
    n = len(pairs)
    title = f"{n:,} {'items repeat' if n > 1 else 'item repeats'} the content of another"
    remedy = "nothing must be done: copies stay in one split"
    return [Finding("exact_duplicate", "info", title, _items(keys, pairs), pair_evidence(pairs), remedy)]


def near_duplicates(keys: Sequence[str], pairs: Sequence[Pair]) -> list[Finding]:
    """A finding about confirmed near-copies."""
    if not pairs:
        return []
    n = len(pairs)
    title = f"{n:,} {'pairs of items are' if n > 1 else 'pair of items is'} nearly the same"
    remedy = "nothing must be done: where Muster splits, they stay on one side"
    return [Finding("near_duplicate", "info", title, _items(keys, pairs), pair_evidence(pairs), remedy)]


def pair_evidence(pairs: Sequence[Pair]) -> dict[str, object]:
    """Similarity and measure of each pair, in the order of the finding's items."""
    return {
        "n_pairs": len(pairs),
        "similarity": [round(p.similarity, 4) for p in pairs],
        "how": [p.how for p in pairs],
    }


def _items(keys: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, ...]:
    return tuple(keys[position] for pair in pairs for position in pair[:2])
