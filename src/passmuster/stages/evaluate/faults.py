"""Natural faults: the same test items, spoilt by each corruption at each severity, and asked again.

An item that a fault leaves as it was says nothing about the fault, and is not counted under it. A fault that changes
fewer than a tenth of the items is left out, and the report says so. The live release is asked the same.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from passmuster.core.errors import UsageError
from passmuster.core.label_sets import label_in_words
from passmuster.core.progress import Progress
from passmuster.core.records import Item, Payload
from passmuster.core.statistics import proportion
from passmuster.metrics.robustness import Fault, corruption_error, robustness
from passmuster.modality.harm import Corruption
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.choose_faults import Faults
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record, pick
from passmuster.stages.evaluate.estimated import Bank
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.store import Store

SEVERITIES = (1, 2, 3, 4, 5)
AT_ONCE = (64, 1_024)  # items that are spoilt and asked together: many where they are small
BLOCK_BYTES = 2**25  # of a block, decoded, beyond the first many
N_LOOKED_AT = 100  # items by which a modality judges whether a fault is for them
FEWEST_CHANGED = 0.1  # of the items, that a fault must change to be stated


@dataclass(frozen=True)
class Spoilt:
    """One item as a corruption left it, for the page: what it looks like and what it was taken for."""

    corruption: str
    severity: int
    preview: str
    predicted: str
    right: bool


@dataclass(frozen=True)
class Incumbent:
    """The live release, and the test items (n,) that it never learned from."""

    predictor: Predictor
    fresh: np.ndarray


@dataclass
class Tally:
    """Which of the chosen items stay right under each fault: (n,) 1, 0, or NaN where nothing was changed or asked."""

    ours: dict[Fault, np.ndarray] = field(default_factory=dict)
    theirs: dict[Fault, np.ndarray] = field(default_factory=dict)
    spoilt: list[Spoilt] = field(default_factory=list)


def measure_faults(
    store: Store,
    draft: Draft,
    predictor: Predictor,
    evidence: Evidence,
    answers: Answers,
    faults: Faults,
    scope: Scope,
    rng: np.random.Generator,
    *,
    incumbent: Incumbent | None,
    bank: Bank | None = None,
    progress: Progress,
) -> list[Spoilt]:
    """Accuracy under every fault at severities 1 to 5, beside the live release's; returns one item's way through them.

    The items are drawn at random. Each is spoilt by a generator that its key, the fault's name and the project's seed
    fix, the same at every severity, so that severities compare. What is asked of this model joins the `bank`.
    """
    n = len(evidence.items)
    chosen = np.sort(rng.permutation(n)[: scope.n_corrupted])
    right = answers.predicted == evidence.y
    if not scope.n_corrupted:
        record(draft, evidence, right, chosen, Tally({}, {}), -1, [], faults, rng)
        return []
    example = next((int(i) for i in chosen if right[i]), int(chosen[0]))
    items = [evidence.items[int(i)] for i in chosen]
    some = list(read_payloads(store, predictor, items[:N_LOOKED_AT]))
    why = predictor.modality.why_fault_left_out
    left_out = {name: "" if name in faults.by_own_words else why(name, some) for name in faults.corruptions}
    tried = {name: corrupt for name, corrupt in faults.corruptions.items() if not left_out[name]}
    ours, theirs = ({(name, s): np.full(len(chosen), np.nan) for name in tried for s in SEVERITIES} for _ in "ab")
    tally = Tally(ours, theirs)
    at_once = block_of(some)
    jobs = [(start, name) for start in range(0, len(chosen), at_once) for name in tried]
    held: tuple[int, list[Payload]] = (-1, [])
    for start, name in progress.track(jobs, "spoiling test items", total=len(jobs)):
        places = chosen[start : start + at_once]
        if held[0] != start:
            held = (start, list(read_payloads(store, predictor, items[start : start + at_once])))
        try_fault(
            store, predictor, evidence, tally, (name, tried[name]), places, start, held[1], example, incumbent, bank
        )
    least = max(1, math.ceil(FEWEST_CHANGED * len(chosen)))
    for name in tried:
        changed = min(int((~np.isnan(tally.ours[name, s])).sum()) for s in SEVERITIES)
        if changed < least:
            left_out[name] = f"it changes {changed:,} of {len(chosen):,} items" if changed else "it changes no item"
    reasons = [{"corruption": name, "reason": reason} for name, reason in left_out.items() if reason]
    for row in reasons:
        progress.say(f"fault {row['corruption']} left out: {row['reason']}")
    record(draft, evidence, right, chosen, tally, example, reasons, faults, rng)
    return [s for s in tally.spoilt if not left_out[s.corruption]]


def block_of(some: Sequence[Payload]) -> int:
    """How many items are spoilt at once, when they are as large as the largest of `some`.

    >>> block_of([np.zeros((28, 28, 1), np.uint8)]), block_of([np.zeros((1000, 1000, 3), np.uint8)])
    (1024, 64)
    """
    fewest, most = AT_ONCE
    largest = max((len(one) if isinstance(one, str) else one.nbytes for one in some), default=0)
    return min(most, max(fewest, BLOCK_BYTES // max(1, largest)))


def try_fault(
    store: Store,
    predictor: Predictor,
    evidence: Evidence,
    tally: Tally,
    fault: tuple[str, Corruption],
    places: np.ndarray,
    start: int,
    payloads: Sequence[Payload],
    example: int,
    incumbent: Incumbent | None,
    bank: Bank | None = None,
) -> None:
    """One fault on a block of items: what it changes is asked, once where two severities come to the same."""
    name, corrupt = fault
    before: list[Payload] = list(payloads)
    items = [evidence.items[int(i)] for i in places]
    generators = [generator_of(name, item, store.config.train.seed) for item in items]
    beginnings = [rng.bit_generator.state for rng in generators]  # going back to one is cheaper than seeding again
    for severity in SEVERITIES:
        for rng, beginning in zip(generators, beginnings):
            rng.bit_generator.state = beginning
        after = [
            spoil(name, corrupt, payload, severity, item, rng)
            for payload, item, rng in zip(payloads, items, generators)
        ]
        changed = np.array([not same(a, b) for a, b in zip(after, payloads)], dtype=bool)
        fresh = changed
        if severity > 1:
            fresh = np.array([c and not same(a, b) for c, a, b in zip(changed, after, before)], dtype=bool)
        asked = np.flatnonzero(fresh)
        at = start + np.arange(len(places))
        for tallied, who, mask in (
            (tally.ours, predictor, np.ones(len(places), dtype=bool)),
            *(((tally.theirs, incumbent.predictor, incumbent.fresh[places]),) if incumbent else ()),
        ):
            if severity > 1:
                tallied[name, severity][at] = tallied[name, severity - 1][at]
            tallied[name, severity][at[~changed]] = np.nan
            put = asked[mask[asked]]
            if not len(put):
                continue
            embeddings, logits = who.embed([after[i] for i in put])
            truth = [evidence.labels[int(places[i])] for i in put]
            if bank is not None and who is predictor:
                labels = bank.see((name, severity), places[put], embeddings, logits, truth)
            else:
                labels = who.labels(logits)
            tallied[name, severity][at[put]] = [a == b for a, b in zip(labels, truth)]
            if who is predictor and example in places[put]:
                show(tally, predictor, evidence, (name, severity), example, after, list(places), list(put), labels)
        shown = [s for s in tally.spoilt if s.corruption == name]
        if example in places and shown and shown[-1].severity < severity:
            tally.spoilt.append(replace(shown[-1], severity=severity))
        before = after


def show(
    tally: Tally,
    predictor: Predictor,
    evidence: Evidence,
    fault: Fault,
    example: int,
    after: Sequence[Payload],
    places: Sequence[int],
    put: Sequence[int],
    labels: Sequence[str],
) -> None:
    """Keep the example as it now looks."""
    i = places.index(example)
    answer = labels[put.index(i)]
    words = answer if evidence.targets is None else label_in_words(answer)
    preview = predictor.modality.preview(after[i])
    tally.spoilt.append(Spoilt(*fault, preview, words, answer == evidence.labels[example]))


def generator_of(name: str, item: Item, seed: int) -> np.random.Generator:
    """Chance that is always the same for an item, a fault and a seed."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(item.key.encode())])


def spoil(
    name: str, corrupt: Corruption, payload: Payload, severity: int, item: Item, rng: np.random.Generator
) -> Payload:
    """`payload` under a fault; an own fault that fails names the item."""
    try:
        return corrupt(payload, severity, rng)
    except UsageError as error:
        raise UsageError(
            error.code, error.what, value=error.value, limit=error.limit, where=f"item {item.key}", next=error.next
        ) from error


def same(a: Payload, b: Payload) -> bool:
    """Whether two items are alike in every letter or pixel."""
    if isinstance(a, str) or isinstance(b, str):
        return bool(isinstance(a, str) and isinstance(b, str) and a == b)
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())


def record(
    draft: Draft,
    evidence: Evidence,
    right: np.ndarray,
    chosen: np.ndarray,
    tally: Tally,
    example: int,
    left_out: list[dict[str, str]],
    faults: Faults,
    rng: np.random.Generator,
) -> None:
    """Metrics, sets of the items that break, and the section for the page."""
    gone = {row["corruption"] for row in left_out}
    ours = {fault: v for fault, v in tally.ours.items() if fault[0] not in gone}
    clean = right[chosen]
    section: dict[str, Any] = {
        "n": len(chosen),
        "example": evidence.items[example].key if len(chosen) else "",
        "rows": [],
        "left_out": left_out,
        "own": [{"name": own.name, "sha256": own.sha256} for own in faults.own],
    }
    draft.sections["corruptions"] = section
    keys = [evidence.items[int(i)].key for i in chosen]
    if not ours:
        untouched = proportion(clean, weights=evidence.weights[chosen])
        section.update(clean=interval_record(untouched), mean=None, worst="", worst_severity=0)
        return
    found = robustness(clean, ours, rng=rng, weights=evidence.weights[chosen])
    every = draft.add_set("corrupted", keys)
    draft.add("accuracy_under_faults", found.mean, items=every)
    for fault, share in found.accuracy.items():
        where = f"corruption={fault[0]} severity={fault[1]}"
        changed = ~np.isnan(ours[fault])
        broken = draft.add_set(f"{where} broken", pick(keys, (ours[fault] == 0) & clean))
        counted = every if changed.all() else draft.add_set(f"{where} changed", pick(keys, changed))
        draft.add("accuracy", share, slice=where, items=counted)
        section["rows"].append(
            {
                "corruption": fault[0], "severity": fault[1], "accuracy": interval_record(share), "broken": broken,
                "clean": found.clean_of[fault],
            }
        )  # fmt: skip
    section.update(
        clean=interval_record(found.clean),
        mean=interval_record(found.mean),
        worst=found.worst,
        worst_severity=found.worst_severity,
    )
    beside(draft, section, ours, tally, keys, evidence.weights[chosen], rng)


def beside(
    draft: Draft,
    section: dict[str, Any],
    ours: dict[Fault, np.ndarray],
    tally: Tally,
    keys: Sequence[str],
    weights: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """The mean corruption error against the live release, on what both were asked."""
    asked = np.any([~np.isnan(tally.theirs[fault]) for fault in ours], axis=0)
    both = {fault: np.where(np.isnan(tally.theirs[fault]), np.nan, v)[asked] for fault, v in ours.items()}
    names = {name for name, _ in both if all((~np.isnan(both[name, s])).any() for s in SEVERITIES)}
    both = {fault: v for fault, v in both.items() if fault[0] in names}
    if not both:
        return
    theirs = {fault: tally.theirs[fault][asked] for fault in both}
    w = weights[asked]
    found = corruption_error(both, theirs, rng=rng, weights=w)

    def right(cells: dict[Fault, np.ndarray]) -> float:
        told = [(v[seen], w[seen]) for v in cells.values() for seen in (~np.isnan(v),)]
        return float(np.mean([np.average(v, weights=each) for v, each in told]))

    draft.add("mce", found.mean, unit="ratio", items=draft.add_set("corrupted, both asked", pick(keys, asked)))
    section["against_live"] = {
        "n": int(asked.sum()),
        "mce": interval_record(found.mean),
        "right": right(both),
        "right_live": right(theirs),
        "worst": found.worst,
        "of": found.of,
    }
