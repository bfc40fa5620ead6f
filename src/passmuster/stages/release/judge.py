"""The verdict on a bundle: its latest report, the policy of today, and how often the evidence was looked at."""

from __future__ import annotations

import math

from sqlalchemy import Connection, select

from passmuster.core.clock import now
from passmuster.core.errors import HeldError, NotFoundError
from passmuster.core.records import Report, Verdict
from passmuster.store import ledger
from passmuster.store.items import read_labels
from passmuster.store.releases import read_bundle, read_channels, read_report
from passmuster.store.schema import seal_openings
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store


def judge(store: Store, bundle: str = "") -> Verdict:
    """Judge the bundle whose digest starts with `bundle` (the latest when empty) on its latest report.

    Writes nothing but, where it happened, the event ``policy.changed``: the policy is not the one under which the test
    set was opened before.

    Raises
    ------
    NotFoundError
        ``bundle.none``, ``report.none``.
    HeldError
        ``report.stale`` when the live release is not the one that the report compares with.
    """
    from passmuster.metrics.gates import decide  # scipy's distributions, which approving does not need

    with store.read() as db:
        digest = read_bundle(db, bundle).digest
        found = read_report(db, digest)
        live = read_channels(db).get("live")
        if found is None:
            raise NotFoundError(
                "report.none", "this bundle was not evaluated", value=digest[:16], next=f"muster evaluate {digest[:16]}"
            )
        report_digest, report = found
        n_looks = count_looks(db, report)
    if live is not None and live.bundle not in (report.incumbent, digest):
        raise HeldError(
            "report.stale",
            "the live release is not the one that the report compares with",
            value=report.incumbent[:16] or "none",
            limit=live.bundle[:16],
            next=f"muster evaluate {digest[:16]}",
        )
    note = note_policy_change(store, report)
    decision = decide(report, store.config.policy, n_looks=n_looks)
    return Verdict(
        bundle=digest,
        report=report_digest,
        policy=store.config.policy.digest(),
        outcome=decision.outcome,
        gates=decision.gates,
        created=now(),
        look=math.ceil(n_looks - 1e-9),
        n_more_labels=decision.n_more_labels,
        notes=(note,) if note else (),
    )


def count_looks(db: Connection, report: Report) -> float:
    """Looks at the report's evidence up to the report, that one included.

    Each counted opening of the seal counts as the share of the test labels now in evidence that it could see. So fresh
    labels make old looks count less, and a new dataset version around the same labels changes nothing. At least the
    one look that the report itself was.
    """
    labels = read_labels(db, role="test")
    keys = test_keys(db, report.snapshot)
    evidence = {key: label for key, label in labels.items() if key in keys}
    total = 0.0
    openings = select(seal_openings).where(seal_openings.c.counted > 0, seal_openings.c.at <= report.created)
    for opening in db.execute(openings):
        keys_then = keys if opening.snapshot == report.snapshot else test_keys(db, opening.snapshot)
        seen = sum(1 for key, label in evidence.items() if key in keys_then and label.at <= opening.at)
        total += seen / len(evidence) if evidence else 1.0
    return max(1.0, total)


def test_keys(db: Connection, snapshot: str) -> frozenset[str]:
    """Which items are in a dataset version's test split: keys alone, so that no seal is opened."""
    placed = read_placement(db, read_snapshot(db, snapshot))
    return frozenset(key for key, (split, _) in placed.items() if split == "test")


def note_policy_change(store: Store, report: Report) -> str:
    """Record, once, that the policy was edited after the report's test set was opened; returns the note, or ""."""
    today = store.config.policy.digest()
    with store.read() as db:
        opened = select(seal_openings).where(seal_openings.c.snapshot == report.snapshot, seal_openings.c.counted > 0)
        others = [row for row in db.execute(opened.order_by(seal_openings.c.n)) if row.policy != today]
        told = {
            (event.payload["snapshot"], event.payload["was"], event.payload["now"])
            for event in ledger.read(db, kind="policy.changed")
        }
    if not others:
        return ""
    was = others[-1].policy
    if (report.snapshot, was, today) not in told:
        with store.act("policy.changed") as act:
            act.payload.update(snapshot=report.snapshot, was=was, now=today)
    return (
        f"the policy was edited after the test set was opened under another on {others[-1].at[:19]}: "
        f"{was[:12]} became {today[:12]}"
    )
