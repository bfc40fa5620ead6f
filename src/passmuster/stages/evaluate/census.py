"""The rest of a test, that nobody labelled: where candidate and live release agree there, neither is better."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item
from passmuster.metrics.disagreements import census_of_disagreements, read_by_disagreements, told_by_disagreements
from passmuster.metrics.versions import Comparison
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Evidence
from passmuster.stages.evaluate.endpoint import asking_of
from passmuster.stages.evaluate.foretell import MAX_ASKED, answered
from passmuster.stages.evaluate.gather import cluster_names, learned_from
from passmuster.stages.evaluate.powered import Reading
from passmuster.store.seal import open_test
from passmuster.store.snapshots import read_placement
from passmuster.store.store import Store


def take_census(
    store: Store,
    section: dict[str, Any],
    found: Comparison,
    candidate: tuple[Bundle, Predictor],
    incumbent: tuple[Bundle, Predictor],
    evidence: Evidence,
    reading: Reading,
    fresh: np.ndarray,
    said: tuple[Sequence[str], Sequence[str]],
    *,
    seen: Collection[str],
    progress: Progress,
) -> Comparison:
    """Add ``census`` to the section, and read the comparison by it where the labels were drawn; `found` without a rest.

    `fresh` (n,) marks the labelled items that are compared, `said` is what candidate and live release answer to those;
    items in `seen` are left out of the rest.
    """
    rest, new_said = unlabelled_rest(store, *candidate, incumbent[1], evidence, reading, progress)
    kept = [i for i, item in enumerate(rest) if item.key not in seen]
    rest, new_said = [rest[i] for i in kept], [new_said[i] for i in kept]
    if not rest:
        return found
    bundle, predictor = incumbent
    old_said = predictor.labels(answered(store, bundle, predictor, rest, progress=progress)[1])
    differs = np.array([a != b for a, b in zip(new_said, old_said, strict=True)], dtype=bool)
    compared = np.flatnonzero(fresh).tolist()
    truth, new, old = [evidence.labels[i] for i in compared], *said
    with store.read() as db:
        placed = read_placement(db, evidence.snapshot)
    whole = cluster_names([*(evidence.items[i] for i in compared), *rest], placed)
    found, section["census"] = read_with_census(
        found, (truth, new, old), evidence.weights[fresh], evidence.clusters[fresh], differs, whole,
        drawn=bool(reading.rest),
    )  # fmt: skip
    return found


def read_with_census(
    found: Comparison,
    said: tuple[Sequence[str], Sequence[str], Sequence[str]],
    weights: np.ndarray,
    clusters: np.ndarray,
    rest_differs: np.ndarray,
    whole_clusters: np.ndarray,
    *,
    drawn: bool,
) -> tuple[Comparison, dict[str, float]]:
    """What the comparison is where labels were `drawn`, and the census; `found` as it is where they were not.

    `said` are labels, candidate's and incumbent's answers on the labelled items (n,), `rest_differs` (m,) says of the
    others whether the two answer differently, and `whole_clusters` (n + m,) are of labelled items first.
    """
    census = census_of_disagreements(*said, rest_differs=rest_differs, clusters=whole_clusters)
    if not drawn:
        return found, census
    told = told_by_disagreements(
        *said, weights, n_rest=len(rest_differs), n_rest_differ=int(rest_differs.sum()), clusters=clusters,
        most=census["n_apart"],
    )  # fmt: skip
    return read_by_disagreements(found, told), census


def unlabelled_rest(
    store: Store,
    bundle: Bundle,
    predictor: Predictor,
    other: Predictor,
    evidence: Evidence,
    reading: Reading,
    progress: Progress,
) -> tuple[Sequence[Item], Sequence[str]]:
    """Test items without a label that the bundle never learned from, and what it answers to them.

    Those that were asked about already where the labels were drawn; else the seal is opened to compare answers, which
    is recorded and does not count; nothing where that is not to be (`rest_is_asked`).
    """
    if reading.rest:
        return reading.rest, reading.said
    n_pool = len(evidence.items) + evidence.n_unlabelled
    if not evidence.n_unlabelled or not rest_is_asked(n_pool, predictor, other):
        return (), ()
    view = open_test(store, evidence.snapshot, "compare-answers")
    seen = learned_from(store, bundle)
    rest = [item for item in view.items if item.key not in view.labels and item.key not in seen]
    return rest, predictor.labels(answered(store, bundle, predictor, rest, progress=progress)[1])


def rest_is_asked(n_pool: int, *predictors: Predictor) -> bool:
    """Whether items without a label are asked about in a test of `n_pool` items: not too many, and no paid answer."""
    return n_pool <= MAX_ASKED and not any(asking_of(predictor.bundle) for predictor in predictors)
