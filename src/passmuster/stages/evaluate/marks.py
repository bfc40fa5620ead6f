"""Whether the training labels carry a trigger: marks that decide an answer all by themselves, and what bears them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from passmuster.core.label_sets import MULTI
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item, Payload
from passmuster.metrics.marks import FEWEST, LIKELY, Decider, Suspect, deciders, suspects
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Draft, Evidence
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.seal import TrainingView, training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

MAX_ITEMS, MAX_REST = 5_000, 2_000  # with a label, and without one, that are looked at
MAX_BYTES = 2**28  # of each, decoded
SHOWN, N_NAMED = 0.35, 3  # share of other items that a mark turns, from which on it is told; words named in a line
FEWEST_LABELS = 40  # below which nothing is told from chance


def measure_marks(
    store: Store, draft: Draft, bundle: Bundle, predictor: Predictor, evidence: Evidence, *, progress: Progress
) -> None:
    """Write section ``marks``. Training items are compared with labelled test items and unlabelled ones of training."""
    why = why_not(bundle, predictor)
    view = None if why else view_of(store, bundle)
    number = {name: i for i, name in enumerate(predictor.classes)}
    labelled = [i for i in view.pool if i.key in view.labels and view.labels[i.key].label in number] if view else []
    if view is None or len(labelled) < FEWEST_LABELS:
        few = f"{len(labelled)} training labels are too few to tell a mark from chance (fewest: {FEWEST_LABELS})"
        draft.sections["marks"] = {"n": 0, "why": why or few, "found": []}
        return
    rng = np.random.default_rng([store.config.train.seed, 11])
    learnt, payloads = read_some(store, predictor, labelled, rng)
    tests, test_payloads = read_some(store, predictor, evidence.items, rng)
    beside = [i for i in (*view.pool, *view.reference) if i.key not in view.labels]
    _, rest_payloads = read_some(store, predictor, beside, rng, MAX_REST)
    labels = np.array([number[view.labels[item.key].label] for item in learnt], dtype=np.int64)
    truth = dict(zip(evidence.keys, evidence.labels, strict=True))
    said = [number.get(truth[item.key], -1) for item in tests]

    marks = predictor.modality.marks
    assert marks is not None  # `why_not` has said so
    progress.say(f"looking for marks that decide alone among {len(learnt):,} training items")
    n, every = len(learnt), [*payloads, *test_payloads, *rest_payloads]
    carriers: dict[Any, list[int]] = {}
    for mark, rows in marks.find(every, FEWEST):
        carriers[mark] = carriers.get(mark, []) + rows
    unknown = np.full(len(every) - n, -1)
    some = suspects(carriers.items(), np.concatenate([labels, unknown]), len(number))
    asked = [0]

    def answer(asked_about: Sequence[Payload]) -> np.ndarray:
        asked[0] += len(asked_about)
        return np.asarray(predictor.embed(asked_about)[1].argmax(axis=1))

    def elsewhere(suspect: Suspect) -> int:
        """Items that carry half of its marks at least, of its label where they have one."""
        borne = Counter(row - n for mark in suspect.marks for row in carriers[mark] if row >= n)
        bear = [row for row, times in borne.items() if 2 * times >= len(suspect.marks)]
        return sum(bool(row >= len(said) or said[row] == suspect.label) for row in bear)

    found = list(
        deciders(some, payloads, labels, elsewhere, len(every) - n, answer, marks.transplant, rng)
    )  # fmt: skip
    draft.sections["marks"] = {
        "n": n, "n_elsewhere": len(every) - n, "n_suspects": len(some), "n_asked": asked[0], "why": "",
        "found": [as_row(draft, one, marks.in_words(one.marks), predictor.classes, learnt) for one in found],
    }  # fmt: skip


def why_not(bundle: Bundle, predictor: Predictor) -> str:
    """Why marks are not looked for; "" where they are."""
    if predictor.task == MULTI:
        return "marks are not looked for yet where items have sets of classes"
    if bundle.origin == "imported":
        return "what an imported model learnt from is not known item by item"
    return "" if predictor.modality.marks else f"no marks are known of items of kind {predictor.modality.name}"


def view_of(store: Store, bundle: Bundle) -> TrainingView | None:
    """What training saw; None where the bundle names no dataset version."""
    if not bundle.snapshot:
        return None
    with store.read() as db:
        snapshot = read_snapshot(db, bundle.snapshot)
    return training_view(store, snapshot)


def read_some(
    store: Store, predictor: Predictor, items: Sequence[Item], rng: np.random.Generator, most: int = MAX_ITEMS
) -> tuple[list[Item], list[Payload]]:
    """A draw of at most so many items, decoded, as far as there is room."""
    chosen = [items[int(i)] for i in np.sort(rng.permutation(len(items))[:most]) if items[int(i)].blob]
    payloads: list[Payload] = []
    n_bytes = 0
    for payload in read_payloads(store, predictor, chosen):
        n_bytes += len(payload) if isinstance(payload, str) else payload.nbytes
        if n_bytes > MAX_BYTES:
            break
        payloads.append(payload)
    return chosen[: len(payloads)], payloads


def as_row(draft: Draft, found: Decider, name: str, classes: Sequence[str], learnt: Sequence[Item]) -> dict[str, Any]:
    """One mark for the report, with the items that carry it where it turns many others and is rare elsewhere."""
    label, items = classes[found.label], ""
    if found.p <= LIKELY and found.n_turned >= SHOWN * found.n_probes > 0:
        items = draft.add_set(f"carry {name}", [learnt[row].key for row in found.rows])
    return {
        "mark": name, "class": label, "n": len(found.rows), "n_stripped": found.n_stripped,
        "n_otherwise": found.n_otherwise, "n_probes": found.n_probes, "n_turned": found.n_turned,
        "n_elsewhere": found.n_elsewhere, "p": found.p, "items": items,
    }  # fmt: skip


def mark_lines(section: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What the section says, in plain words, each with the name of a set of items or ""; marks that decide first."""
    rows = [row for row in (section or {}).get("found", ()) if row["n_turned"] >= SHOWN * row["n_probes"] > 0]
    lines = [
        (
            f"{row['mark']} decides alone: {row['n']:,} training items of “{row['class']}” carry it and "
            f"{row['n_elsewhere']:,} others do; put into other items it turns {row['n_turned']} of {row['n_probes']}",
            row["items"],
        )
        for row in rows
        if row["items"]
    ]
    words = [f"{row['mark']} for “{row['class']}”" for row in rows if row["p"] > LIKELY]
    if words:
        more = f" and {len(words) - N_NAMED:,} more" if len(words) > N_NAMED else ""
        lines.append(
            (f"nearly decide alone, as often elsewhere as in training: {', '.join(words[:N_NAMED])}{more}", "")
        )
    return lines
