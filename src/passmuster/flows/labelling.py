"""What to label next: the items, each with the reason why it was chosen and what the model would say.

    for learning ─▶ embeddings of the pool ─▶ a head on today's labels ─▶ what covers most doubt (learn/choose.py)
    for evidence ─▶ from the sealed test, weighted so that estimates stay unbiased (flows/evidence.py)
    for neither in particular ─▶ split between the two (flows/label_plan.py), and mixed

Learning reads through the seal: no test item is ever embedded for it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import MusterError, UsageError
from passmuster.core.label_sets import MULTI, join_classes
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Role
from passmuster.flows.guesses import worth_a_guess
from passmuster.flows.label_plan import plan_for
from passmuster.flows.pool_embeddings import Pool, look_at_pool
from passmuster.learn.choose import choose_items
from passmuster.learn.choose_sets import doubt_of_sets, probability_of_whole
from passmuster.learn.quick_head import quick_probabilities, quick_set_probabilities
from passmuster.store.store import Store

NO_EVIDENCE = ("label.no_test", "label.none_left")
EVIDENCE, LEFT, AT_RANDOM = "evidence", "evidence, left without a label", "drawn at random"


@dataclass(frozen=True)
class Suggestion:
    """An item worth a label.

    `weight` is the inverse probability with which it was asked for (1 for learning). `guess` is the model's, "" without
    one and for evidence, where it would sway the one who labels; `confidence` is the guess's, NaN without one.
    """

    key: str
    id: str
    role: Role
    weight: float
    why: str
    guess: str = ""
    confidence: float = math.nan


def suggest(
    store: Store,
    *,
    n: int,
    role: Role | None = None,
    skip: Collection[str] = (),
    again: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Suggestion]:
    """The next `n` items worth a label, the most valuable first; fewer when fewer wait for one.

    Parameters
    ----------
    role : "train" for learning, "test" for evidence; None splits `n` between the two as `plan_labels` says
    skip : keys of items that are not to be offered, such as those that a person has passed over
    again : with "test", those that were drawn before and have no label come first, and alone as long as there are any
    seed : of every random choice; the same state and seed give the same items

    Raises
    ------
    UsageError
        ``label.n`` when `n` is below 1.
    NotFoundError
        ``snapshot.none`` when nothing was added yet; for "test", ``label.no_test`` when nothing is sealed for it.
    DataError
        ``label.none_left`` for "test", when every test item has its label.
    """
    if n < 1:
        raise UsageError("label.n", "not a number of items", value=n, limit="1 or more")
    progress = progress or Silent()
    if role == "test":
        left = _left_before(store, n, skip) if again else []
        return left or _for_evidence(store, n, skip, seed, progress)
    pool, decide_at = look_at_pool(store, progress), store.config.train.decide_at
    if role == "train":
        return _for_learning(pool, n, skip, decide_at, seed)
    n_test = plan_for(store, pool, n).n_test
    learning = _for_learning(pool, n - n_test, skip, decide_at, seed)
    n_test = n - len(learning)  # more than planned where the pool runs out; one draw, because weights belong to a draw
    try:
        evidence = _for_evidence(store, n_test, skip, seed, progress) if n_test else []
    except MusterError as error:
        if error.code not in NO_EVIDENCE:
            raise
        evidence = []
    if len(learning) + len(evidence) < n:
        learning = _for_learning(pool, n - len(evidence), skip, decide_at, seed)
    return mixed(learning, evidence)


def mixed(learning: Sequence[Suggestion], evidence: Sequence[Suggestion]) -> list[Suggestion]:
    """Both in their order, spread evenly through each other, so that whoever stops early has done some of each.

    >>> a, b = (Suggestion("", name, "train", 1.0, "") for name in "ab")
    >>> [s.id for s in mixed([a, a, a, a], [b, b])]
    ['a', 'b', 'a', 'a', 'b', 'a']
    """
    placed = [((i + 0.5) / len(learning), 0, s) for i, s in enumerate(learning)]
    placed += [((i + 0.5) / len(evidence), 1, s) for i, s in enumerate(evidence)]
    return [s for _, _, s in sorted(placed, key=lambda entry: entry[:2])]


def _for_learning(pool: Pool, n: int, skip: Collection[str], decide_at: float, seed: int) -> list[Suggestion]:
    if n < 1:
        return []
    rng = np.random.default_rng([seed, zlib.crc32(b"suggest"), len(pool.labelled)])
    passed = np.array([i for i, item in enumerate(pool.items) if item.key in skip], dtype=np.int64)
    if not pool.by:
        free = np.setdiff1d(np.arange(len(pool.items)), np.union1d(pool.labelled, passed))
        drawn = [pool.items[i] for i in rng.permutation(free)[:n]]
        return [Suggestion(item.key, item.id, "train", 1.0, AT_RANDOM) for item in drawn]
    if pool.snapshot.task == MULTI:
        return _sets_for_learning(pool, n, passed, decide_at, rng)
    probabilities = None
    if len(pool.classes) > 1:
        probabilities = quick_probabilities(pool.matrix, pool.labelled, pool.labels, len(pool.classes), rng)
    found = []
    for choice in choose_items(pool.matrix, pool.labelled, n, rng=rng, probabilities=probabilities, skip=passed):
        item, guess, confidence = pool.items[choice.position], "", math.nan
        if probabilities is not None:
            best = int(probabilities[choice.position].argmax())
            guess, confidence = pool.classes[best], float(probabilities[choice.position, best])
        found.append(Suggestion(item.key, item.id, "train", 1.0, choice.why, guess, confidence))
    return found


def _sets_for_learning(
    pool: Pool, n: int, passed: np.ndarray, decide_at: float, rng: np.random.Generator
) -> list[Suggestion]:
    """The same for sets of classes: what the model expects to be furthest from right about."""
    names, targets = pool.targets
    if not names:
        chosen = choose_items(pool.matrix, pool.labelled, n, rng=rng, skip=passed)
        items = [(pool.items[choice.position], choice.why) for choice in chosen]
        return [Suggestion(item.key, item.id, "train", 1.0, why) for item, why in items]
    told = quick_set_probabilities(pool.matrix, pool.labelled, targets, decide_at, rng)
    doubt, sure = doubt_of_sets(told, targets.sum(axis=0), decide_at), probability_of_whole(told, decide_at)
    found = []
    for choice in choose_items(pool.matrix, pool.labelled, n, rng=rng, doubt=doubt, skip=passed):
        item = pool.items[choice.position]
        said, confidence = told[choice.position] >= decide_at, float(sure[choice.position])
        guess = join_classes(names[i] for i in np.flatnonzero(said))
        if not worth_a_guess(said, confidence):
            guess, confidence = "", math.nan
        found.append(Suggestion(item.key, item.id, "train", 1.0, choice.why, guess, confidence))
    return found


def _for_evidence(store: Store, n: int, skip: Collection[str], seed: int, progress: Progress) -> list[Suggestion]:
    from passmuster.flows.evidence import choose_evidence

    rng = np.random.default_rng([seed, zlib.crc32(b"evidence")])
    chosen = choose_evidence(store, n=n, skip=skip, rng=rng, progress=progress)
    return [Suggestion(item.key, item.id, "test", weight, EVIDENCE) for item, weight in chosen]


def _left_before(store: Store, n: int, skip: Collection[str]) -> list[Suggestion]:
    from passmuster.flows.evidence import drawn_and_left

    return [
        Suggestion(item.key, item.id, "test", weight, LEFT) for item, weight in drawn_and_left(store, n=n, skip=skip)
    ]
