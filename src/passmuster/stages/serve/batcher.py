"""Dynamic batching: requests wait together, are answered together, and their records are committed together.

Two threads: one answers batches, the other keeps their records, so that the disk and the cores work at the same time. A
request is answered only after its records are on disk. Whatever arrives while a batch is being answered makes the next
one; a batch waits for company only where requests have been coming in company. Requests that a model elsewhere has a
part in wait for it in threads of their own: a release on this machine is as quick beside one that hangs as it is alone.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from passmuster.core.config import ServeConfig
from passmuster.core.errors import MusterError, ResourceError
from passmuster.core.records import UNREAD
from passmuster.stages.serve.answering import (
    Answered,
    Asked,
    Failed,
    Placed,
    answer,
    answer_in_shadow,
    failure_code,
    place,
    record_of,
)
from passmuster.stages.serve.asking import Asker, in_short
from passmuster.stages.serve.fleet import Fleet, Lane, Lanes
from passmuster.stages.serve.meters import Meters
from passmuster.stages.serve.refusals import Full, Unanswered
from passmuster.store.traffic import TrafficWriter

log = logging.getLogger("muster.serve")

CANARY = 1 / 3  # of a request's deadline, that a canary elsewhere has before the live release answers in its place
MARGIN = 0.95  # of what is left of the deadline, that a model elsewhere has: its failure is told before the caller goes
SHADOWS = 16  # batches that a shadow elsewhere is asked about at a time; what comes meanwhile it is not asked


@dataclass
class Work:
    """One request's items, and the future its handler waits on."""

    asked: Sequence[Asked]
    answered: asyncio.Future[list[Answered]]
    given_up: bool = False  # the handler no longer waits
    answers: list[Answered] = field(default_factory=list)
    error: BaseException | None = None


class Batcher:
    """Answers requests in batches. `submit` is called from the event loop it was started in."""

    def __init__(
        self,
        fleet: Fleet,
        writer: TrafficWriter,
        meters: Meters,
        config: ServeConfig,
        keyed: Callable[[bytes], str],
    ) -> None:
        self._fleet, self._writer, self._meters, self._config, self._keyed = fleet, writer, meters, config, keyed
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._answer_all, name="muster-answer", daemon=True),
            threading.Thread(target=self._keep_all, name="muster-keep", daemon=True),
        ]
        self._handed, self._n_handed = threading.Condition(), 0  # jobs that wait for models elsewhere
        self._shadows = threading.Semaphore(SHADOWS)
        self._n_last = 0
        self.keeps = True  # whether the disk took the latest records
        self.n_waiting = 0  # items handed in and not yet answered; only the event loop changes it
        meters.watch_waiting(lambda: self.n_waiting)

    def start(self) -> None:
        """Start the threads."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Answer what was handed in, then end the threads."""
        self._queue.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def try_to_keep(self) -> None:
        """After records could not be kept: find out whether they could be now."""
        try:
            self._writer.try_disk()
        except MusterError as error:
            log.warning("records still cannot be kept: %s", error)
        else:
            self.keeps = True

    async def submit(self, asked: Sequence[Asked]) -> list[Answered]:
        """Answers to one request's items, after their records are on disk.

        Raises
        ------
        Full
            ``serve.full`` when too many items wait.
        ResourceError
            ``disk.full`` when they could not be kept.
        """
        if self.n_waiting and self.n_waiting + len(asked) > self._config.max_waiting:
            raise Full(
                "serve.full",
                "too many items are waiting",
                value=self.n_waiting,
                limit=self._config.max_waiting,
                next="wait a second and ask again",
            )
        work = Work(asked, self._loop.create_future())
        self.n_waiting += len(asked)
        try:
            self._queue.put(work)
            return await work.answered
        finally:
            work.given_up = True
            self.n_waiting -= len(asked)

    def _answer_all(self) -> None:
        going_on = True
        while going_on:
            works, going_on = self._collect()
            works = [work for work in works if not work.given_up]
            if works:
                self._answer(works)
        with self._handed:
            self._handed.wait_for(lambda: self._n_handed == 0)
        self._answered.put(None)

    def _collect(self) -> tuple[list[Work], bool]:
        """The next batch, and whether there may be another."""
        first = self._queue.get()
        if first is None:
            return [], False
        works, n_items = [first], len(first.asked)
        end = time.perf_counter() + self._config.max_batch_wait_ms / 1000
        while n_items < self._config.max_batch:
            try:
                if self._n_last > 1:
                    work = self._queue.get(timeout=max(0.0, end - time.perf_counter()))
                else:
                    work = self._queue.get_nowait()
            except queue.Empty:
                break
            if work is None:
                self._n_last = len(works)
                return works, False
            works.append(work)
            n_items += len(work.asked)
        self._n_last = len(works)
        return works, True

    def _answer(self, works: list[Work]) -> None:
        """Answer `works`; those that a model elsewhere has a part in by another thread, so that nobody else waits."""
        lanes = self._fleet.lanes
        if lanes.main is None:
            self._refuse(works, ResourceError("serve.not_ready", "no release is being served", next="muster approve"))
            return
        here: list[tuple[Work, list[Placed]]] = []
        away: dict[tuple[object, ...], list[tuple[Work, list[Placed]]]] = {}
        for n, work in enumerate(works):
            placed = place(work.asked, lanes, self._keyed)
            asked = {item.lane.release.id: item.lane.asker for item in placed if item.lane.asker.away}
            if not asked:
                here.append((work, placed))
                continue
            # Requests go together only where the endpoint takes several items at once.
            together = () if max(asker.piece for asker in asked.values()) > 1 else (n,)
            away.setdefault((*sorted(asked), *together), []).append((work, placed))
        for group in away.values():
            asker = next(item.lane.asker for _, placed in group for item in placed if item.lane.asker.away)
            self._hand(asker, self._answer_together, group, lanes)
        if here:
            self._answer_together(here, lanes)

    def _hand(self, asker: Asker, job: Callable[..., None], *given: object) -> None:
        """Let a thread of `asker` do a job; none is forgotten at the end, and none fails unheard."""
        with self._handed:
            self._n_handed += 1
        asker.hand(job, *given).add_done_callback(self._job_ended)

    def _job_ended(self, job: Future[None]) -> None:
        if (error := job.exception()) is not None:
            log.error("a request to a model elsewhere ended in a fault", exc_info=error)
        with self._handed:
            self._n_handed -= 1
            self._handed.notify_all()

    def _refuse(self, works: list[Work], error: Exception) -> None:
        for work in works:
            work.error = error
        self._answered.put(_Batch(works, []))

    def _answer_together(self, placed: list[tuple[Work, list[Placed]]], lanes: Lanes) -> None:
        placed = [(work, items) for work, items in placed if not work.given_up]
        works, items = [work for work, _ in placed], [item for _, items in placed for item in items]
        if not works:
            return
        start, deadline_s = time.perf_counter(), self._config.deadline_s
        left_s = deadline_s - (start - min(item.asked.arrived for item in items))
        try:
            found, covered = answer(items, lanes, patience_s=MARGIN * left_s, canary_s=CANARY * deadline_s)
        except Exception as error:
            log.exception("a batch could not be answered")
            self._refuse(works, error)
            return
        self._meters.batch_items.observe(len(items))
        self._meters.inference_seconds.observe(time.perf_counter() - start)
        kept: list[Answered | Failed] = [*covered]
        position = 0
        for work in works:
            own = found[position : position + len(work.asked)]
            position += len(work.asked)
            failures = {i: one for i, one in enumerate(own) if isinstance(one, Failed)}
            if failures:  # a request is answered whole or not at all
                first = next(iter(failures.values()))
                work.error = Unanswered(first.error, list(failures), len(own))
                kept += failures.values()
            else:
                work.answers = [one for one in own if isinstance(one, Answered)]
                kept += work.answers
        self._tell_failures(kept)
        self._answered.put(_Batch(works, kept))
        answers = [one for work in works for one in work.answers]
        if lanes.shadow is not None and answers:
            self._shadow(answers, lanes.shadow)

    def _shadow(self, answers: list[Answered], lane: Lane) -> None:
        """Ask the shadow about what was answered; one that is away in its own time, and no more than it can bear."""
        if not lane.asker.away:
            self._answer_in_shadow(answers, lane)
        elif self._shadows.acquire(blocking=False):
            self._hand(lane.asker, self._answer_in_shadow, answers, lane, self._shadows)
        else:
            self._meters.unanswered.labels(lane.channel.name, lane.release.id, "shadow.busy").inc(len(answers))

    def _answer_in_shadow(self, answers: list[Answered], lane: Lane, turn: threading.Semaphore | None = None) -> None:
        try:
            found = answer_in_shadow(answers, lane, self._config.deadline_s)
            self._tell_failures(found)
            self._answered.put(_Batch([], found))
        finally:
            if turn is not None:
                turn.release()

    def _tell_failures(self, found: Sequence[Answered | Failed]) -> None:
        """Count what got no class; the log has a line for the first of each kind in a batch."""
        told = set()
        for one in found:
            lane = one.item.lane
            if isinstance(one, Failed):
                code, why, error = failure_code(one.error), in_short(one.error), one.error
            elif UNREAD in one.prediction.reasons:
                code, why, error = UNREAD, "what it said names no class", None
            else:
                continue
            self._meters.unanswered.labels(lane.channel.name, lane.release.id, code).inc()
            if (lane.release.id, code) not in told:
                told.add((lane.release.id, code))
                trace = None if isinstance(error, MusterError) else error
                log.warning("%s %s gave no answer: %s", lane.channel.name, lane.release.id, why, exc_info=trace)

    def _keep_all(self) -> None:
        going_on = True
        while going_on:
            batches: list[_Batch] = []
            batch = self._answered.get()
            while batch is not None:
                batches.append(batch)
                try:
                    batch = self._answered.get_nowait()
                except queue.Empty:
                    break
            going_on = batch is not None
            if batches:
                self._keep(batches)

    def _keep(self, batches: list[_Batch]) -> None:
        start = time.perf_counter()
        works = [work for batch in batches for work in batch.works]
        try:
            self._writer.append([record_of(answered) for batch in batches for answered in batch.found])
        except Exception as error:  # noqa: BLE001  (whatever it is: not kept, so not acknowledged)
            self.keeps = False
            log.error("records could not be kept, so their answers are withheld: %s", error)
            for work in works:
                work.error = work.error or error
        else:
            self.keeps = True
            self._meters.commit_seconds.observe(time.perf_counter() - start)
        if works:
            self._loop.call_soon_threadsafe(self._hand_out, works)

    def _hand_out(self, works: list[Work]) -> None:
        for work in works:
            if work.answered.done():
                continue
            if work.error is not None:
                work.answered.set_exception(work.error)
                continue
            for answered in work.answers:
                self._count(answered)
            work.answered.set_result(work.answers)

    def _count(self, answered: Answered) -> None:
        prediction, lane = answered.prediction, answered.lane
        abstained = "true" if prediction.abstained else "false"
        self._meters.predictions.labels(lane.channel.name, lane.release.id, abstained).inc()
        for reason in prediction.reasons:
            self._meters.reasons.labels(reason).inc()


@dataclass(frozen=True)
class _Batch:
    works: list[Work]
    found: Sequence[Answered | Failed]
