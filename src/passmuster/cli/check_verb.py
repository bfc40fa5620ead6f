"""`muster check`: run every check over the data again."""

from __future__ import annotations

import typer

from passmuster.cli.session import session_of


def check(context: typer.Context) -> None:
    """Look through data and policy again: copies, leakage, personal data, labels, unreadable items; gates that are not.

    Changes nothing.
    """
    session = session_of(context)
    from passmuster.cli.findings import finding_lines, findings_as_json
    from passmuster.metrics.gates import chosen_gates
    from passmuster.metrics.novelty import refuse_unknown_detector
    from passmuster.stages.evaluate.costs import refuse_strange_costs
    from passmuster.stages.govern import check
    from passmuster.stages.govern.snapshot import latest_snapshot

    store = session.store()
    chosen_gates(store.config.policy)
    refuse_unknown_detector(store.config.policy.guard.novelty)
    snapshot = latest_snapshot(store)
    if snapshot is not None and snapshot.classes:
        refuse_strange_costs(store, snapshot.classes, store.config.project.task)
    if session.dry_run:
        would = "look through the data again, the test included, which is recorded"
        session.done({"would": would}, [f"would {would}"], "muster check")
        return
    found = check(store, progress=session.progress)
    has_labels = snapshot is not None and snapshot.n_labels.get("train", 0) > 0
    session.done(
        {"findings": findings_as_json(found)},
        finding_lines(found),
        next="muster train" if has_labels else "muster label --export todo.csv --for train",
    )
