"""Which items to label next: those whose labels would settle the most doubt in the pool.

One rule for the first label and the thousandth. A label teaches about the items around it; how much, falls off with
distance (`reach`). What is still in doubt is covered greedily: each choice is the item that covers the most doubt
which no label and no earlier choice covers. This is facility location (Mirchandani and Francis 1990; as a way to
choose examples: Wei, Iyer and Bilmes 2015), and the greedy choice is within 1 - 1/e of the best (Nemhauser, Wolsey
and Fisher 1978).

- **Before there is a model**, all items are in doubt alike: the first choices are typical of large groups, one each,
  as in TypiClust (Hacohen, Dekel and Weinshall 2022) and ProbCover (Yehuda et al. 2022).
- **Once there is one**, an item counts by how far the model hesitates about it, so that choices move to where many
  items hesitate together, and copies of what is known bring nothing.

`reach` shrinks as labels come: it is the distance within which a ball around an item holds the pool's share of one
label. Other ways that were tried, and by how much they fall behind: docs/log.md.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import DataError, UsageError
from passmuster.core.threads import threads_for

TYPICAL = "typical of a group without a label"
HESITATES = "the model hesitates"
COPY = "much like one that is chosen or labelled"
NOTHING = 1e-6  # of the doubt; what covers less is a copy
SMALLEST_REACH = 1e-3
SMALLEST_DOUBT = 1e-6
SMALLEST_LENGTH = 1e-9
BLOCK = 512


@dataclass(frozen=True)
class Choosing:
    """How items are chosen. Tuned on training halves of four sets; see docs/log.md and bench/choose.py."""

    reach: float = 0.6  # of the distance at which a ball holds the pool's share of one label
    floor: float = 0.3  # share of an item's weight that does not depend on the model, which errs with few labels
    n_targets: int = 8_000  # items whose doubt is counted; a larger pool is sampled
    n_candidates: int = 4_000  # items that can be chosen; a larger pool gives its most doubtful half and a sample
    n_measured: int = 256  # items on which distances are measured


@dataclass(frozen=True)
class Choice:
    """An item to label: its position, the share of the pool's present doubt that it covers, and why it was chosen."""

    position: int
    covers: float
    why: str


def choose_items(
    embeddings: np.ndarray,
    labelled: np.ndarray,
    n: int,
    *,
    rng: np.random.Generator,
    probabilities: np.ndarray | None = None,
    doubt: np.ndarray | None = None,
    skip: np.ndarray | None = None,
    settings: Choosing = Choosing(),
) -> list[Choice]:
    """Up to `n` items to label, the most valuable first; fewer when fewer are left.

    Takes ``n_targets * n_candidates`` floats of memory and twice `d` times as many operations, whatever the pool's
    size.

    Parameters
    ----------
    embeddings : (items, d)
    labelled : (l,) positions of items that have a label
    n : how many to choose, 0 or more
    rng : draws the sample of a large pool
    probabilities : (items, classes) of a model for every item; None while there is no model
    doubt : (items,), 0 or more, that a model has about every item, in place of probabilities that exclude each other;
        any unit
    skip : positions that must not be chosen, such as items that a person has passed over

    Raises
    ------
    UsageError
        ``choose.n`` when `n` is negative.
    DataError
        ``choose.not_finite`` when an embedding, a probability or a doubt is not a finite number; ``choose.shape`` when
        those are not of these items.

    >>> two_groups = np.array([[0.0, 1.0], [0.1, 1.0], [0.0, 1.1], [1.0, 0.0], [1.0, 0.1]])
    >>> chosen = choose_items(two_groups, np.array([], int), 2, rng=np.random.default_rng(0))
    >>> sorted(c.position // 3 for c in chosen), chosen[0].why
    ([0, 1], 'typical of a group without a label')
    """
    _check(embeddings, n, probabilities, doubt)
    labelled = np.asarray(labelled, dtype=np.int64)
    taken = labelled if skip is None else np.union1d(labelled, skip)
    free = np.setdiff1d(np.arange(len(embeddings)), taken)
    n = min(n, len(free))
    if not n:
        return []
    has_model = probabilities is not None or doubt is not None
    if doubt is None:
        doubt = hesitation(probabilities) if probabilities is not None else np.ones(len(embeddings), np.float32)
    weight = settings.floor + (1.0 - settings.floor) * doubt / max(float(doubt.mean()), SMALLEST_DOUBT)
    weight[labelled] = 0.0
    targets = _sample(np.arange(len(embeddings)), settings.n_targets, rng)
    candidates = _candidates(free, weight if has_model else None, max(n, settings.n_candidates), rng)
    centre = embeddings[targets].mean(axis=0, dtype=np.float64).astype(np.float32)
    around = _directions(embeddings[targets], centre)
    reach = settings.reach * _ball(around, len(labelled) + n, settings.n_measured, rng)
    known = _covered(around, _directions(embeddings[labelled], centre), reach)
    near = _nearness(_directions(embeddings[candidates], centre), around, reach)  # (candidates, targets)
    left = float(weight[targets] @ (1.0 - known))
    usual = float(doubt[targets].mean())
    choices = []
    for row, gain in _cover(near, known, weight[targets], n):
        position = int(candidates[row])
        why = HESITATES if has_model and doubt[position] > usual else TYPICAL
        covers = gain / left if left > 0 else 0.0
        choices.append(Choice(position, covers, COPY if covers < NOTHING else why))
    return choices


def hesitation(probabilities: np.ndarray) -> np.ndarray:
    """How far a model hesitates (n,), in [0, 1]: one less the lead of its first answer (Scheffer et al. 2001).

    1 for all where there is only one class, because nothing is told apart yet.

    >>> hesitation(np.array([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]])).tolist()
    [0.5, 1.0]
    """
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), np.float32)
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.clip(1.0 - (two[:, 1] - two[:, 0]), 0.0, 1.0).astype(np.float32)


def _check(embeddings: np.ndarray, n: int, probabilities: np.ndarray | None, doubt: np.ndarray | None) -> None:
    if n < 0:
        raise UsageError("choose.n", "not a number of items", value=n, limit="0 or more")
    for names, array in (("probabilities", probabilities), ("doubts", doubt)):
        if array is not None and len(array) != len(embeddings):
            raise DataError(
                "choose.shape", f"the {names} are not of these items", value=len(array), limit=len(embeddings)
            )
    column = None if doubt is None else doubt[:, None]
    for name, array in (("embedding", embeddings), ("probability", probabilities), ("doubt", column)):
        if array is not None and not np.isfinite(array).all():
            bad = int((~np.isfinite(array).all(axis=1)).sum())
            raise DataError("choose.not_finite", f"the {name} of {bad:,} items is not a finite number", value=bad)


def _sample(positions: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """All positions, or so many of them, in order."""
    return positions if len(positions) <= most else np.sort(rng.choice(positions, most, replace=False))


def _candidates(free: np.ndarray, weight: np.ndarray | None, most: int, rng: np.random.Generator) -> np.ndarray:
    """All free positions, or so many: half of them the most doubtful, so that a rare class is not sampled away."""
    if len(free) <= most or weight is None:
        return _sample(free, most, rng)
    n_doubtful = most // 2
    order = np.argpartition(-weight[free], n_doubtful)
    others = rng.choice(order[n_doubtful:], most - n_doubtful, replace=False)
    return np.sort(free[np.concatenate([order[:n_doubtful], others])])


def _directions(embeddings: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Embeddings (n, d) about the centre, of length one, float32; the centre itself stays zero."""
    moved = embeddings.astype(np.float32) - centre
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), SMALLEST_LENGTH))


def _ball(around: np.ndarray, n_labels: int, n_measured: int, rng: np.random.Generator) -> float:
    """The median distance, 1 - cosine, within which one item in `n_labels` of the pool lies."""
    measured = _sample(np.arange(len(around)), n_measured, rng)
    place = min(len(around) - 1, max(1, len(around) // n_labels))
    cosine = _products(around[measured], around)
    return max(SMALLEST_REACH, float(np.median(1.0 - -np.partition(-cosine, place, axis=1)[:, place])))


def _nearness(a: np.ndarray, b: np.ndarray, reach: float) -> np.ndarray:
    """How much a label of each `a` (n, d) would tell about each `b` (m, d), in (0, 1]: exp(-distance / reach)."""
    near = _products(a, b)
    near -= 1.0
    near /= np.float32(reach)
    return np.asarray(np.exp(np.minimum(near, 0.0, out=near), out=near))


def _covered(around: np.ndarray, known: np.ndarray, reach: float) -> np.ndarray:
    """How much the labels there are tell about each item (m,), by the nearest of them."""
    covered = np.zeros(len(around), np.float32)
    for start in range(0, len(known), BLOCK):
        np.maximum(covered, _nearness(known[start : start + BLOCK], around, reach).max(axis=0), out=covered)
    return covered


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with threads_for(2.0 * len(a) * len(b) * a.shape[1]):
        return np.asarray(a @ b.T)


def _cover(near: np.ndarray, covered: np.ndarray, weight: np.ndarray, n: int) -> list[tuple[int, float]]:
    """Rows of `near` chosen greedily, and the weight that each newly covers.

    Gains only fall as items are chosen, so one that was computed earlier is an upper bound, and most need not be
    computed again (Minoux 1978).
    """
    waiting = []
    for start in range(0, len(near), BLOCK):
        gains = np.maximum(near[start : start + BLOCK] - covered, 0.0) @ weight
        waiting += [(-float(gain), start + i, 0) for i, gain in enumerate(gains)]
    heapq.heapify(waiting)
    chosen: list[tuple[int, float]] = []
    while len(chosen) < n:
        negative, row, n_known = heapq.heappop(waiting)
        if n_known == len(chosen):
            chosen.append((row, -negative))
            covered = np.maximum(covered, near[row])
        else:
            gain = float(np.maximum(near[row] - covered, 0.0) @ weight)
            heapq.heappush(waiting, (-gain, row, len(chosen)))
    return chosen
