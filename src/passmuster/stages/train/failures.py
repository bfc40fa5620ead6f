"""How a training fails: as one clear error, with its account written, and open to go on where a repeat may mend it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from passmuster.core.disk import took_no_more
from passmuster.core.errors import BudgetError, MusterError, ResourceError
from passmuster.core.meter import MemoryOverError, Meter, ran_out_of_memory
from passmuster.stages.train.account import Account
from passmuster.stages.train.limits import Limits
from passmuster.stages.train.plan import FINISH_S
from passmuster.stages.train.run_folder import RunFolder
from passmuster.store.releases import end_run
from passmuster.store.store import Store


def refuse_spent(limits: Limits) -> None:
    """A run whose money was spent before it was killed does not go on: what is left must hold its end at least."""
    if limits.spent_s and limits.cost_s < FINISH_S:
        raise BudgetError(
            "budget.cost", "the processes of this run that were stopped have spent its money",
            value=limits.money(limits.spent_s), limit=f"{limits.max_cost:g} {limits.currency}",
            next=f"muster train --max-cost {limits.max_cost * 2:g} (begins anew; embeddings are kept)",
        )  # fmt: skip


@contextlib.contextmanager
def closing(store: Store, run: RunFolder) -> Iterator[None]:
    """Close a run that failed, so that the same command begins afresh; what a repeat may mend stays open to resume."""
    try:
        yield
    except ResourceError:
        raise
    except MusterError as error:
        with store.act("train.failed") as act:
            end_run(act.db, run.id, "failed", {**run.arguments, "error": error.code})
            act.payload.update(run=run.id, error=error.code)
        raise


@contextlib.contextmanager
def accounted(account: Account) -> Iterator[None]:
    """Write down what a run took that was stopped by an error, for the process that goes on with it."""
    try:
        yield
    except BaseException:
        account.meter.report_to(None)
        with contextlib.suppress(ResourceError):  # the disk is full: the last beat's account stands
            account.close("stopped")
        raise


@contextlib.contextmanager
def memory_errors(limits: Limits, meter: Meter) -> Iterator[None]:
    """Memory that ran out, by the limit or on the machine, as one clear error; the run stays open to go on."""
    try:
        yield
    except (MemoryOverError, Exception) as error:
        if not ran_out_of_memory(error):
            raise
        peak = meter.usage().peak_memory_bytes
        more = max(peak, limits.memory_bytes) * 1.25 / 2**20
        raise ResourceError(
            "memory.over", "training took more memory than it was given; what was finished before is kept",
            value=f"{peak / 2**20:.0f} MiB", limit=limits.memory_words,
            next=f"muster train --max-memory {more:.0f}m: it goes on where it stopped",
        ) from error  # fmt: skip


@contextlib.contextmanager
def disk_errors(store: Store) -> Iterator[None]:
    """A full disk, wherever it strikes, as one clear error."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = took_no_more(error) or "disk is full" in str(error)
        if not full:
            raise
        raise ResourceError(
            "disk.full", "the disk is full; what was finished before is whole", where=store.root,
            next="free some disk and repeat the command: it goes on where it stopped",
        ) from error  # fmt: skip
