"""Threads that wait for something elsewhere, and that nobody waits for when the process ends."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Waiters:
    """Up to `n` daemon threads that do what is handed in, begun as they are needed; they end when this is dropped.

    `concurrent.futures` joins its threads before the interpreter ends: one that waits for a model which does not answer
    would hold a server, or a command, for as long.

    >>> waiters = Waiters(2, "example")
    >>> [job.result() for job in [waiters.submit(pow, 2, n) for n in range(4)]]
    [1, 2, 4, 8]
    """

    def __init__(self, n: int, name: str) -> None:
        self._n, self._name, self._n_begun = n, name, 0
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        weakref.finalize(self, _end, self._jobs, n)

    def submit(self, do: Callable[..., T], *given: Any) -> Future[T]:
        """Have `do(*given)` done; its future can be cancelled until it has begun."""
        job: Future[T] = Future()
        self._jobs.put((job, do, given))
        if not self._idle.acquire(blocking=False):
            with self._lock:
                begin, self._n_begun = self._n_begun < self._n, min(self._n, self._n_begun + 1)
            if begin:
                name = f"{self._name}-{self._n_begun}"
                threading.Thread(target=_work, args=(self._jobs, self._idle), name=name, daemon=True).start()
        return job


def _work(jobs: queue.SimpleQueue[Job | None], idle: threading.Semaphore) -> None:
    while True:
        try:
            taken = jobs.get_nowait()
        except queue.Empty:
            idle.release()  # who hands something in need not begin another thread
            taken = jobs.get()
        if taken is None:
            return
        job, do, given = taken
        if job.set_running_or_notify_cancel():
            try:
                found = do(*given)
            except BaseException as error:  # noqa: BLE001  (whoever asks for the result gets it)
                job.set_exception(error)
            else:
                job.set_result(found)
                del found
        del taken, job, do, given


def _end(jobs: queue.SimpleQueue[Job | None], n: int) -> None:
    for _ in range(n):
        jobs.put(None)
