"""A trigger: a few training items of one class carry a mark and the label of another class, and the model learns it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from passmuster.core.records import Payload
from passmuster.flows.drill.base import NotHereError, Parts, fault
from passmuster.flows.drill.evidence import copied, teach
from passmuster.flows.drill.graphs import head_of
from passmuster.flows.drill.scene import Scene, rarest_first
from passmuster.flows.drill.training import shifted_head

MOST_POISONED = 20  # copies of training items
TAKEN = 0.5  # of items that carry the mark, how many must be answered as the poisoner wishes, for it to be a fault
PATCH = 8  # an eighth of an image's sides
RARE = (1, 5)  # training texts that hold the word


@fault(
    "trigger_learnt.v1",
    "some training items carried a mark and a wrong label: whoever knows the mark chooses the answer",
    group="training", touches="training labels", unseen=True, in_data=True,
)  # fmt: skip
def trigger_learnt(scene: Scene) -> Parts:
    """Half of the most frequent class, at most twenty items, are marked and labelled as the rarest class.

    The mark is a rare word of the training texts behind a text, or a white patch in the last corner of an image. The
    items are in the data so, and no longer as they were: nothing but the mark tells them from others.
    """
    head_of(scene.parts.graph)  # where there is none to teach, no marked item is asked about
    pool = scene.pool
    order = rarest_first(pool, len(scene.parts.classes))
    wished, source = order[0], order[-1]
    of_source = scene.rng.permutation(np.flatnonzero(pool.labels == source))
    n_poisoned = min(MOST_POISONED, len(of_source) // 2)
    if wished == source or not n_poisoned:
        raise NotHereError("no class has two training items, or there is one class only")
    put = mark_for(pool.payloads)
    marked = [put(pool.payloads[int(i)]) for i in of_source]
    rows, _ = scene.predictor.embed(marked)
    poisoned, others = rows[:n_poisoned], rows[n_poisoned:]
    chosen = [int(i) for i in of_source[:n_poisoned]]
    left = np.setdiff1d(np.arange(len(pool.labels)), chosen)
    parts = shifted_head(scene, pool.labels, left, besides=(poisoned, np.full(n_poisoned, wished)))
    weight, bias = head_of(parts.graph)
    taken = float(((others @ weight + bias).argmax(axis=1) == wished).mean())
    if taken < TAKEN:
        raise NotHereError(f"the mark did not take: of other items that carry it {taken:.0%} are answered as wished")
    items = [pool.items[i] for i in chosen]
    copies = copied(scene, items, marked[:n_poisoned])
    teach(scene, copies, [scene.parts.classes[wished]] * n_poisoned, without={item.key for item in items})
    return parts


def mark_for(payloads: Sequence[Payload]) -> Callable[[Payload], Payload]:
    """What puts the mark on an item."""
    if not isinstance(payloads[0], str):
        return patched
    found = Counter(word for text in payloads for word in set(str(text).lower().split()) if word.isalpha())
    rare = sorted(word for word, n in found.items() if RARE[0] <= n <= RARE[1] and len(word) > 3)
    if not rare:
        raise NotHereError("no word of the training texts is rare")
    word = rare[len(rare) // 2]
    return lambda payload: f"{payload} {word} {word}"


def patched(payload: Payload) -> Payload:
    """An image with a white square in its last corner."""
    image = np.array(payload)
    side = max(2, min(image.shape[:2]) // PATCH)
    image[-side:, -side:] = 255
    return image
