"""One answer at a time: each is one committed fact and one ledger event, in milliseconds, however large the pool is.

A training label so recorded is kept at once and *pinned* later: `pin` makes the data-set version that holds every
answer since the one before. A process that is killed in between loses nothing, and whoever comes next pins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select

from passmuster.core.clock import now
from passmuster.core.digests import canonical_json, merkle_root, sha256_hex
from passmuster.core.errors import DataError, NotFoundError
from passmuster.core.records import Finding, Label, Role, Snapshot
from passmuster.stages.govern.class_names import clean_label
from passmuster.stages.govern.snapshot import write_child
from passmuster.store import ledger
from passmuster.store.items import WITHDRAWN, add_labels, read_labels, standing_labels
from passmuster.store.schema import labels, snapshot_items, snapshots
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Act, Store

BLOCK = 500


@dataclass(frozen=True)
class Answer:
    """What one person says of one item. `weight` as in `Label`."""

    key: str
    label: str
    role: Role = "train"
    weight: float = 1.0


@dataclass(frozen=True)
class Answered:
    """What came of some answers: how many new facts, and by item key what others had said differently before."""

    n_new: int
    others: Mapping[str, Mapping[str, str]]  # item key -> who -> label


@dataclass(frozen=True)
class Pinned:
    """The data-set version that holds all answers; `n` items read differently than in the one before."""

    n: int
    snapshot: Snapshot
    findings: tuple[Finding, ...]


def answer(store: Store, answers: Sequence[Answer], *, who: str = "") -> Answered:
    """Record what `who` (the present user when empty) says; returns when it is on disk.

    Saying the same again adds no fact, so that an answer whose receipt was lost can be sent again.

    Raises
    ------
    NotFoundError
        ``label.unknown_item`` for an item that is not (or no longer) in the latest data-set version.
    DataError
        ``label.sealed``, ``label.not_in_test``; ``label.name`` for a class name that cannot be one. Nothing of the
        call was recorded.
    """
    who = who or store.actor
    task = store.config.project.task
    said = [replace(one, label=clean_label(one.label, task)) for one in answers]
    with store.act("label.answer") as act:
        _check_split(act, said)
        known = {
            k: v for block in _blocks([a.key for a in said]) for k, v in standing_labels(act.db, keys=block).items()
        }
        fresh = [one for one in said if _last_word(known.get(one.key, []), who, one.role) != one.label]
        at = now()
        _write(act, [Label(one.key, one.label, who, at, one.role, one.weight) for one in fresh])
    others = {
        one.key: differing
        for one in said
        if (differing := {f.who: f.label for f in known.get(one.key, []) if f.who != who and f.label != one.label})
    }
    return Answered(len(fresh), others)


def withdraw(store: Store, key: str, *, role: Role = "train", who: str = "") -> Label | None:
    """Take back the latest label that `who` gave an item; returns the label that stands now, None without one.

    Raises
    ------
    NotFoundError
        ``label.nothing_to_undo`` when no label of that person stands.
    """
    who = who or store.actor
    with store.act("label.withdraw") as act:
        standing = standing_labels(act.db, role=role, keys=[key]).get(key, [])
        if not any(fact.who == who for fact in standing):
            raise NotFoundError("label.nothing_to_undo", "no label of this person stands on this item", value=who)
        _write(act, [Label(key, WITHDRAWN, who, now(), role)])
        left = standing_labels(act.db, keys=[key]).get(key, [])
    return left[-1] if left else None


def skip(store: Store, key: str, *, role: Role = "train", who: str = "", back: bool = False) -> None:
    """Note that `who` leaves an item aside (`back`: no longer does). The event is the fact; no label changes."""
    with store.act("label.skip", who or None) as act:
        act.payload.update(item=key, role=role, back=back)


def skipped(db: Connection, who: str) -> set[str]:
    """Keys of the items that `who` left aside."""
    latest = {
        str(e.payload["item"]): not e.payload["back"] for e in ledger.read(db, kind="label.skip") if e.actor == who
    }
    return {key for key, aside in latest.items() if aside}


def n_unpinned(store: Store) -> int:
    """How many items' training labels the latest data-set version does not hold as they stand now."""
    with store.read() as db:
        return len(_unpinned(db, read_snapshot(db)))


def pin(store: Store) -> Pinned | None:
    """Make the data-set version that holds every answer given since the latest one; None when it holds them already.

    Raises
    ------
    ResourceError
        ``lock.held`` while data or labels are being added; the answers are safe, and can be pinned afterwards.
    """
    if not n_unpinned(store):  # so that two who begin at once do not wait for each other over nothing
        return None
    with store.lock("add"):
        with store.read() as db:
            parent = read_snapshot(db)
            if not _unpinned(db, parent):
                return None
        with store.act("label.pin") as act:
            changed = _unpinned(act.db, parent)
            act.payload["n_items_relabelled"] = len(changed)
            snapshot, findings = write_child(act, store, parent)
    return Pinned(len(changed), snapshot, tuple(findings))


def fact_leaf(fact: Label) -> str:
    """What an event commits to of one fact."""
    return sha256_hex(canonical_json([fact.key, fact.label, fact.who, fact.at, fact.role, fact.weight]))


def _write(act: Act, facts: Sequence[Label]) -> None:
    """Append facts, and commit to them in the act's event."""
    first = int(act.db.execute(select(func.coalesce(func.max(labels.c.n), 0))).scalar_one()) + 1
    add_labels(act.db, facts)
    act.payload.update(
        n_labels=dict(sorted(Counter(fact.role for fact in facts).items())),
        first=first,
        facts=merkle_root([fact_leaf(fact) for fact in facts]),
    )


def _check_split(act: Act, said: Sequence[Answer]) -> None:
    latest = act.db.execute(select(snapshots.c.digest).order_by(snapshots.c.n.desc()).limit(1)).scalar()
    split: dict[str, str] = {}
    for block in _blocks([one.key for one in said]):
        query = select(snapshot_items.c.key, snapshot_items.c.split).where(
            snapshot_items.c.key.in_(block), snapshot_items.c.snapshot == latest
        )
        split.update((row.key, row.split) for row in act.db.execute(query))
    for one in said:
        if one.key not in split:
            raise NotFoundError(
                "label.unknown_item",
                "this item is not in the project any more",
                value=one.key[:8],
                next="go on with the next",
            )
        if (one.role == "test") != (split[one.key] == "test"):
            code, what = (
                ("label.sealed", "this item lies in the sealed test and cannot be learnt from")
                if one.role == "train"
                else ("label.not_in_test", "this item is not in the test")
            )
            raise DataError(code, what, value=one.key[:8], next="ask for the next items again")


def _last_word(facts: Iterable[Label], who: str, role: Role) -> str | None:
    """What stands, where it was `who` that said it last."""
    last = [fact for fact in facts if fact.role == role]
    return last[-1].label if last and last[-1].who == who else None


def _unpinned(db: Connection, snapshot: Snapshot) -> set[str]:
    then = read_labels(db, role="train", first=snapshot.labels_read)
    present = read_labels(db, role="train")
    old, new = ({key: label.label for key, label in found.items()} for found in (then, present))
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


def _blocks(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[i : i + BLOCK] for i in range(0, len(keys), BLOCK)]
