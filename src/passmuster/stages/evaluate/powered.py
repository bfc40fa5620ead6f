"""Accuracy, and of sets of classes the F1 of items, read from labels and from the answers to the unlabelled rest.

Only labels whose selection is known can be worth more than their number: those that a draw asked for. Without a draw
everything is read as it always was; see `docs/why/008-how-test-labels-are-read.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from passmuster.core.prediction_powered import Round, combined_weights, powered_rate
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item
from passmuster.core.statistics import Interval
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Draft, Evidence
from passmuster.stages.evaluate.foretell import MAX_ASKED, foretell
from passmuster.stages.evaluate.gather import cluster_names, learned_from
from passmuster.store.draws import TestDraw, first_told, read_draws
from passmuster.store.seal import open_test
from passmuster.store.snapshots import read_placement
from passmuster.store.store import Store

MIN_DRAWN = 10  # labels from draws below which the draws are not yet read
FIGURES = {"accuracy": "right answers", "item_f1": "F1 of an item"}


@dataclass(frozen=True)
class Reading:
    """How the labels of an evaluation are read: the weight of each, and rates, where they came out of predictions.

    `rates` are by name: ``accuracy``, and of sets of classes ``item_f1``. `rest` are the unlabelled test items that
    were asked about, and `said` what the bundle answers to them.
    """

    weights: np.ndarray
    rates: Mapping[str, Interval] = field(default_factory=dict)
    rest: tuple[Item, ...] = ()
    said: tuple[str, ...] = ()


def read_with_rest(
    store: Store, draft: Draft, bundle: Bundle, predictor: Predictor, evidence: Evidence, *, progress: Progress
) -> Reading:
    """Weights and rates from the draws; the given weights, and no rate, where no draw asked for the labels.

    Opens the seal for "prediction-powered", which is recorded and does not count, when there is an unlabelled rest.
    """
    weights, rounds, n_drawn = weigh(store, evidence.keys, evidence.weights, evidence.n_unlabelled)
    if not rounds:
        return Reading(weights)
    with store.read() as db:
        placed = read_placement(db, evidence.snapshot)
    n_pool = len(evidence.items) + evidence.n_unlabelled
    facts = {"n_labels": len(evidence.items), "n_drawn": n_drawn, "n_rounds": sum(r.drawn.any() for r in rounds)}
    draft.sections["evidence"] = facts | {"n_unlabelled": evidence.n_unlabelled, "worth": None}
    if not rest_tells(n_pool):
        progress.say(f"{n_pool:,} test items are too many to ask about (limit {MAX_ASKED:,}): weights alone are used")
        return Reading(weights)
    view = open_test(store, evidence.snapshot, "prediction-powered")
    seen = learned_from(store, bundle)
    rest = [item for item in view.items if item.key not in view.labels and item.key not in seen]
    pool = [*evidence.items, *rest]
    found = foretell(store, bundle, predictor, pool, progress=progress)
    at, clusters = np.arange(len(evidence.items)), cluster_names(pool, placed)
    rates: dict[str, Interval] = {}
    for figure in found.figures:
        losses, features = found.losses(evidence.labels, figure), found.features(evidence.labels, figure)
        careful = evidence.targets is not None  # of single labels: docs/log.md
        read = powered_rate(losses, at, features, found.prior(), rounds, clusters=clusters, careful=careful)
        told = {
            "worth": round(read.worth),
            "foretold": read.predictions[at],
            "foretold_rest": read.predictions[len(at) :],
        }
        draft.sections["evidence"] |= told if figure == "accuracy" else {figure: told}
        words = f"{len(at):,} labels worth about {read.worth:,.0f}"
        e = read.interval
        rates[figure] = Interval(1 - e.value, 1 - e.high, 1 - e.low, e.n, f"{e.method}, {words}", e.level)
        progress.say(f"{FIGURES[figure]}: {words} that were drawn at random")
    draft.sections["evidence"] |= {"n_unlabelled": len(rest)}
    return Reading(weights, rates, tuple(rest), found.said[len(at) :])


def weigh(
    store: Store, keys: Sequence[str], given: np.ndarray, n_unlabelled: int
) -> tuple[np.ndarray, list[Round], int]:  # fmt: skip
    """For how much each of the labelled items `keys` counts, the draws, and how many labels these asked for.

    The weights are those `given` where too few were drawn, and 1 where no test item is left without a label; no draws
    are read then.
    """
    with store.read() as db:
        rounds, n_drawn = rounds_of(read_draws(db), first_told(db), keys)
    if n_drawn < MIN_DRAWN:
        return given, [], n_drawn
    if not n_unlabelled:
        return np.ones(len(keys)), [], n_drawn
    return combined_weights(rounds, len(keys))[0], rounds, n_drawn


def rest_tells(n_pool: int) -> bool:
    """Whether answers to the unlabelled rest of a drawn test count: not where there are too many items to ask about."""
    return n_pool <= MAX_ASKED


def rounds_of(
    draws: Sequence[TestDraw], told: Mapping[str, int], keys: Sequence[str]
) -> tuple[list[Round], int]:  # fmt: skip
    """The draws as they are seen from the labelled items `keys`, and how many of these a draw asked for.

    A label belongs to the latest draw that showed its item before the label came. One that no draw asked for stands
    for itself alone, as what was labelled before a draw does.
    """
    n = len(keys)
    first = np.array([told[key] for key in keys], dtype=np.int64)
    asked_in = np.full(n, -1)
    for place, one in enumerate(draws):
        for i, key in enumerate(keys):
            if key in one.chances and first[i] > one.labels_read:
                asked_in[i] = place
    alone = asked_in < 0
    rounds = []
    for place, one in enumerate(draws):
        drawn = asked_in == place
        chances = np.array([one.chances[key] if d else 1.0 for key, d in zip(keys, drawn, strict=True)])
        before = (first <= one.labels_read) | np.array([key in one.held_out for key in keys], dtype=bool)
        came_later = alone & ~before
        n_held = len(one.held_out.difference(keys))  # still without a label: what was drawn speaks for them too
        n_population = one.n_population + n_held - int(came_later.sum())
        rounds.append(Round(n_population, drawn, chances, (before | alone) & ~drawn))
    return rounds, int((~alone).sum())
