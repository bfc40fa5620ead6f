"""Faults of the evidence: what is tested on was seen in training, or its labels are not what they seem."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from passmuster.core.clock import now
from passmuster.core.progress import Silent
from passmuster.core.records import Finding, Item, Label, Payload
from passmuster.flows.drill.base import NotHereError, Parts, fault
from passmuster.flows.drill.scene import Scene
from passmuster.stages.govern.inspect import find_copies, inspect_items
from passmuster.stages.govern.snapshot import write_snapshot
from passmuster.store.items import WITHDRAWN, add_items, add_labels, read_items, read_labels
from passmuster.store.snapshots import read_findings, read_placement, read_snapshot

LEAKED_SHARE, FEWEST_LEAKED = 0.01, 5  # of the test items
FEWEST_CASES = 12  # test labels of a class, so that its absence is no chance


@fault(
    "leaked_rows.v1", "some rows of the test were among the training rows", group="evidence", touches="training rows",
    taught=True,
)  # fmt: skip
def leaked_rows(scene: Scene) -> Parts:
    """The same content under other ids."""
    return leak(scene, lambda payload: payload)


@fault(
    "leaked_twins.v1", "slightly changed copies of test rows were among the training rows", group="evidence",
    touches="training rows", taught=True,
)  # fmt: skip
def leaked_twins(scene: Scene) -> Parts:
    """A text with a word less; an image a little brighter."""
    return leak(scene, touched_up)


@fault(
    "test_labels_by_the_model.v1", "the test labels are the model's own answers", group="evidence",
    touches="test labels", taught=True,
)  # fmt: skip
def test_labels_by_the_model(scene: Scene) -> Parts:
    """As where suggestions were taken over without looking."""
    items = labelled_test(scene)
    said = scene.predictor.labels(scene.predictor.embed(scene.read(items))[1])
    relabel(scene, zip(items, said, strict=True))
    return scene.parts


@fault(
    "easy_test.v1", "only test items that are easy to tell were labelled", group="evidence", touches="test labels",
    taught=True,
)  # fmt: skip
def easy_test(scene: Scene) -> Parts:
    """The half of which the model is surer."""
    items = labelled_test(scene)
    sure = np.array([p.probability for p in scene.predictor.predict(scene.read(items))])
    hard = np.argsort(sure, kind="stable")[: len(items) // 2]
    withdraw(scene, [items[int(i)] for i in hard])
    return scene.parts


@fault(
    "class_without_test.v1", "no test item of one class was labelled", group="evidence", touches="test labels",
    taught=True,
)  # fmt: skip
def class_without_test(scene: Scene) -> Parts:
    """The class with the fewest test labels that are not few by chance."""
    items, labels = labelled_test(scene), test_labels(scene)
    counts = {name: sum(labels[i.key] == name for i in items) for name in scene.parts.classes}
    able = sorted((n, name) for name, n in counts.items() if n >= FEWEST_CASES)
    if not able:
        raise NotHereError(f"no class has {FEWEST_CASES} test labels")
    withdraw(scene, [i for i in items if labels[i.key] == able[0][1]])
    return scene.parts


@fault(
    "test_labels_shifted.v1", "a third of the table of test labels slid by one row", group="evidence",
    touches="test labels", taught=True,
)  # fmt: skip
def test_labels_shifted(scene: Scene) -> Parts:
    """As where a table was sorted on one side only."""
    items, labels = labelled_test(scene), test_labels(scene)
    third = [items[int(i)] for i in scene.rng.permutation(len(items))[: len(items) // 3]]
    said = [labels[item.key] for item in third]
    relabel(scene, zip(third, [*said[1:], *said[:1]], strict=True))
    return scene.parts


@fault(
    "test_classes_exchanged.v1", "the names of two classes were exchanged in the table of test labels",
    group="evidence", touches="test labels", taught=True,
)  # fmt: skip
def test_classes_exchanged(scene: Scene) -> Parts:
    """The two with the fewest test labels that are not few by chance."""
    items, labels = labelled_test(scene), test_labels(scene)
    counts = {name: sum(labels[i.key] == name for i in items) for name in scene.parts.classes}
    able = sorted((n, name) for name, n in counts.items() if n >= FEWEST_CASES)
    if len(able) < 2:
        raise NotHereError(f"no two classes have {FEWEST_CASES} test labels")
    (_, a), (_, b) = able[:2]
    other = {a: b, b: a}
    relabel(scene, [(i, other[labels[i.key]]) for i in items if labels[i.key] in other])
    return scene.parts


def labelled_test(scene: Scene) -> list[Item]:
    """Test items that have a label, in the snapshot's order."""
    with scene.store.read() as db:
        placed, labels = read_placement(db, read_snapshot(db)), read_labels(db, role="test")
        return read_items(db, keys=[key for key, (split, _) in placed.items() if split == "test" and key in labels])


def test_labels(scene: Scene) -> dict[str, str]:
    """The label of every test item that has one."""
    with scene.store.read() as db:
        return {key: label.label for key, label in read_labels(db, role="test").items()}


def relabel(scene: Scene, said: Iterable[tuple[Item, str]]) -> None:
    """Say of these test items that they are something else."""
    with scene.store.act("label.add") as act:
        add_labels(act.db, [Label(item.key, label, "drill", now(), "test") for item, label in said])


def withdraw(scene: Scene, items: Sequence[Item]) -> None:
    """Take the test labels of these items back, whoever gave them."""
    with scene.store.act("label.withdraw") as act:
        known = read_labels(act.db, role="test")
        left = [item.key for item in items]
        while left:
            add_labels(act.db, [Label(key, WITHDRAWN, known[key].who, now(), "test") for key in left])
            known = read_labels(act.db, role="test")
            left = [key for key in left if key in known]


def leak(scene: Scene, change: Callable[[Payload], Payload]) -> Parts:
    """Put changed copies of some labelled test items into training, as rows of another source, and check the data."""
    store, items, labels = scene.store, labelled_test(scene), test_labels(scene)
    n = min(len(items), max(FEWEST_LEAKED, round(LEAKED_SHARE * len(items))))
    chosen = [items[int(i)] for i in scene.rng.permutation(len(items))[:n]]
    copies = copied(scene, chosen, [change(payload) for payload in scene.read(chosen)])
    looked = [*items, *copies]
    splits = ["test"] * len(items) + ["train"] * len(copies)
    found = find_copies(store, scene.predictor.modality, looked, Silent())
    new = inspect_items(store, scene.predictor.modality, looked, splits, found, (), Silent())
    teach(scene, copies, [labels[item.key] for item in chosen], findings=[f for f in new if f.kind == "leakage"])
    return scene.parts


def copied(scene: Scene, items: Sequence[Item], payloads: Sequence[Payload]) -> list[Item]:
    """Items of the same description with other contents, under ids of another source."""
    store, encode = scene.store, scene.predictor.modality.encode
    blobs = store.blobs.put_many([encode(payload) for payload in payloads])
    return [
        replace(
            item, key=store.keyed(f"drill {item.key}".encode()), id=f"drill/{item.id}", blob=blob, source="drill",
            digest=item.digest if blob == item.blob else store.keyed(blob.encode()),
        )
        for item, blob in zip(items, blobs, strict=True)
    ]  # fmt: skip


def teach(
    scene: Scene, copies: Sequence[Item], labels: Sequence[str], *, findings: Sequence[Finding] = (),
    without: Collection[str] = (),
) -> None:  # fmt: skip
    """A dataset version with these items and labels in training, and some of its own left out, by key."""
    store = scene.store
    with store.read() as db:
        before = read_snapshot(db)
        placed = read_placement(db, before)
        kept = [item for item in read_items(db, keys=list(placed)) if item.key not in without]
        known = read_findings(db, before.digest)
    with store.act("data.add") as act:
        add_items(act.db, copies)
        add_labels(act.db, [Label(c.key, label, "drill", now(), "train") for c, label in zip(copies, labels)])
        every = [*((item, *placed[item.key]) for item in kept), *((item, "train", "") for item in copies)]
        write_snapshot(act, store, every, [*known, *findings], before.digest)


def touched_up(payload: Payload) -> Payload:
    """A copy that no digest recognises: the last word of a text dropped, an image five per cent brighter."""
    if isinstance(payload, str):
        words = payload.split()
        return " ".join(words[:-1]) if len(words) > 6 else f"{payload} ."
    return np.asarray(np.clip(np.round(np.asarray(payload, dtype=np.float32) * 1.05), 0, 255), dtype=np.uint8)
