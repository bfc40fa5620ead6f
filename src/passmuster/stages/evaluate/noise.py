"""How much answers differ by nothing: the same bundle asked item by item, and the same recipe learnt again.

Engines add numbers in another order when a batch has another size or another number of threads, so an answer near the
edge between two classes may tip. What tips so is no change of the model, and is said beside the changes that are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item, Payload, Prediction
from passmuster.core.statistics import Interval, proportion
from passmuster.runtime.account import Account
from passmuster.runtime.bundle import read_manifest
from passmuster.runtime.engine import HTTP
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.release import open_checked
from passmuster.stages.evaluate.foretell import answered
from passmuster.stages.evaluate.retrains import retrains
from passmuster.store.store import Store

N_SAMPLED = 200  # items drawn from all of them, and as many of those that change at most, that are asked again
N_BOUGHT = 40  # of an endpoint, where each answer is paid for
MAX_RETRAINED = 2


@dataclass(frozen=True)
class Retrained:
    """Another bundle of the same recipe and data: on what share of the items the two decide differently."""

    bundle: str
    differ: Interval


@dataclass(frozen=True)
class Noise:
    """What the same model gives twice.

    `rate` is the share of items, of `rate.n` drawn at random, whose decision one of the two bundles does not repeat
    when it is asked item by item on one thread. `asked` are the positions of all that were asked again, `unstable` of
    those that were found so. Of the others nothing is known.
    """

    rate: Interval
    unstable: frozenset[int]
    asked: frozenset[int]
    retrained: tuple[Retrained, ...] = ()
    accounts: tuple[Account, ...] = ()  # of each bundle: what asking again took, where it is elsewhere

    def of(self, positions: Sequence[int]) -> int:
        """How many of some items are unstable."""
        return sum(position in self.unstable for position in positions)

    def n_asked(self, positions: Sequence[int]) -> int:
        """How many of some items were asked again."""
        return sum(position in self.asked for position in positions)

    def is_noise(self, position: int) -> bool | None:
        """Whether an item's decision is not repeated; None where nobody asked again."""
        return position in self.unstable if position in self.asked else None


def measure_noise(
    store: Store,
    bundles: Sequence[Bundle],
    said: Sequence[Sequence[Prediction]],
    differs: np.ndarray,
    payloads_at: Callable[[Sequence[int]], list[Payload]],
    items: Sequence[Item],
    *,
    progress: Progress,
) -> Noise:
    """Ask each of `bundles` again, item by item on one thread, and hold it against what it `said` in batches.

    `differs` (n,) are the items whose decision changes between the two. `items` is empty where they are the user's own.
    The first bundle is held against others of its recipe and data, too.
    """
    rng = np.random.default_rng(store.config.train.seed)
    n = len(differs)
    bought = any(read_manifest(store.bundle_folder(bundle.path)).engine.name == HTTP for bundle in bundles)
    most = N_BOUGHT if bought else N_SAMPLED
    if bought:
        progress.say(f"an endpoint is asked again about {most} items, and about {most} of those that change, at most")
    sample = set(rng.choice(n, min(n, most), replace=False).tolist())
    changed = np.flatnonzero(differs)
    if len(changed) > most:
        changed = rng.choice(changed, most, replace=False)
    positions = sorted(sample | {int(i) for i in changed})
    payloads = payloads_at(positions)
    unstable: set[int] = set()
    accounts: list[Account] = []
    for bundle, answers in zip(bundles, said, strict=True):
        alone = Predictor(open_checked(store, bundle), threads=1)
        what = f"asking {bundle.digest[:8]} item by item"
        for i, payload in progress.track(list(zip(positions, payloads, strict=True)), what, total=len(positions)):
            again = alone.predict([payload])[0]
            if decision(again) != decision(answers[i]):
                unstable.add(i)
        accounts.append(alone.account)
    tipped = np.array([i in unstable for i in sorted(sample)], dtype=bool)
    again_learnt = retrained(store, bundles[0], said[0], items, progress=progress) if items else ()
    return Noise(proportion(tipped), frozenset(unstable), frozenset(positions), again_learnt, tuple(accounts))


def decision(prediction: Prediction) -> tuple[str, bool]:
    """What the user gets."""
    return ("" if prediction.abstained else prediction.label, prediction.abstained)


def retrained(
    store: Store, bundle: Bundle, said: Sequence[Prediction], items: Sequence[Item], *, progress: Progress
) -> tuple[Retrained, ...]:
    """The latest two of `passmuster.stages.evaluate.retrains.retrains`, asked about the same items."""
    found: list[Retrained] = []
    for other in islice(retrains(store, bundle), MAX_RETRAINED):
        predictor = Predictor(open_checked(store, other))
        theirs = predictor.decide(*answered(store, other, predictor, items, progress=progress))
        differ = np.array([decision(a) != decision(b) for a, b in zip(said, theirs, strict=True)], dtype=bool)
        found.append(Retrained(other.digest, proportion(differ)))
    return tuple(found)
