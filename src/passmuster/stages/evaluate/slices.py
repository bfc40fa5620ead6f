"""Weak spots of a model: what parts of the test are looked at, and what the report says of those that are weak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from passmuster.core.config import Config
from passmuster.core.label_sets import MULTI, classes_in
from passmuster.metrics.slices import (
    FALSE_DISCOVERY,
    Candidate,
    Slice,
    embedding_clusters,
    find_slices,
    halves,
    telling_words,
    words_of,
)
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Looks, interval_record
from passmuster.stages.evaluate.headline import by_confidence, keys_where

FEWEST_ITEMS = 60  # labelled test items, below which halves are too small to look
MOST_VALUES = 20  # of a column, a source or a class, the commonest
MOST_PAIRS = 20  # of classes
MOST_SHOWN = 8  # slices of the page that were not confirmed


def measure_slices(
    config: Config, draft: Draft, evidence: Evidence, answers: Answers, looks: Looks,
    rng: np.random.Generator, *, has_embedding: bool = True,
) -> None:  # fmt: skip
    """Section ``slices``, and a metric ``slice_error`` of each confirmed one, of the half that had no part in finding.

    `looks` are of the test items in order; texts name clusters by their words.
    """
    n = len(evidence.items)
    if n < FEWEST_ITEMS:
        why = f"{n} labelled test items are too few to find weak spots on one half and confirm them on the other"
        draft.sections["slices"] = {"said": f"Not looked for: {why} ({FEWEST_ITEMS} are needed).", "rows": []}
        return
    wrong = np.asarray(answers.predicted != evidence.y)
    first = halves(evidence.clusters, rng)
    candidates = [
        *(clusters_of(answers.embeddings, looks.texts, first, rng) if has_embedding else ()),
        *sizes_of(np.array(looks.sizes), bool(looks.texts), first),
        *columns_of(config, evidence),
        *times_of(evidence, first),
        *classes_of(evidence, answers),
    ]
    found = find_slices(wrong, candidates, first, weights=evidence.weights, clusters=evidence.clusters)
    order = by_confidence(evidence, answers)
    shown = [one for one in found if one.confirmed] + [one for one in found if not one.confirmed][:MOST_SHOWN]
    draft.sections["slices"] = {
        "said": in_words(found, len(candidates), int(first.sum()), int((~first).sum()), has_embedding),
        "n_candidates": len(candidates),
        "n_tried": len(found),
        "n_confirmed": sum(one.confirmed for one in found),
        "n_first": int(first.sum()),
        "n_second": int((~first).sum()),
        "rows": [record(draft, evidence, one, order) for one in shown],
    }


def in_words(found: Sequence[Slice], n_candidates: int, n_first: int, n_second: int, has_embedding: bool) -> str:
    """What was looked at, and what came of it."""
    confirmed = sum(one.confirmed for one in found)
    false = f" (at most {FALSE_DISCOVERY:.0%} of such are expected to be false)" if confirmed else ""
    lacks = "" if has_embedding else " The model gives no embedding, so that no clusters of like items were looked at."
    return (
        f"{n_candidates:,} parts of the test were looked at on {n_first:,} items; {len(found)} of them with more "
        f"errors than the rest were taken to the other {n_second:,} items, and {confirmed or 'none'} "
        f"{'was' if confirmed == 1 else 'were'} confirmed there{false}. Rates are those of the second half.{lacks}"
    )


def record(draft: Draft, evidence: Evidence, one: Slice, order: np.ndarray) -> dict[str, Any]:
    """A row of the section; its items, wrong ones first, are of both halves."""
    name = one.candidate.name
    items = draft.add_set(f"slice: {name}", keys_where(evidence, order, one.candidate.inside))
    if one.confirmed:
        draft.add("slice_error", one.inside, slice=name, items=items)
    return {
        "kind": one.candidate.kind, "name": name, "confirmed": one.confirmed, "q": float(one.q),
        "error": interval_record(one.inside), "elsewhere": interval_record(one.outside),
        "n_items": int(one.candidate.inside.sum()), "items": items,
    }  # fmt: skip


def clusters_of(
    embeddings: np.ndarray, texts: Sequence[str], first: np.ndarray, rng: np.random.Generator
) -> list[Candidate]:
    """Like items, by embedding; texts are named by words that tell them from the others."""
    cluster = embedding_clusters(embeddings, first, rng)
    words_of_first = words_of([texts[i] for i in np.flatnonzero(first).tolist()]) if texts else []
    found = []
    for number in range(int(cluster.max(initial=-1)) + 1):
        inside = cluster == number
        if not inside.any():
            continue
        words = telling_words(words_of_first, inside[first]) if texts else []
        what = "texts" if texts else "images"
        name = (
            f"{what} with {', '.join(f'“{word}”' for word in words)}" if words else f"{what} alike, group {number + 1}"
        )
        found.append(Candidate("like items", name, inside))
    return found


def sizes_of(sizes: np.ndarray, is_text: bool, first: np.ndarray) -> list[Candidate]:
    """The shortest and the longest quarter of texts, the smallest and the largest of images."""
    low, high = np.quantile(sizes[first], [0.25, 0.75])
    if low == high:
        return []
    unit, short, long = (
        ("characters", "short texts", "long texts") if is_text else ("pixels", "small images", "large images")
    )
    return [
        Candidate("size", f"{short} (up to {low:,.0f} {unit})", sizes <= low),
        Candidate("size", f"{long} (from {high:,.0f} {unit})", sizes >= high),
    ]


def columns_of(config: Config, evidence: Evidence) -> list[Candidate]:
    """Values of declared columns, and sources."""
    found = []
    for column in config.data.group_columns:
        values = np.array([str(item.groups.get(column, "")) for item in evidence.items], dtype=np.str_)
        found += [Candidate("column", f"{column} = {name}", values == name) for name in commonest(values)]
    sources = np.array([item.source for item in evidence.items], dtype=np.str_)
    if len(set(sources.tolist())) > 1:
        found += [Candidate("source", f"from {name}", sources == name) for name in commonest(sources)]
    return found


def times_of(evidence: Evidence, first: np.ndarray) -> list[Candidate]:
    """The oldest and the newest quarter, where items carry times (ISO, so that their order is that of their text)."""
    at = np.array([item.at for item in evidence.items], dtype=np.str_)
    dated = np.sort(at[first & (at != "")])
    if len(dated) < FEWEST_ITEMS // 4 or dated[0] == dated[-1]:
        return []
    low, high = dated[len(dated) // 4], dated[(3 * len(dated)) // 4]
    return [
        Candidate("time", f"the oldest (to {low[:10]})", (at != "") & (at <= low)),
        Candidate("time", f"the newest (from {high[:10]})", (at != "") & (at >= high)),
    ]


def classes_of(evidence: Evidence, answers: Answers) -> list[Candidate]:
    """What is said, and between which two classes an answer hesitates; both are known without labels."""
    if evidence.targets is not None:
        members = [set(classes_in(p.label, MULTI)) for p in answers.predictions]
        masks = {name: np.array([name in names for names in members], dtype=bool) for name in evidence.classes}
        common = sorted(masks, key=lambda name: -int(masks[name].sum()))[:MOST_VALUES]
        return [Candidate("answer", f"said to be “{name}”", masks[name]) for name in common]
    said = np.array([evidence.classes[c] for c in answers.predicted], dtype=np.str_)
    found = [Candidate("answer", f"said to be “{name}”", said == name) for name in commonest(said)]
    if len(evidence.classes) > 2:
        two = np.sort(np.argsort(-answers.probabilities, axis=1, kind="stable")[:, :2], axis=1)
        pairs = two[:, 0] * len(evidence.classes) + two[:, 1]
        numbers, counts = np.unique(pairs, return_counts=True)
        for number in numbers[np.argsort(-counts, kind="stable")][:MOST_PAIRS]:
            a, b = (evidence.classes[int(c)] for c in divmod(int(number), len(evidence.classes)))
            found.append(Candidate("two classes", f"between “{a}” and “{b}”", pairs == number))
    return found


def commonest(values: np.ndarray) -> list[str]:
    """The names that most items carry; without the empty one."""
    names, counts = np.unique(values[values != ""], return_counts=True)
    return [str(names[i]) for i in np.argsort(-counts, kind="stable")[:MOST_VALUES]]


def weak_spot(draft: Draft) -> tuple[str, str] | None:
    """The confirmed slice with most errors, in words, and its items."""
    rows = [row for row in draft.sections.get("slices", {}).get("rows", ()) if row["confirmed"]]
    if not rows:
        return None
    row = max(rows, key=lambda row: row["error"]["value"])
    inside, outside = row["error"], row["elsewhere"]
    text = (
        f"Weak spot: {row['name']}. Wrong on {inside['value'] * 100:.1f}\u00a0% ({inside['low'] * 100:.1f} to "
        f"{inside['high'] * 100:.1f}\u00a0%, {inside['n']:,} items of the half that confirmed it), elsewhere on "
        f"{outside['value'] * 100:.1f}\u00a0%."
    )
    return text, row["items"]
