"""The verdict on a bundle: its latest report, the policy of today, and how often the evidence was looked at."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from passmuster.core.clock import now
from passmuster.core.errors import HeldError, NotFoundError
from passmuster.core.records import Report, Verdict
from passmuster.store import ledger
from passmuster.store.approvals import how_it_went
from passmuster.store.releases import read_bundle, read_channels, read_report
from passmuster.store.schema import seal_openings
from passmuster.store.seal import count_looks, whole_looks
from passmuster.store.store import Store


def judge(store: Store, bundle: str = "") -> Verdict:
    """Judge the bundle whose digest starts with `bundle` (the latest when empty) on its latest report.

    A live release that the report could not open leaves gates that compare with it undecided, unless it was withdrawn
    since, for a recorded reason: then there is nothing to compare with, and the verdict notes why.

    Writes nothing but, where it happened, the event ``policy.changed``: the policy is not the one under which the test
    set was opened before.

    Raises
    ------
    NotFoundError
        ``bundle.none``, ``report.none``.
    HeldError
        ``report.stale`` when the live release is not the one that the report compares with, ``report.task`` when it is
        of another task than the project's.
    """
    from passmuster.metrics.gates import decide  # scipy's distributions, which approving does not need
    from passmuster.metrics.gates.thresholds import decided, loosened

    with store.read() as db:
        digest = read_bundle(db, bundle).digest
        found = read_report(db, digest)
        live = read_channels(db).get("live")
        if found is None:
            raise NotFoundError(
                "report.none", "this bundle was not evaluated", value=digest[:16], next=f"muster evaluate {digest[:16]}"
            )
        report_digest, report = found
        gone = how_it_went(db, "live")
        history = decided(ledger.read(db, kind="release.sign"))
        n_looks = max(1.0, count_looks(db, report.snapshot, report.created))  # the report itself was one look
    if live is not None and live.bundle not in (report.incumbent, digest):
        raise HeldError(
            "report.stale",
            "the live release is not the one that the report compares with",
            value=report.incumbent[:16] or "none",
            limit=live.bundle[:16],
            next=f"muster evaluate {digest[:16]}",
        )
    task = store.config.project.task
    if report.task != task:
        raise HeldError(
            "report.task", "the report is of another task than this project's", value=report.task, limit=task,
            next=f'task = "{report.task}" under [project] in muster.toml, or muster train',
        )  # fmt: skip
    note = note_policy_change(store, report)
    notes = [note, *loosened(history, store.config.policy)]
    if live is None and gone:
        notes.append(f"nothing is live to compare with: {gone}")
    if live is None and report.unopened:  # it was withdrawn since: there is no incumbent any more
        report = replace(report, incumbent="")
    decision = decide(report, store.config.policy, n_looks=n_looks)
    return Verdict(
        bundle=digest,
        report=report_digest,
        policy=store.config.policy.digest(),
        outcome=decision.outcome,
        gates=decision.gates,
        created=now(),
        look=whole_looks(n_looks),
        n_more_labels=decision.n_more_labels,
        notes=tuple(filter(None, notes)),
    )


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
