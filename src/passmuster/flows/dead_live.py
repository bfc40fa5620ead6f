"""A live release that does not open: the command that leads past it."""

from __future__ import annotations

from sqlalchemy import Connection

from passmuster.core.errors import MusterError
from passmuster.core.records import Verdict
from passmuster.runtime.release import not_as_kept
from passmuster.stages.release.way_back import way_back
from passmuster.store.releases import read_bundle
from passmuster.store.store import Store


def way_past(store: Store, db: Connection) -> str:
    """Back to the release before where there is one whose bundle is whole; else the channel is taken down."""
    try:
        target = way_back(db, "live", "").target
    except MusterError:
        target = None
    if target is not None and not not_as_kept(store, read_bundle(db, target.bundle)):
        return 'muster rollback --reason "REASON"'
    return 'muster rollback --withdraw --reason "REASON"'


def waits_for_live(verdict: Verdict) -> bool:
    """Whether a verdict is open because gates could not compare with a live release that did not open."""
    from passmuster.metrics.gates.base import UNTOLD

    return any(gate.state == "insufficient" and gate.reason.startswith(UNTOLD) for gate in verdict.gates)
