"""The thread in which a labelling session chooses items and guesses their classes, so that no answer waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from passmuster.core.errors import MusterError, NotFoundError
from passmuster.core.records import Role
from passmuster.flows.guesses import EmbeddedPool, Guess
from passmuster.flows.labelling import Suggestion, suggest
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store


class Choice:
    """Work is done in order, one piece at a time; `problem` says why the last one failed, None if none did.

    `guesses` are of the pool that the latest bundle embedded, by item key; {} before there is one.
    """

    def __init__(self, store: Store) -> None:
        self.problem: MusterError | None = None
        self.guesses: dict[str, Guess] = {}
        self._store = store
        self._pool: EmbeddedPool | None = None
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "muster-choose")
        self._jobs: list[Future[None]] = []

    # --- the thread

    @property
    def busy(self) -> bool:
        """Whether work waits or is being done."""
        with self._lock:
            self._jobs = [job for job in self._jobs if not job.done()]
            return bool(self._jobs)

    def later(self, work: Callable[[], None]) -> None:
        """Do `work` after what waits."""

        def guarded() -> None:
            try:
                work()
            except MusterError as error:
                self.problem = error
            except Exception as bug:  # noqa: BLE001  # the thread's outermost handler: told where items are missing
                self.problem = MusterError("label.bug", f"choosing items failed: {type(bug).__name__}: {bug}")

        with self._lock:
            self._jobs.append(self._worker.submit(guarded))

    def wait(self) -> None:
        """Wait until all work is done."""
        for job in list(self._jobs):
            job.result()

    def close(self) -> None:
        """End the thread; what waits is dropped."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    # --- the work

    @property
    def has_model(self) -> bool:
        """Whether a bundle is there whose embeddings can guess."""
        return self._pool is not None

    def open_pool(self) -> None:
        """Find the embeddings that the latest bundle left."""
        self._pool = EmbeddedPool.open(self._store)

    def guess(self, learnt: Callable[[], Mapping[str, str]]) -> None:
        """Guess anew from the labels that `learnt` tells: item key to label."""
        if self._pool is not None:
            self.guesses = self._pool.guesses(learnt())

    def suggest(
        self, n: int, role: Role | None, *, out: Collection[str], again: bool, n_aside: int
    ) -> list[Suggestion]:  # fmt: skip
        """Up to `n` items to ask about, without those in `out`.

        Raises
        ------
        NotFoundError
            ``label.no_test`` or ``label.none_left`` when there is none.
        """
        found = suggest(self._store, n=n, role=role, skip=set(out), again=again, seed=self._store.config.train.seed)
        if not found:
            raise _nothing_left(self._store, role, n_aside)
        return found


def _nothing_left(store: Store, role: Role | None, n_aside: int) -> NotFoundError:
    with store.read() as db:
        snapshot = read_snapshot(db)
    if role == "test" and not snapshot.n_items.get("test"):
        return NotFoundError("label.no_test", "no items are sealed for the test", next="muster add PATH")
    n = len(training_view(store, snapshot).pool)
    what = f"no {role or ''} item waits for a label".replace("  ", " ")
    aside = f"; you left {n_aside:,} aside" if n_aside else ""
    remedy = "muster label --skipped asks for those again" if n_aside else "muster train" if n else "muster add PATH"
    return NotFoundError("label.none_left", what + aside, next=remedy)
