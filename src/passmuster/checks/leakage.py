"""Leakage: what stands in the test and, as a copy or as the same person, in training too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from passmuster.checks.duplicates import Pair, pair_evidence
from passmuster.core.records import Finding


def leakage(
    keys: Sequence[str], splits: Sequence[str], contents: Sequence[int], pairs: Sequence[Pair], subjects: Sequence[str]
) -> list[Finding]:
    """Findings about pairs that lie on both sides; in `Finding.items` the training item comes first in each pair.

    Parameters
    ----------
    keys, splits, subjects : (n,) of each item; a split is "train", "reference" or "test", a subject may be ""
    contents : (n,) number of the item's content; equal numbers are exact copies
    pairs : near-copies, as positions of one item for each content

    >>> found = leakage(["a", "b"], ["train", "test"], [0, 0], [], ["", ""])
    >>> found[0].severity, found[0].items
    ('blocking', ('a', 'b'))
    """
    by_content: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    shared = _shared(contents, pairs)
    for position, (content, split) in enumerate(zip(contents, splits, strict=True)):
        if content in shared:
            by_content[content][split].append(position)
    crossing: list[Pair] = []
    for sides in by_content.values():
        if sides["train"]:
            crossing += [Pair(sides["train"][0], test, 1.0, "same content") for test in sides["test"]]
    for a, b, similarity, how in pairs:
        left, right = by_content[contents[a]], by_content[contents[b]]
        for train, test in ((left["train"], right["test"]), (right["train"], left["test"])):
            if train:
                crossing += [Pair(train[0], position, similarity, how) for position in test]
    return _copies(keys, crossing) + _subjects(keys, splits, subjects)


def _shared(contents: Sequence[int], pairs: Sequence[Pair]) -> set[int]:
    """The contents that more than one item has, or that are nearly another: most are neither, and cannot leak."""
    numbers, counts = np.unique(np.asarray(contents, dtype=np.int64), return_counts=True)
    return {*numbers[counts > 1].tolist(), *(int(contents[position]) for pair in pairs for position in pair[:2])}


def _copies(keys: Sequence[str], crossing: list[Pair]) -> list[Finding]:
    if not crossing:
        return []
    n = len({pair.b for pair in crossing})
    title = f"{n:,} test {'items have' if n > 1 else 'item has'} a copy among the training items"
    items = tuple(key for pair in crossing for key in (keys[pair.a], keys[pair.b]))
    remedy = "remove them from one side, or let Muster split: add the data without a split"
    evidence = {**pair_evidence(crossing), "n_test_items": n}
    return [Finding("leakage", "blocking", title, items, evidence, remedy)]


def _subjects(keys: Sequence[str], splits: Sequence[str], subjects: Sequence[str]) -> list[Finding]:
    first: dict[tuple[str, str], int] = {}
    for position, (subject, split) in enumerate(zip(subjects, splits, strict=True)):
        if subject:
            first.setdefault((subject, split), position)
    shared = [(subject, i) for (subject, split), i in first.items() if split == "test" and (subject, "train") in first]
    if not shared:
        return []
    n = len(shared)
    title = f"{n:,} {'people appear' if n > 1 else 'person appears'} in training and in the test"
    items = tuple(key for subject, i in shared for key in (keys[first[subject, "train"]], keys[i]))
    evidence = {"n_pairs": n, "n_test_items": n, "similarity": [1.0] * n, "how": ["same subject"] * n}
    remedy = "keep each person on one side, or let Muster split: add the data without a split"
    return [Finding("leakage", "blocking", title, items, evidence, remedy)]
