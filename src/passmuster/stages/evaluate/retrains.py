"""The same recipe learnt again on the same data: how often it decides otherwise, from reports that are there already.

Part of what changes from one release to the next is the draw of a seed. Where a bundle of the same rung, head and
dataset version was evaluated before, its answers are in its report, and nothing must be asked to say how large a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from passmuster.core.label_sets import label_in_words
from passmuster.core.records import Bundle, Report
from passmuster.core.statistics import Interval, proportion
from passmuster.runtime.bundle import read_manifest
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, interval_record
from passmuster.store.releases import read_bundles, read_report
from passmuster.store.store import Store

FEWEST_SHARED = 0.5  # share of the compared items that both must have answered


def retrains(store: Store, bundle: Bundle) -> Iterator[Bundle]:
    """Other bundles that were trained on the same dataset version by the same rung and head, the latest first."""
    if bundle.origin != "trained" or not bundle.snapshot:
        return
    own = read_manifest(store.bundle_folder(bundle.path))
    with store.read() as db:
        others = [b for b in read_bundles(db) if b.snapshot == bundle.snapshot and b.digest != bundle.digest]
    for other in others:
        folder = store.bundle_folder(other.path)
        if other.origin != "trained" or not folder.is_dir():
            continue
        manifest = read_manifest(folder)
        if (manifest.rung, manifest.head, manifest.classes) == (own.rung, own.head, own.classes):
            yield other


def measure_retrain(
    store: Store, draft: Draft, bundle: Bundle, incumbent: Bundle, evidence: Evidence, answers: Answers
) -> None:
    """``retrain`` in the section ``versions``: another bundle of the recipe, and the share of answers that differ.

    Nothing where no report of one is at hand, or it shares fewer than half of the compared items.
    """
    section = draft.sections.get("versions", {})
    compared = set(draft.item_sets.get("compared", ()))
    mine = {
        key: label_in_words(prediction.label)
        for key, prediction in zip(evidence.keys, answers.predictions, strict=True)
        if key in compared
    }
    found = share_learnt_otherwise(store, bundle, incumbent.digest, evidence, mine)
    if found is not None:
        section["retrain"] = {"bundle": found[0], **interval_record(found[1])}


def share_learnt_otherwise(
    store: Store, bundle: Bundle, incumbent: str, evidence: Evidence, said: Mapping[str, str]
) -> tuple[str, Interval] | None:
    """Another bundle of the recipe that was evaluated, and on what share of what both `said` they differ, by key.

    None where no report of one is at hand, or it shares fewer than half of the items. The live release is passed over:
    from it the two differ by a seed alone.
    """
    for other in retrains(store, bundle):
        if other.digest == incumbent:
            continue
        with store.read() as db:
            found = read_report(db, other.digest)
        theirs = answers_in(found[1]) if found else {}
        shared = [i for i, key in enumerate(evidence.keys) if key in said and key in theirs]
        if not shared or len(shared) < FEWEST_SHARED * len(said):
            continue
        differ = np.array([said[key] != theirs[key] for key in (evidence.keys[i] for i in shared)], dtype=bool)
        return other.digest, proportion(differ, clusters=evidence.clusters[shared])
    return None


def answers_in(report: Report) -> dict[str, str]:
    """Key to what was said, in words, of every item of a report."""
    answers: Any = report.sections.get("answers") or {}
    names = answers.get("names", report.classes)
    return {key: names[i] for key, i in zip(answers.get("keys", ()), answers.get("predicted", ()), strict=True)}
