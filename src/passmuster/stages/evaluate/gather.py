"""Open the sealed test, and ask a bundle about items without holding all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import DataError, IntegrityError
from passmuster.core.label_sets import MULTI, SINGLE, Task, classes_in
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item, Payload, Snapshot
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Answers, Evidence, Looks, pad_classes
from passmuster.store.items import known_keys, read_labels
from passmuster.store.releases import read_runs
from passmuster.store.seal import open_test
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store

# Items decoded and asked at once. Texts take little room, and those of like length cost least together.
BLOCK, TEXTS = 256, 1_024


def gather_evidence(store: Store, bundle: Bundle, classes: tuple[str, ...], task: Task = SINGLE) -> Evidence:
    """The labelled test items of the latest snapshot that this bundle did not learn from.

    The seal is opened, which counts, only when there is something to see.

    Raises
    ------
    DataError
        ``evaluate.no_test_labels``, ``evaluate.task``, ``evaluate.classes``.
    """
    count_evidence(store, bundle)
    with store.read() as db:
        snapshot = read_snapshot(db)
        placed = read_placement(db, snapshot)
        refuse_other_labels(snapshot, {known.label for known in read_labels(db, role="test").values()}, classes, task)
    seen = learned_from(store, bundle)
    view = open_test(store, snapshot, "evaluate")
    created = view.at  # the report is of what was seen then, and so is its count of looks
    labelled_items = [item for item in view.items if item.key in view.labels]
    items = tuple(item for item in labelled_items if item.key not in seen)
    labels = tuple(view.labels[item.key].label for item in items)
    members = [classes_in(label, task) for label in labels]
    every = (*classes, *sorted({name for names in members for name in names} - set(classes)))
    sets = tuple(sorted(set(labels))) if task == MULTI else every
    number = {name: i for i, name in enumerate(sets)}
    return Evidence(
        snapshot=snapshot,
        items=items,
        labels=labels,
        classes=every,
        n_known=len(classes),
        y=np.array([number[label] for label in labels], dtype=np.int64),
        weights=np.array([view.labels[item.key].weight for item in items], dtype=np.float64),
        clusters=np.unique(cluster_names(items, placed), return_inverse=True)[1],
        look=view.look,
        opening=view.opening,
        created=created,
        n_seen=len(labelled_items) - len(items),
        n_unlabelled=len(view.items) - len(labelled_items),
        who=tuple(sorted({view.labels[item.key].who for item in items})),
        targets=np.array([[c in names for c in every] for names in members], dtype=bool) if task == MULTI else None,
        sets=sets if task == MULTI else (),
    )


def refuse_other_labels(snapshot: Snapshot, labels: set[str], classes: Sequence[str], task: Task) -> None:
    """Test labels that a model of these `classes` cannot answer say nothing of it, and the look would be lost."""
    if snapshot.task != task:
        raise DataError(
            "evaluate.task", "the model answers another task than the labels are of", value=task, limit=snapshot.task,
            next=f'muster train, or task = "{task}" under [project] in muster.toml',
        )  # fmt: skip
    named = {name for label in labels for name in classes_in(label, task)}
    if not named & set(classes):
        raise DataError(
            "evaluate.classes", "no test label is a class of the model, so every answer would be wrong by name alone",
            value=", ".join(sorted(named)[:5]), limit=", ".join(sorted(classes)[:5]),
            next="name the classes as the labels do: muster import --labels, or muster train",
        )  # fmt: skip


def count_evidence(store: Store, bundle: Bundle) -> int:
    """How many items `gather_evidence` would give, without opening the seal; raises as it does."""
    with store.read() as db:
        placed = read_placement(db, read_snapshot(db))
        labelled = read_labels(db, role="test")
    seen = learned_from(store, bundle)
    n = sum(split == "test" and key in labelled and key not in seen for key, (split, _) in placed.items())
    if n:
        return n
    n_test = sum(split == "test" for split, _ in placed.values())
    raise DataError(
        "evaluate.no_test_labels",
        "no test item has a label, so nothing can be said about the model" if n_test else "there is no test split",
        value=f"0 of {n_test:,} test items",
        next="muster label --export todo.csv --for test" if n_test else "muster add PATH",
    )


def learned_from(store: Store, bundle: Bundle) -> frozenset[str]:
    """Keys that the bundle's own snapshot let training see: its pool and the guard's reference.

    Of an imported bundle also every item of the same content as one of those that it is said to have learnt from.
    """
    if not bundle.snapshot:
        return frozenset()
    with store.read() as db:
        placed = read_placement(db, read_snapshot(db, bundle.snapshot))
    seen = frozenset(key for key, (split, _) in placed.items() if split != "test")
    return seen | copies_of_learnt(store, bundle) if bundle.origin == "imported" else seen


def copies_of_learnt(store: Store, bundle: Bundle) -> set[str]:
    """Keys of items whose content an imported bundle's owner named as what it learnt from.

    Raises
    ------
    IntegrityError
        ``run.learnt`` when the list is not the one of which the import recorded the digest.
    """
    with store.read() as db:
        run = next((run for run in read_runs(db, kind="import") if run["id"] == bundle.run), None)
        recorded = run["record"].get("learnt", {}).get("sha256") if run else ""
        if not recorded:
            return set()
        path = store.runs_folder / bundle.run / "learnt.txt"
        data = path.read_bytes() if path.is_file() else b""
        if sha256_hex(data) != recorded:
            raise IntegrityError(
                "run.learnt", "the list of what the imported model learnt from is not what was recorded", where=path,
                next="muster import it again with --learnt-from",
            )  # fmt: skip
        learnt = set(data.decode().split())
        return {key for key, digest in known_keys(db).items() if digest in learnt}


def cluster_names(items: Sequence[Item], placed: Mapping[str, tuple[str, str]]) -> np.ndarray:
    """What each item stands and falls with: its subject, else its twins, else itself."""
    names = []
    for item in items:
        twins = placed.get(item.key, ("", ""))[1]
        names.append(f"subject:{item.subject}" if item.subject else f"twins:{twins}" if twins else f"item:{item.key}")
    return np.array(names, dtype=np.str_)


def read_payloads(store: Store, predictor: Predictor, items: Sequence[Item]) -> Iterator[Payload]:
    """Decoded items, one after the other."""
    for item, data in zip(items, store.blobs.get_many([item.blob for item in items])):
        try:
            yield predictor.modality.decode(data, store.config.data)
        except DataError as error:
            raise DataError(error.code, error.what, value=error.value, where=f"item {item.key}") from error


def ask(
    store: Store,
    predictor: Predictor,
    items: Sequence[Item],
    classes: Sequence[str],
    *,
    progress: Progress,
    what: str,
    looks: Looks | None = None,
) -> Answers:
    """The bundle's answers to `items`, with the columns of `classes`; what the items are like is added to `looks`.

    Raises
    ------
    IntegrityError
        ``evaluate.scores`` when a score is no number: nothing could be said of such an answer, in service neither.
    """
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    size = TEXTS if predictor.modality.name == "text" else BLOCK
    blocks = [items[i : i + size] for i in range(0, len(items), size)]
    for block in progress.track(blocks, what, total=len(blocks)):
        payloads = list(read_payloads(store, predictor, block))
        parts.append(predictor.embed(payloads))
        if looks is not None:
            for payload in payloads:
                looks.add(payload)
    if not parts:
        parts.append(predictor.embed([]))
    embeddings, logits = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise IntegrityError(
            "evaluate.scores", "scores of the bundle are no numbers", value=f"{len(broken):,} of {len(items):,} items",
            where=f"{predictor.bundle.path}: first {items[int(broken[0])].id}",
            next="muster verify; if it is whole, muster train again",
        )  # fmt: skip
    predictions = tuple(predictor.decide(embeddings, logits))
    own = np.array([p.probabilities for p in predictions], dtype=np.float64).reshape(len(items), len(predictor.classes))
    probabilities = pad_classes(own, predictor.classes, classes)
    if predictor.task != MULTI:
        return Answers(embeddings, logits, probabilities, predictions)
    members = [classes_in(p.label, MULTI) for p in predictions]
    said = np.array([[c in names for c in classes] for names in members], dtype=bool).reshape(len(items), len(classes))
    return Answers(embeddings, logits, probabilities, predictions, said)
