"""Choose test items to label next: those whose labels remove most variance from what the verdict rests on.

Every unlabelled item has a chance, the chances are recorded with the draw, and reports weigh the labels by them
(`passmuster.stages.evaluate.powered`). Where a live release would be replaced, the items on which the two answer
differently count besides, because where they agree the difference is known to be 0 without a label. An answer is what
is served: with ``[policy.costs] answer = "cheapest"`` the cheapest class, because that is what a verdict is about.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from passmuster.core.errors import DataError, NotFoundError, UsageError
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Item
from passmuster.core.sampling import draw, inclusion_probabilities, sizes
from passmuster.store.draws import add_draw, read_draws
from passmuster.store.releases import read_bundle, read_channels
from passmuster.store.seal import TestView, open_test
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

if TYPE_CHECKING:
    from passmuster.stages.evaluate.foretell import Foretold

DIFFERENCE_SHARE = 0.5  # of the draw that goes to comparing with the live release, when there is one


@dataclass(frozen=True)
class Candidates:
    """The bundle to be judged and the live one that it would replace; None where there is none."""

    latest: Bundle | None
    live: Bundle | None


def choose_evidence(
    store: Store,
    *,
    n: int,
    skip: Collection[str] = (),
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> list[tuple[Item, float]]:
    """Up to `n` unlabelled test items in random order, each with the inverse of its chance of being drawn.

    The seal is opened for "choose-test-labels", which is recorded and does not count, and the draw is an act of its
    own. Without a bundle every item is equally likely.

    Parameters
    ----------
    skip : keys of items not to be drawn, because they are being shown already or were passed over

    Raises
    ------
    UsageError
        ``label.n`` when `n` is below 1.
    NotFoundError
        ``label.no_test`` when no items are sealed for the test.
    DataError
        ``label.none_left`` when there is nothing left to draw.
    """
    if n < 1:
        raise UsageError("label.n", "not a number of items", value=n, limit="1 or more")
    with store.read() as db:
        snapshot = read_snapshot(db)
        candidates = find_candidates(store)
    if not snapshot.n_items.get("test"):
        raise NotFoundError("label.no_test", "no items are sealed for the test", next="muster add PATH")
    view = open_test(store, snapshot, "choose-test-labels")
    unlabelled = [item for item in view.items if item.key not in view.labels]
    left = [item for item in unlabelled if item.key not in skip]
    if not left:
        raise DataError("label.none_left", "every test item has a label or was passed over", next="muster release")
    steps, share = _chances(store, view, left, candidates, min(n, len(left)), rng, progress or Silent())
    chosen = draw(steps, rng)
    chances = steps * share
    held = [item.key for item in unlabelled if item.key in skip]
    with store.act("label.draw") as act:
        number = add_draw(
            act.db, snapshot.digest, len(left), {left[int(i)].key: float(chances[i]) for i in chosen}, held
        )  # fmt: skip
        act.payload.update(
            snapshot=snapshot.digest, draw=number, n=len(chosen), n_population=len(left),
            bundle=candidates.latest.digest if candidates.latest else "",
            incumbent=candidates.live.digest if candidates.live else "",
        )  # fmt: skip
    return [(left[int(i)], 1.0 / float(chances[i])) for i in chosen]


def drawn_and_left(store: Store, *, n: int, skip: Collection[str] = ()) -> list[tuple[Item, float]]:
    """Up to `n` test items that were drawn and have no label, in the order of the draws, which is random.

    No new draw: a label that comes for one belongs to the draw that showed it last, and so does the weight. The seal
    is opened for "choose-test-labels" when there is any, which is recorded and does not count.
    """
    with store.read() as db:
        snapshot = read_snapshot(db)
        weights = {key: 1.0 / chance for one in read_draws(db) for key, chance in one.chances.items()}
    if not weights or not snapshot.n_items.get("test"):
        return []
    view = open_test(store, snapshot, "choose-test-labels")
    items = {item.key: item for item in view.items if item.key not in view.labels and item.key not in skip}
    left = [key for key in weights if key in items]
    return [(items[key], weights[key]) for key in left[:n]]


def find_candidates(store: Store) -> Candidates:
    """The latest bundle, and the live one where it is another."""
    with store.read() as db:
        try:
            latest = read_bundle(db)
        except NotFoundError:
            return Candidates(None, None)
        live = read_channels(db).get("live")
        other = live is not None and live.bundle not in ("", latest.digest)
        return Candidates(latest, read_bundle(db, live.bundle) if other and live is not None else None)


def _chances(
    store: Store,
    view: TestView,
    left: list[Item],
    candidates: Candidates,
    n: int,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[np.ndarray, float]:
    """Chances (left,) that sum to `n`, given the part that a bundle is asked about; and the chance of being in it.

    The part is 1 unless there are more items than a bundle is asked about; outside of it the chance is 0.
    """
    from passmuster.stages.evaluate.foretell import MAX_ASKED

    if candidates.latest is None:
        return np.full(len(left), n / len(left)), 1.0
    labelled = [item for item in view.items if item.key in view.labels]
    room = max(n, MAX_ASKED - len(labelled))
    asked = np.arange(len(left)) if len(left) <= room else np.sort(rng.choice(len(left), room, replace=False))
    wanted = _wanted(store, view, labelled, [left[int(i)] for i in asked], candidates, progress)
    chances = np.zeros(len(left))
    chances[asked] = inclusion_probabilities(wanted, n)
    return chances, len(asked) / len(left)


def _wanted(
    store: Store, view: TestView, labelled: list[Item], left: list[Item], candidates: Candidates, progress: Progress
) -> np.ndarray:
    """How much each of `left` should be drawn, mean 1: for the accuracy of the latest bundle, and against the live."""
    assert candidates.latest is not None
    told = [view.labels[item.key].label for item in labelled]
    new = _asked(store, labelled, left, candidates.latest, progress)
    rest = slice(len(labelled), None)
    risk = new.risk(told)[rest]
    # Of sets, what half-right ones lose is foretold apart: draws serve both figures alike.
    wanted = np.mean([sizes(new.risk(told, figure)[rest]) for figure in new.figures], axis=0)
    if candidates.live is None:
        return np.asarray(wanted)
    live = _asked(store, labelled, left, candidates.live, progress)
    differ = np.array([a != b for a, b in zip(new.said[rest], live.said[rest], strict=True)])
    if not differ.any():
        return np.asarray(wanted)
    # Where they differ, the difference is +1, -1, or 0 when both err: its mean square is the chance that one is right.
    square = np.where(differ, np.clip(2 - risk - live.risk(told)[rest], 0.0, 1.0), 0.0)
    spread = np.sqrt(square) / np.sqrt(square).mean()
    return np.asarray((1 - DIFFERENCE_SHARE) * wanted + DIFFERENCE_SHARE * spread)


def _asked(store: Store, labelled: list[Item], left: list[Item], bundle: Bundle, progress: Progress) -> Foretold:
    """What a bundle answers to `labelled` and `left`, and what foretells its errors."""
    from passmuster.runtime.predictor import Predictor
    from passmuster.runtime.release import open_checked
    from passmuster.stages.evaluate.foretell import foretell

    return foretell(store, bundle, Predictor(open_checked(store, bundle)), [*labelled, *left], progress=progress)
