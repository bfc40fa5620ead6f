"""Which item goes where: test, reference or pool. Copies and equal subjects stay together; nothing moves later.

Splits are made on light features, before any encoder has seen an item.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from passmuster.core.config import MIN_REFERENCE_ITEMS, DataConfig
from passmuster.core.label_sets import NO_CLASS, split_label
from passmuster.core.records import Split


def place(
    old: Sequence[Split | None],
    given: Sequence[str],
    group: np.ndarray,
    labels: Sequence[str | None],
    config: DataConfig,
    rng: np.random.Generator,
) -> list[Split]:
    """The split of each item.

    An item that was placed keeps its place, and a split that the user gave is kept ("train" means: not the test; the
    guard's reference may be drawn from it). A new item follows its group, the test first. The rest is drawn by groups:
    where no test was given, `config.test_share` of each class's labelled items and as much of the unlabelled ones, at
    most `config.max_sealed_items`, become the test; then `config.reference_share` of the unlabelled rest becomes the
    reference (see `_draw_reference` for where most of the rest is labelled). The two draws share no order.

    Parameters
    ----------
    old : the place in the parent snapshot, None for a new item
    given : "", "train", "reference" or "test"
    group : (n,) int, equal for items that belong together
    labels : None where there is none; of sets of classes, what `rarest_classes` says
    """
    n = len(old)
    split: list[Split | None] = list(old)
    for i in range(n):
        if split[i] is None and given[i] in ("test", "reference"):
            split[i] = "test" if given[i] == "test" else "reference"
    members: dict[int, list[int]] = defaultdict(list)
    for i, g in enumerate(group.tolist()):
        members[g].append(i)
    _follow(split, given, list(members.values()))
    open_groups = [g for g in members.values() if all(split[i] is None for i in g)]
    rng.shuffle(open_groups)
    if "test" not in given:
        free = [g for g in open_groups if not any(given[i] for i in g)]
        _draw_test(split, free, labels, config)
    rest = [g for g in open_groups if all(split[i] is None for i in g)]
    _draw_reference(split, rest, labels, config, rng.spawn(1)[0])
    return [s or "train" for s in split]


def rarest_classes(labels: Mapping[str, str]) -> dict[str, str]:
    """By item key, the rarest of its classes, as which an item with several counts where classes are kept even.

    Most sets of classes occur once or twice, so that shares of each could not be kept; what a split must not do is
    leave a rare class on one side (the idea of iterative stratification, Sechidis, Tsoumakas and Vlahavas 2011).

    >>> rarest_classes({"a": "x", "b": "x", "c": '["x","y"]', "d": "[]"})
    {'a': 'x', 'b': 'x', 'c': 'y', 'd': '[]'}
    """
    sizes = Counter(name for label in labels.values() for name in split_label(label))
    return {
        key: min(split_label(label), key=lambda name: (sizes[name], name), default=NO_CLASS)
        for key, label in labels.items()
    }


def _follow(split: list[Split | None], given: Sequence[str], members: Sequence[list[int]]) -> None:
    """New items join those of their group that have a place; a place that the user gave is not changed."""
    for positions in members:
        placed = {split[i] for i in positions}
        placed |= {"train" for i in positions if given[i] == "train"}
        side: Split | None = next((s for s in ("test", "train", "reference") if s in placed), None)
        for i in positions:
            if split[i] is None and given[i] == "" and side is not None:
                split[i] = side
            elif split[i] is None and given[i] == "train" and len(placed - {None}) > 1:
                split[i] = "train"


def _draw_test(
    split: list[Split | None], free: Sequence[list[int]], labels: Sequence[str | None], config: DataConfig
) -> None:
    sizes: Counter[str | None] = Counter(labels[i] for g in free for i in g)
    wanted = {label: round(config.test_share * size) for label, size in sizes.items()}
    n_sealed = sum(s == "test" and label is None for s, label in zip(split, labels, strict=True))
    wanted[None] = max(0, min(wanted.get(None, 0), config.max_sealed_items - n_sealed))
    taken: Counter[str | None] = Counter()
    for positions in free:
        own = [labels[i] for i in positions]
        counts: Mapping[str | None, int] = {own[0]: 1} if len(own) == 1 else Counter(own)  # most groups are one item
        if all(taken[label] + count <= wanted[label] for label, count in counts.items()):
            taken.update(counts)
            for i in positions:
                split[i] = "test"


def _draw_reference(
    split: list[Split | None],
    rest: Sequence[list[int]],
    labels: Sequence[str | None],
    config: DataConfig,
    rng: np.random.Generator,
) -> None:
    """What the guard is held against, which takes no labels: a label there is a label that is never learnt from.

    So it is drawn from what has none. Where most has one, up to half of what has none is taken (the rest can still be
    asked for), then of each class no more than the share, rounded down, that leaves `config.min_class_labels` to
    learn from; and no label at all where that makes too few for a guard.
    """
    rest = list(rest)
    rng.shuffle(rest)
    bare = [g for g in rest if all(labels[i] is None for i in g)]
    n_bare, n_rest = sum(map(len, bare)), sum(map(len, rest))
    n_there = sum(s == "reference" for s in split)
    room = max(0, config.max_reference_items - n_there)
    mostly_bare = 2 * n_bare >= n_rest
    wanted = min(room, round(config.reference_share * (n_bare if mostly_bare else n_rest)))
    chosen = _up_to(wanted if mostly_bare else min(wanted, n_bare // 2), bare)
    if not mostly_bare:
        n_found = sum(map(len, chosen))
        told = [g for g in rest if any(labels[i] is not None for i in g)]
        labelled = _up_to(wanted - n_found, _spared(split, told, labels, config))
        if n_there + n_found + sum(map(len, labelled)) >= MIN_REFERENCE_ITEMS:
            chosen += labelled
    for positions in chosen:
        for i in positions:
            split[i] = "reference"


def _up_to(n: int, groups: Iterable[list[int]]) -> list[list[int]]:
    """The first groups that fit into `n` items."""
    found: list[list[int]] = []
    for positions in groups:
        if len(positions) <= n:
            n -= len(positions)
            found.append(positions)
    return found


def _spared(
    split: Sequence[Split | None], told: Sequence[list[int]], labels: Sequence[str | None], config: DataConfig
) -> list[list[int]]:
    """Groups with labels that every class of theirs can do without."""
    fresh = Counter(labels[i] for g in told for i in g)
    learnt = fresh + Counter(label for s, label in zip(split, labels, strict=True) if s == "train")
    left = {
        label: min(math.floor(config.reference_share * n), learnt[label] - max(1, config.min_class_labels))
        for label, n in fresh.items()
        if label is not None
    }
    found: list[list[int]] = []
    for positions in told:
        counts = Counter(label for i in positions if (label := labels[i]) is not None)
        if all(count <= left[label] for label, count in counts.items()):
            for label, count in counts.items():
                left[label] -= count
            found.append(positions)
    return found
